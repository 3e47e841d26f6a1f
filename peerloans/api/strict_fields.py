"""Refuse fields and query parameters that are not read, so that a misspelled name is never ignored."""

import heapq
from collections.abc import Collection
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from peerloans.api.problem_details import NON_FIELD

# A refusal that repeated all names could be larger than the request.
NAMED = 10
SHOWN_CHARACTERS = 100


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
    ambiguous = {name for name, values in request.query_params.lists() if len(values) > 1 or not values[0]}
    _refuse_names(ambiguous, "Give this parameter one value, or leave it out.")


def _refuse_unknown(what: str, names: Collection[str], known: Collection[str]) -> None:
    _refuse_names(set(names) - set(known), f"There is no such {what}. Known {what}s: {', '.join(known) or 'none'}.")


def _refuse_names(names: Collection[str], message: str) -> None:
    """Raise ValidationError with the message for each name, if there are any. At most NAMED of them are named, and shortened."""
    if names:
        named = {name[:SHOWN_CHARACTERS]: [message] for name in heapq.nsmallest(NAMED, names)}
        rest = len(names) - NAMED
        raise ValidationError(named | ({NON_FIELD: [f"And {rest:,} more."]} if rest > 0 else {}))
