"""What of a request does nobody read? It is refused by name, so that what is misspelled is never passed over."""

from collections.abc import Collection
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields that it does not have."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            refuse_unknown("field", data, self.fields)
        return super().to_internal_value(data)


def refuse_unknown_parameters(request: Request, known: Collection[str] = ()) -> None:
    refuse_unknown("parameter", request.query_params, known)


def refuse_unknown(what: str, given: Collection[str], known: Collection[str]) -> None:
    """Raises ValidationError where a name is given that is not known."""
    if unknown := sorted(set(given) - set(known)):
        read = ", ".join(known) or "none"
        raise ValidationError({name: [f"There is no such {what}. These are read: {read}."] for name in unknown})
