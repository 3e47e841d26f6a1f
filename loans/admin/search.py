"""Find rows by what pages print: a reservation as "PL-0010 #6", a transfer's reference in any writing, a user by name or e-mail."""

import re
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loans.domain.payment_reference import reference_in

_RESERVATION = re.compile(r"\s*([A-Za-z0-9_-]+)\s*#\s*(\d{1,18})\s*")
INVESTOR_FIELDS = ("name", "user__username__istartswith", "user__email__istartswith")


def of_investor(path: str) -> list[str]:
    """Return the search fields of the investor that `path` leads to."""
    return [f"{path}__{field}" for field in INVESTOR_FIELDS]


class SearchAsPrinted(admin.ModelAdmin):
    """A list whose search knows how reservations and transfers are printed. What is neither is looked for in `search_fields`.

    `to_reservation` and `to_transfer` are the lookups that lead there from a row; None where there is no such way.
    """

    to_reservation: str | None = None
    to_transfer: str | None = None

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        printed = _RESERVATION.fullmatch(search_term)
        if printed and self.to_reservation is not None:
            loan, number = printed.groups()
            names = {f"{self.to_reservation}loan__reference__iexact": loan, f"{self.to_reservation}number": int(number)}
            return queryset.filter(**names), False
        reference = reference_in(search_term)
        if reference and self.to_transfer is not None:
            return queryset.filter(**{f"{self.to_transfer}reference": reference}), True
        return super().get_search_results(request, queryset, search_term)
