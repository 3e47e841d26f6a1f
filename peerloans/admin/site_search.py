"""Search all lists of the back office at once, in the words of the pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

ROWS_SHOWN = 8  # of each kind; the list of the kind has all
# Of fewer rows the first are chosen here. Of more, PostgreSQL finds the first by walking the index of the list's order; of few rows it
# would walk that index to its end.
MOST_SORTED = 1_000


class SearchedEverywhere(Protocol):
    """A list that the search of the whole back office looks through."""

    def describe_found(self, row: Any) -> str:
        """Return what a person recognises the row by, beside its name."""

    def searched_rows(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows to look through. Optional: all of the list, where a page has no such method."""

    def row_named(self, queryset: QuerySet[Any], text: str) -> Model | None:
        """Return the only row that the text names in full; None else. Optional."""


@dataclass(frozen=True)
class Found:
    """A row, and the address of its page."""

    name: str
    description: str
    address: str


@dataclass(frozen=True)
class FoundKind:
    """The first rows of one kind; `more_address` leads to all of them where there are more."""

    kind: str
    rows: list[Found]
    more_address: str | None


def search(site: AdminSite, request: HttpRequest, words: str) -> list[FoundKind]:
    """Return what each list with `describe_found` that the reader may view finds, without the kinds of which there is nothing."""
    kinds = []
    for model, page, queryset in _searched_lists(site, request) if words else []:
        rows, may_have_duplicates = page.get_search_results(request, queryset, words)
        rows = rows.distinct() if may_have_duplicates else rows
        first_rows = _first_rows(rows, [*map(str, page.get_ordering(request) or model._meta.ordering or ["pk"])], page.list_select_related)
        if first_rows:
            more = f"{_address(model, 'changelist')}?{urlencode({'q': words})}" if len(first_rows) > ROWS_SHOWN else None
            shown = [Found(str(row), page.describe_found(row), _address(model, "change", row)) for row in first_rows[:ROWS_SHOWN]]
            kinds.append(FoundKind(str(model._meta.verbose_name_plural), shown, more))
    return kinds


def _first_rows(rows: QuerySet[Any], ordering: list[str], related: Any) -> list[Any]:
    """Return the rows to show in this order, and one more where there are more."""
    keys = list(rows.order_by().values_list("pk", *(name.removeprefix("-") for name in ordering))[:MOST_SORTED])
    rows = rows.select_related(*related) if isinstance(related, list) else rows
    if len(keys) == MOST_SORTED:
        return list(rows.order_by(*ordering)[: ROWS_SHOWN + 1])
    for position, name in reversed(list(enumerate(ordering, start=1))):
        keys.sort(key=itemgetter(position), reverse=name.startswith("-"))
    first_keys = [key[0] for key in keys[: ROWS_SHOWN + 1]]
    by_key = rows.order_by().in_bulk(first_keys)
    return [by_key[key] for key in first_keys if key in by_key]


def address_named(site: AdminSite, request: HttpRequest, words: str) -> str | None:
    """Return the address of the only row that the words name in full, of all that the reader may view; None if there is none."""
    addresses = []
    for model, page, queryset in _searched_lists(site, request) if words else []:
        row = page.row_named(queryset, words) if hasattr(page, "row_named") else None
        if row is not None:
            addresses.append(_address(model, "change", row))
    return addresses[0] if len(addresses) == 1 else None


def _searched_lists(site: AdminSite, request: HttpRequest) -> Iterator[tuple[type[Model], Any, QuerySet[Any]]]:
    for model, page in site._registry.items():
        if hasattr(page, "describe_found") and page.has_view_permission(request):
            yield model, page, page.searched_rows(request) if hasattr(page, "searched_rows") else page.get_queryset(request)


def _address(model: type[Model], page: str, row: Model | None = None) -> str:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    return reverse(name, args=[row.pk] if row else [])
