"""Answer what would come of a request, and undo it: the service itself decides, so a dry run cannot differ from the real one."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from rest_framework.response import Response

from loans.models import Reservation


def undone(decide: Callable[[], Response]) -> Response:
    """Return the answer of `decide`, and undo what it wrote. What names something that is not there afterwards is null.

    Raises: what `decide` raises, so a refusal is that of a real request.
    """
    with transaction.atomic():
        response = decide()
        transaction.set_rollback(True)
    response.status_code = 200
    response.data = _without_names(response.data)
    return response


def _without_names(data: dict[str, Any]) -> dict[str, Any]:
    transfer = data["transfer"]
    is_kept = Reservation.objects.filter(pk=data["id"]).exists()
    return data | {
        "id": data["id"] if is_kept else None,
        "transfer": transfer | {"reference": None} if isinstance(transfer, dict) else None,
        "dry_run": True,
    }
