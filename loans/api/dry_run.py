"""Answer what would come of a request, and undo it: the service itself decides, so a dry run cannot differ from the real one."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import transaction
from rest_framework.response import Response

from loans.models import Reservation

T = TypeVar("T")


def undone(decide: Callable[[], T]) -> T:
    """Return what `decide` returns, and undo what it wrote.

    Raises: what `decide` raises, so a refusal is that of a real request.
    """
    with transaction.atomic():
        result = decide()
        transaction.set_rollback(True)
    return result


def dry_answer(decide: Callable[[], Response]) -> Response:
    """Return the answer of `decide`, undone. What names something that is not there afterwards is null."""
    data: dict[str, Any] = undone(decide).data
    is_kept = Reservation.objects.filter(pk=data["id"]).exists()
    transfer = data["transfer"] and data["transfer"] | {"reference": None}
    return Response(data | {"id": data["id"] if is_kept else None, "transfer": transfer, "dry_run": True})
