"""Let the lists of what belongs to investors be filtered by one of them, as the links of an investor's page do."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loans.models import Investor

LARGEST_ID = 2**63 - 1
NO_ID = 0


def investor_filter(to_investor: str) -> type[admin.SimpleListFilter]:
    """Return a filter of the rows whose lookup `to_investor` leads to the investor. It is shown only while it is in use."""

    class InvestorFilter(admin.SimpleListFilter):
        title = parameter_name = "investor"

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            value = self.value()
            if value is None:
                return []
            name = Investor.objects.filter(pk=_id_in(value)).values_list("name", flat=True).first()
            return [(value, name or "none with this number")]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            value = self.value()
            return queryset if value is None else queryset.filter(**{to_investor: _id_in(value)})

    return InvestorFilter


def _id_in(text: str) -> int:
    """Return the id that the address names, or one that no investor has."""
    return min(int(text), LARGEST_ID) if text.isdecimal() and text.isascii() and len(text) < 100 else NO_ID
