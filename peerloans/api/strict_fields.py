"""Refuse fields and query parameters that are not read, so that a misspelled name is never ignored."""

from collections.abc import Collection
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses fields it does not have."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            _refuse_unknown("field", data, self.fields)
        return super().to_internal_value(data)


def refuse_unknown_parameters(request: Request, known: Collection[str] = ()) -> None:
    """Raise ValidationError if the query has a parameter that is not known."""
    _refuse_unknown("parameter", request.query_params, known)


def refuse_ambiguous_parameters(request: Request) -> None:
    """Raise ValidationError if a query parameter is empty or repeated."""
    if ambiguous := sorted(name for name, values in request.query_params.lists() if len(values) > 1 or not values[0]):
        raise ValidationError({name: ["Give this parameter one value, or leave it out."] for name in ambiguous})


def _refuse_unknown(what: str, names: Collection[str], known: Collection[str]) -> None:
    if unknown := sorted(set(names) - set(known)):
        message = f"There is no such {what}. Known {what}s: {', '.join(known) or 'none'}."
        raise ValidationError({name: [message] for name in unknown})
