"""Write entries to the admin's log for actions that its own forms do not record."""

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import Model


def log_admin_action(user_id: Any, subject: Model | type[Model], message: str) -> None:
    """Record that a signed-in user acted on `subject`: one row, or a model when the action is about its whole list."""
    is_row = isinstance(subject, Model)
    LogEntry.objects.create(
        user_id=user_id,
        content_type=ContentType.objects.get_for_model(subject),
        object_id=str(subject.pk) if is_row else None,
        object_repr=str(subject if is_row else subject._meta.verbose_name_plural)[:200],
        action_flag=CHANGE,
        change_message=message,
    )
