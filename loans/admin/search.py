"""Find rows by what pages print: a loan as "PL-0010" or "pl 10", a reservation as "PL-0010 #6", a transfer's reference in any writing, a
user by the beginning of a name or e-mail.
"""

import re
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loans.domain.payment_reference import reference_in
from loans.models import Loan

_RESERVATION = re.compile(r"\s*([A-Za-z0-9 _-]+?)\s*#\s*(\d{1,18})\s*")
_LETTERS_AND_NUMBER = re.compile(r"([a-z]+)[ _-]*0*(\d{1,6})", re.IGNORECASE)
INVESTOR_FIELDS = ("name", "user__username__istartswith", "user__email__istartswith")


def of_investor(path: str) -> list[str]:
    """Return the search fields of the investor that `path` leads to."""
    return [f"{path}__{field}" for field in INVESTOR_FIELDS]


def loan_references(text: str) -> list[str]:
    """Return the references that a loan written like this may have: "pl 10" may be PL-0010, PL-10 or PL10."""
    parts = _LETTERS_AND_NUMBER.fullmatch(text.strip())
    written = [text.strip()]
    if parts:
        letters, number = parts.groups()
        written += [letters + number, *(f"{letters}-{number:0>{width}}" for width in range(len(number), 7))]
    return [each for reference in written for each in (reference, reference.upper())]


def _loan_written(text: str) -> int | None:
    """Return the id of the loan that the text names; None if there is none."""
    return Loan.objects.filter(reference__in=loan_references(text)).values_list("pk", flat=True).first() if text.strip() else None


class SearchAsPrinted(admin.ModelAdmin):
    """A list whose search knows how loans, reservations and transfers are printed. What is neither is looked for in `search_fields`.

    `to_loan`, `to_reservation` and `to_transfer` are the lookups that lead there from a row; None where there is no such way.
    """

    to_loan: str | None = None
    to_reservation: str | None = None
    to_transfer: str | None = None

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        printed = _RESERVATION.fullmatch(search_term)
        if printed and self.to_reservation is not None:
            loan, number = printed.groups()
            return queryset.filter(
                **{f"{self.to_reservation}loan": _loan_written(loan), f"{self.to_reservation}number": int(number)}
            ), False
        reference = reference_in(search_term)
        if reference and self.to_transfer is not None:
            return queryset.filter(**{f"{self.to_transfer}reference": reference}), True
        if self.to_loan is not None and (loan := _loan_written(search_term)):
            return queryset.filter(**{self.to_loan: loan}), False
        return super().get_search_results(request, queryset, search_term)
