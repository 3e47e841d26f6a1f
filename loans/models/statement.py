"""Store the imports of bank statements that staff request, and what came of them."""

from django.db import models


class StatementImport(models.Model):
    """One bank statement. A worker checks it, staff read the preview, and a worker books it. It is kept; its file is deleted at its end.

    Two workers may run one import at the same time, since a line is booked only once. So no worker needs to hold it.
    """

    class State(models.TextChoices):
        CHECKING = "checking"
        CHECKED = "checked"
        BOOKING = "booking"
        BOOKED = "booked"
        REFUSED = "refused"
        FAILED = "failed"
        CANCELED = "canceled"

    id = models.BigAutoField(primary_key=True)
    file_name = models.CharField(max_length=100)
    sha256 = models.CharField("SHA-256", max_length=64)
    format = models.CharField(max_length=10, blank=True)
    state = models.CharField(max_length=10, choices=State.choices)
    progress = models.CharField(max_length=100, blank=True)
    progress_at = models.DateTimeField(help_text="When it was requested, or a worker last worked on it.")
    attempts = models.PositiveSmallIntegerField(default=0)
    detail = models.TextField(blank=True)
    requested_by = models.CharField(max_length=150)
    requested_at = models.DateTimeField()
    booked_by = models.CharField(max_length=150, blank=True)
    reason = models.TextField(blank=True)
    accept_doubtful = models.BooleanField(default=False, help_text="Whether lines are booked that seem to be booked already.")
    finished_at = models.DateTimeField(null=True)
    preview = models.JSONField(default=list)
    outcomes = models.JSONField(default=list)
    bad_lines = models.JSONField(default=list)

    class Meta:
        verbose_name = "bank statement"
        ordering = ["-requested_at", "-id"]
        default_permissions = ["view"]
        permissions = [("import_statement", "Can import a bank statement")]

    def __str__(self) -> str:
        return self.file_name


class StatementFile(models.Model):
    """The bytes of a statement until its import ends."""

    statement_import = models.OneToOneField(StatementImport, models.CASCADE, primary_key=True, related_name="file")
    content = models.BinaryField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.statement_import)
