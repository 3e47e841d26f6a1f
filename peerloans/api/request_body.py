"""Check the body of a request."""

from functools import cache
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.serializers import Serializer

from peerloans.api.problem_details import NON_FIELD


def body_of(request: Request, serializer_class: type[Serializer[Any]]) -> dict[str, Any]:
    """Return the validated fields of the request's body. Raises: ValidationError, by field."""
    if request.data is None:
        raise ValidationError({NON_FIELD: ["No data provided"]})
    fields: dict[str, Any] = _shared(serializer_class).run_validation(request.data)
    return fields


@cache
def _shared(serializer_class: type[Serializer[Any]]) -> Serializer[Any]:
    """Return the one serializer that checks all bodies of its class. A new one for each would copy all of its fields.

    All threads use it at once. So no serializer of a body keeps anything of a request in itself, its fields or its validators.
    """
    return serializer_class()
