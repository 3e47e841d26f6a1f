"""Search all lists of the back office at once, in the words of the pages."""

from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse

ROWS_SHOWN = 8  # of each kind; the list of the kind has all


class SearchedEverywhere(Protocol):
    """A list that the search of the whole back office looks through."""

    def describe_found(self, row: Any) -> str:
        """Return what a person recognises the row by, beside its name."""


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
    for model, page in site._registry.items():
        if words and hasattr(page, "describe_found") and page.has_view_permission(request):
            rows, _ = page.get_search_results(request, page.get_queryset(request), words)
            rows = rows.select_related(*page.list_select_related) if isinstance(page.list_select_related, list) else rows
            first_rows = list(rows[: ROWS_SHOWN + 1])
            if first_rows:
                name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
                more = f"{reverse(f'{name}_changelist')}?{urlencode({'q': words})}" if len(first_rows) > ROWS_SHOWN else None
                shown = [Found(str(row), page.describe_found(row), _address(name, row)) for row in first_rows[:ROWS_SHOWN]]
                kinds.append(FoundKind(str(model._meta.verbose_name_plural), shown, more))
    return kinds


def _address(name: str, row: Model) -> str:
    return reverse(f"{name}_change", args=[row.pk])
