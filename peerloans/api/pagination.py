"""Which page of a list is asked for? What lies beyond a row, so that nothing is skipped or repeated while rows arrive."""

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

SIZE = 50
LARGEST = 200


class BeyondRow(BasePagination):
    """Cursors name the row that the page lies beyond, by the values it is ordered by; ties are broken by primary key.

    DRF's CursorPagination counts rows within ties, so a row that arrives among equal ones would shift them. Cursors are
    signed: they come back as we made them or not at all.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.url = request.build_absolute_uri()
        size = self._size(request)
        ordering: list[str] = [*queryset.query.order_by]
        ordering.append("-pk" if ordering[0].startswith("-") else "pk")
        self.ordering = ordering
        cursor = self._cursor(request)
        self.backwards = bool(cursor and cursor["backwards"])
        direction = [_reversed(name) for name in ordering] if self.backwards else ordering
        if cursor:
            queryset = queryset.filter(_beyond(direction, cursor["row"]))
        rows = list(queryset.order_by(*direction)[: size + 1])
        self.more = len(rows) > size
        self.page = rows[:size][::-1] if self.backwards else rows[:size]
        self.has_next = self.backwards or self.more
        self.has_previous = self.more if self.backwards else cursor is not None
        return self.page

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "next": self._link(self.page[-1], backwards=False) if self.page and self.has_next else None,
                "previous": self._link(self.page[0], backwards=True) if self.page and self.has_previous else None,
                "results": data,
            }
        )

    def _size(self, request: Request) -> int:
        asked = request.query_params.get("page_size", str(SIZE))
        if not (asked.isascii() and asked.isdigit() and len(asked) <= 3 and 1 <= int(asked) <= LARGEST):
            raise ValidationError({"page_size": [f"A whole number from 1 to {LARGEST}."]})
        return int(asked)

    def _cursor(self, request: Request) -> dict[str, Any] | None:
        text = request.query_params.get("cursor")
        if text is None:
            return None
        try:
            cursor: dict[str, Any] = signing.loads(text, salt="cursor")
        except signing.BadSignature:
            raise ValidationError({"cursor": ["Take a cursor from `next` or `previous` of a page, as it is."]}) from None
        if cursor["ordering"] != self.ordering:
            raise ValidationError({"cursor": ["This cursor belongs to another ordering; begin without one."]})
        return cursor

    def _link(self, row: Model, *, backwards: bool) -> str:
        values = [force_str(getattr(row, name.removeprefix("-"))) for name in self.ordering]
        cursor = signing.dumps({"ordering": self.ordering, "row": values, "backwards": backwards}, salt="cursor")
        return replace_query_param(remove_query_param(self.url, "cursor"), "cursor", cursor)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri", "example": None}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        size = {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": SIZE}
        return [
            {"name": "cursor", "in": "query", "description": "From `next` or `previous` of a page.", "schema": {"type": "string"}},
            {"name": "page_size", "in": "query", "description": "Rows on a page.", "schema": size},
        ]


def _reversed(name: str) -> str:
    return name[1:] if name.startswith("-") else f"-{name}"


def _beyond(ordering: Sequence[str], values: Sequence[str]) -> Q:
    """Rows that come after the one with these values."""
    beyond, equal = Q(), Q()
    for name, value in zip(ordering, values, strict=True):
        field = name.removeprefix("-")
        beyond |= equal & Q(**{f"{field}__{'lt' if name.startswith('-') else 'gt'}": value})
        equal &= Q(**{field: value})
    return beyond
