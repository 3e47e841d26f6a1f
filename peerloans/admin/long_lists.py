"""Show lists of millions of rows in moments: count only the rows of the pages that are offered, and sort only short lists by a column."""

from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

MOST_LISTED = 10_000
"""Rows on the pages of one list. Filters and the search lead to others. Counting a million rows takes 0.1 s and more."""


class LongListPaginator(Paginator):
    """Page through at most MOST_LISTED rows."""

    @cached_property
    def _found(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return rows.order_by()[: MOST_LISTED + 1].count()

    @property
    def is_cut(self) -> bool:
        """Whether there are more rows than the pages show."""
        return self._found > MOST_LISTED

    @cached_property
    def count(self) -> int:
        return min(self._found, MOST_LISTED)


class LongList(ChangeList):
    """A list that keeps its own order, which an index gives, where it has more than MOST_LISTED rows."""

    paginator: LongListPaginator

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        queryset = super().get_queryset(request, exclude_parameters)
        if ORDER_VAR in self.params and LongListPaginator(queryset, self.list_per_page).is_cut:
            del self.params[ORDER_VAR]
            queryset = queryset.order_by(*self.get_ordering(request, queryset))
        return queryset

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if self.paginator.is_cut:
            self.sortable_by = ()
            self.add_facets = self.is_facets_optional = False  # The counts beside the filters count all rows for each.
