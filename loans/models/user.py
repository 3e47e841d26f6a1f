"""Store the people who sign in."""

from django.contrib.auth.models import AbstractUser
from django.db import models

from loans.models.token_generation import TokenGeneration


class User(AbstractUser):
    """A person who signs in: an investor, or a member of staff."""

    token_generation = models.PositiveBigIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="Grows with each new password, deactivation and activation. Older tokens are not valid.",
    )

    class Meta(AbstractUser.Meta):
        constraints = [TokenGeneration(name="token_generation")]
