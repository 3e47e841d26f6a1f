"""Who did what in the admin, beside what its own forms write down? A line in its log."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType


def keep_trail(user_id: Any, about: Any, message: str) -> None:
    """`user_id` is that of somebody signed in; `about` is one object, or a model where it is about its list."""
    one = not isinstance(about, type)
    LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(about),
        object_id=str(about.pk) if one else None,
        object_repr=str(about if one else about._meta.verbose_name_plural)[:200],
        action_flag=CHANGE,
        change_message=message,
    )
