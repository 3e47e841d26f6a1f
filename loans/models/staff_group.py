"""Store which permissions this system has granted to its groups of staff."""

from django.db import models


class StaffGroupGrant(models.Model):
    """A permission that was once granted to a group. An upgrade does not grant it again, so it can be taken away for good."""

    group_name = models.CharField(max_length=150)
    permission = models.CharField(max_length=200, help_text="As in loans.open_loan.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["group_name", "permission"], name="staff_group_grant_once")]

    def __str__(self) -> str:
        return f"{self.group_name}: {self.permission}"
