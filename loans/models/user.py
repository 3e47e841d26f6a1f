"""Store the people who sign in."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A person who signs in: an investor, or a member of staff."""
