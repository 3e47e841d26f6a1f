"""Store how the runs of the background jobs ended, so that monitoring sees it while Redis is away too."""

from django.db import models


class JobResult(models.Model):
    """How the runs of one task ended."""

    task = models.CharField(max_length=200, primary_key=True)
    successes = models.BigIntegerField(default=0)
    failures = models.BigIntegerField(default=0)
    succeeded_at = models.DateTimeField(null=True, help_text="When a run last succeeded.")
    ended_at = models.DateTimeField(null=True, help_text="When a run last ended, however it did.")

    def __str__(self) -> str:
        return self.task
