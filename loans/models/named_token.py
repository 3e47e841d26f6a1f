"""Store the names and scopes of the tokens that investors make for their programs."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from loans.domain.scopes import NAMED_TOKEN_SCOPES


class NamedToken(models.Model):
    """The name and the scopes of a token. A token without them is that of a log-in, and has all scopes.

    It names its token by digest. A foreign key would make the migrations circular, since Knox's tokens have one to our users. So
    loans/apps.py deletes it after its token.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="named_tokens")
    digest = models.CharField(max_length=128, unique=True, help_text="Of the token.")
    name = models.CharField(max_length=100)
    scopes = ArrayField(models.CharField(max_length=10))
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=[str(scope) for scope in NAMED_TOKEN_SCOPES]) & Q(scopes__len__gte=1),
                name="named_token_scopes",
            )
        ]

    def __str__(self) -> str:
        return self.name
