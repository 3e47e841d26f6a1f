"""Find rows by what pages print: a loan as "PL-0010" or "pl 10", a reservation as "PL-0010 #6", a transfer's reference in any writing, a
user by the beginning of a name or e-mail.
"""

import re
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest

from loans.domain.payment_reference import beginning_of_reference, reference_in
from loans.models import Loan
from loans.selectors.search import investor_ids, loan_ids

_RESERVATION = re.compile(r"\s*([A-Za-z0-9 _-]+?)\s*#\s*(\d{1,18})\s*")
_LETTERS_AND_NUMBER = re.compile(r"([a-z]+)[ _-]*0*(\d{1,6})", re.IGNORECASE)
_UUID = re.compile(r"\s*[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\s*", re.IGNORECASE)
INVESTOR_FIELDS = ("name", "user__username__istartswith", "user__email__istartswith")
MOST_WORDS = 6


def of_investor(path: str) -> list[str]:
    """Return the search fields of the investor that `path` leads to."""
    return [f"{path}__{field}" for field in INVESTOR_FIELDS]


def words_of(text: str) -> list[str]:
    """Return the words of the text that have a letter or a digit, at most six."""
    return [word for word in text.split() if any(map(str.isalnum, word))][:MOST_WORDS]


def loan_references(text: str) -> list[str]:
    """Return the references that a loan written like this may have: "pl 10" may be PL-0010, PL-10 or PL10."""
    parts = _LETTERS_AND_NUMBER.fullmatch(text.strip())
    written = [text.strip()]
    if parts:
        letters, number = parts.groups()
        written += [letters + number, *(f"{letters}-{number:0>{width}}" for width in range(len(number), 7))]
    return [each for reference in written for each in (reference, reference.upper())]


def _id_of_loan_written(text: str) -> int | None:
    """Return the id of the loan that the text names; None if there is none."""
    return Loan.objects.filter(reference__in=loan_references(text)).values_list("pk", flat=True).first() if text.strip() else None


class SearchAsPrinted(admin.ModelAdmin):
    """A list whose search knows how loans, reservations and transfers are printed.

    `to_loan` and `to_investor` are the lookups that lead there from a row. `to_reservation` and `to_transfer` are the beginnings of
    lookups, as "reservation__", and empty where the row is one itself. None means that there is no such way. With `to_investor`, all other
    words are looked for in loans and investors, by indexes alone; without, in `search_fields`. Some lists override `search_words` or
    `rows_with`.
    """

    to_loan: str | None = None
    to_investor: str | None = None
    to_reservation: str | None = None
    to_transfer: str | None = None

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> tuple[QuerySet[Any], bool]:
        named = self._rows_named(search_term)
        if named is not None:
            several_transfers = self.to_transfer is not None and self.to_transfer.endswith("transfers__")  # of one reservation
            return queryset.filter(named), several_transfers
        return self.search_words(request, queryset, search_term)

    def search_words(self, request: HttpRequest, queryset: QuerySet[Any], text: str) -> tuple[QuerySet[Any], bool]:
        """Find the rows by a text that names nothing as pages print it. Return them, and whether one may be among them twice."""
        if self.to_investor is None:
            return super().get_search_results(request, queryset, text)
        for word in words_of(text):
            queryset = queryset.filter(self.rows_with(word))
        return queryset if words_of(text) or not text else queryset.none(), False

    def row_named(self, queryset: QuerySet[Any], text: str) -> Model | None:
        """Return the reservation or transfer that the text names in full, where this is the list of such rows; None else."""
        is_reservation = self.to_reservation == "" and _RESERVATION.fullmatch(text)
        is_transfer = self.to_transfer == "" and reference_in(text)
        row: Model | None = queryset.filter(self._rows_named(text)).first() if is_reservation or is_transfer else None
        return row

    def _rows_named(self, text: str) -> Q | None:
        """Return the condition of the rows of what the text names as pages print it; None where it names nothing."""
        printed = _RESERVATION.fullmatch(text)
        if printed and self.to_reservation is not None:
            loan, number = printed.groups()
            return Q(**{f"{self.to_reservation}loan": _id_of_loan_written(loan), f"{self.to_reservation}number": int(number)})
        if self.to_reservation is not None and _UUID.fullmatch(text):
            return Q(**{f"{self.to_reservation}pk": UUID(text.strip())})
        reference = reference_in(text)
        if reference and self.to_transfer is not None:
            return Q(**{f"{self.to_transfer}reference": reference})
        if self.to_loan is not None and (loan_id := _id_of_loan_written(text)):
            return self.rows_of_loan(loan_id)
        beginning = beginning_of_reference(text)
        return Q(**{f"{self.to_transfer}reference__startswith": beginning}) if beginning and self.to_transfer is not None else None

    def rows_of_loan(self, loan_id: int) -> Q:
        """Return the condition of the loan's rows."""
        return Q(**{str(self.to_loan): loan_id})

    def rows_with(self, word: str) -> Q:
        """Return the condition of the rows whose loan or investor the word begins to name."""
        of_loan = Q(**{f"{self.to_loan}__in": loan_ids(word)}) if self.to_loan is not None else Q()
        return of_loan | Q(**{f"{self.to_investor}__in": investor_ids(word)})
