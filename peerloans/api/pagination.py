"""Page through lists by keyset: a cursor names the row after which a page begins.

Rows that arrive between two pages are neither skipped nor repeated. DRF's CursorPagination counts rows among equal values, so
a row that arrives among them would shift the page; here ties are broken by the primary key.
"""

from collections.abc import Sequence
from typing import Any

from django.core import signing
from django.db.models import Model, Q
from django.utils.encoding import force_str
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

DEFAULT_SIZE = 50
LARGEST_SIZE = 200
SALT = "cursor"


def page_size_of(request: Request, default: int, largest: int) -> int:
    """Return how many rows the request asks for. Raises: ValidationError, if that is no number from 1 to `largest`."""
    text = request.query_params.get("page_size", str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and 1 <= int(text) <= largest):
        raise ValidationError({"page_size": [f"Give a whole number from 1 to {largest}."]})
    return int(text)


class KeysetPagination(BasePagination):
    """Page through a queryset in its own order.

    A cursor holds the ordering, that row's values of the ordering's fields, and the direction. It is signed, so a cursor that
    comes back is one that was given out.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.url = request.build_absolute_uri()
        self.ordering = list(queryset.query.order_by)
        self.ordering.append("-pk" if self.ordering[0].startswith("-") else "pk")
        size = page_size_of(request, DEFAULT_SIZE, LARGEST_SIZE)
        cursor = self._cursor(request)
        backwards = cursor is not None and cursor["backwards"]
        ordering = [_reversed(name) for name in self.ordering] if backwards else self.ordering
        if cursor:
            queryset = queryset.filter(_after(ordering, cursor["row"]))
        # One more than is shown tells whether the list goes on in this direction.
        rows = list(queryset.order_by(*ordering)[: size + 1])
        self.page, goes_on = rows[:size], len(rows) > size
        if backwards:
            self.page.reverse()
        self.has_next = backwards or goes_on
        self.has_previous = goes_on if backwards else cursor is not None
        return self.page

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "next": self._link(self.page[-1], backwards=False) if self.page and self.has_next else None,
                "previous": self._link(self.page[0], backwards=True) if self.page and self.has_previous else None,
                "results": data,
            }
        )

    def _cursor(self, request: Request) -> dict[str, Any] | None:
        text = request.query_params.get("cursor")
        if text is None:
            return None
        try:
            cursor: dict[str, Any] = signing.loads(text, salt=SALT)
        except signing.BadSignature:
            raise ValidationError({"cursor": ["Take the cursor from `next` or `previous` of a page, unchanged."]}) from None
        if cursor["ordering"] != self.ordering:
            raise ValidationError({"cursor": ["This cursor belongs to another ordering. Start again without a cursor."]})
        return cursor

    def _link(self, row: Model, *, backwards: bool) -> str:
        values = [force_str(getattr(row, name.removeprefix("-"))) for name in self.ordering]
        cursor = signing.dumps({"ordering": self.ordering, "row": values, "backwards": backwards}, salt=SALT)
        return replace_query_param(remove_query_param(self.url, "cursor"), "cursor", cursor)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri", "example": None}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": LARGEST_SIZE, "default": DEFAULT_SIZE}
        return [
            {"name": "cursor", "in": "query", "description": "From `next` or `previous` of a page.", "schema": {"type": "string"}},
            {"name": "page_size", "in": "query", "description": "Rows on a page.", "schema": size},
        ]


def _reversed(name: str) -> str:
    return name[1:] if name.startswith("-") else f"-{name}"


def _after(ordering: Sequence[str], values: Sequence[str]) -> Q:
    """Return the condition of the rows that come after the row with these values."""
    after, equal = Q(), Q()
    for name, value in zip(ordering, values, strict=True):
        field = name.removeprefix("-")
        after |= equal & Q(**{f"{field}__{'lt' if name.startswith('-') else 'gt'}": value})
        equal &= Q(**{field: value})
    return after
