"""Store the people who sign in."""

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models.functions import Collate, Upper

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
        permissions = [("invite_user", "Can invite a colleague")]
        # For the search of staff (loans/selectors/search.py): by the beginning of the user name, of the e-mail, or of a word of the name.
        indexes = [
            models.Index(Collate(Upper("username"), "C"), name="user_by_username"),
            models.Index(Collate(Upper("email"), "C"), name="user_by_email"),
            GinIndex(SearchVector("first_name", "last_name", config="simple"), name="user_by_word", fastupdate=False),
        ]
        constraints = [TokenGeneration(name="token_generation")]
