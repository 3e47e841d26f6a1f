"""Filter and order the public list of loans, for the API and for the pages."""

import re
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as FormError
from django.db.models import Q, QuerySet
from django_filters import rest_framework as filters
from django_filters.fields import BaseCSVField

from loans.domain.states import PUBLIC_STATUSES
from loans.models import Loan
from loans.models.fields import choices

ORDERINGS = {
    "opens_at": "opens_at",
    "closes_at": "closes_at",
    "reference": "reference",
    "annual_rate": "annual_rate",
    "ltv": "ltv",
    "term_months": "term_months",
    "amount": "amount",
    "remaining": "remaining",
}
UNKNOWN_ORDERING = f"Lists are ordered by {', '.join(ORDERINGS.values())}, each also with - before it."


def decimal_filter(field_name: str, lookup: str, label: str, digits: int) -> filters.NumberFilter:
    """Return a filter on a number with two places and at most so many digits, 0 or more."""
    return filters.NumberFilter(field_name, lookup, label=label, max_digits=digits, decimal_places=2, min_value=0)


class CommaSeparatedNames(BaseCSVField):
    """Names with commas between them. An empty name is refused; django-filter alone would ignore it."""

    def clean(self, value: Any) -> Any:
        if value and "" in value:
            raise FormError("Write one name, or several with one comma between two.")
        return super().clean(value)


class StrictOrdering(filters.OrderingFilter):
    """An ordering by one or several names, none of them empty."""

    base_field_class = CommaSeparatedNames


class LoanFilter(filters.FilterSet):
    """The filters of the public list. The labels are the API's documentation."""

    status = filters.ChoiceFilter(choices=choices(PUBLIC_STATUSES), label="`upcoming`, `open` or `funded`.")
    state = filters.CharFilter(lookup_expr="iexact", min_length=2, max_length=2, label="Of the property, two letters: `TX`.")
    msa = filters.CharFilter(
        method="filter_market",
        max_length=200,
        label="The market: its CBSA code, or words of its name, the last of which may be unfinished. Up to three letters are a whole word.",
    )
    min_rate = decimal_filter("annual_rate", "gte", "Annual rate, percent, at least.", 5)
    max_ltv = decimal_filter("ltv", "lte", "Loan to value, percent, at most.", 5)
    min_remaining = decimal_filter("remaining", "gte", "Dollars that remain, at least.", 14)
    search = filters.CharFilter(method="search_text", max_length=200, label="Part of the reference, title, city or market.")
    ordering = StrictOrdering(
        fields=ORDERINGS,
        error_messages={"invalid_choice": UNKNOWN_ORDERING},
        label="One or several with commas; `-` before a name turns it around.",
    )

    class Meta:
        model = Loan
        fields: ClassVar[list[str]] = []

    def filter_market(self, loans: QuerySet[Loan], name: str, value: str) -> QuerySet[Loan]:
        """Return the loans of the market with this CBSA code, or with these words in its name. The last word may be unfinished."""
        end = r"\M" if len(value.strip()) <= 3 else ""  # "LA" is not the beginning of Lakewood
        return loans.filter(Q(market_cbsa=value) | Q(market_msa__iregex=rf"\m{re.escape(value.strip())}{end}"))

    def search_text(self, loans: QuerySet[Loan], name: str, value: str) -> QuerySet[Loan]:
        """Return the loans with this text in their reference, title, city or market."""
        return loans.filter(
            Q(reference__icontains=value) | Q(title__icontains=value) | Q(city__icontains=value) | Q(market_msa__icontains=value)
        )
