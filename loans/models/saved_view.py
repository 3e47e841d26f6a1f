"""Store the views of lists that staff keep."""

from django.conf import settings
from django.db import models


class SavedView(models.Model):
    """The filters, search and order of a list, under a name that its owner gave them. `query` is that part of the list's address."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_views")
    model = models.CharField(max_length=100, help_text="Of the list, such as loans.loan.")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)

    class Meta:
        ordering = ["name"]
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user", "model", "name"], name="saved_view_name")]

    def __str__(self) -> str:
        return self.name
