"""Serve the market: the page that lists the loans."""

from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render

from loans.domain.states import PUBLIC_STATUSES, LoanStatus
from loans.selectors.loan_filter import LoanFilter
from loans.selectors.loans import market_loans, public_places, upcoming_loans
from loans.web.loan_cards import loan_cards
from loans.web.paging import LOANS_PER_PAGE, page_number
from loans.web.typed_filters import normalized
from peerloans.api.caching import public_page

UPCOMING_SHOWN = 6

ORDERINGS = (
    ("", "closing soonest"),
    ("-opens_at", "newest"),
    ("-annual_rate", "highest rate"),
    ("ltv", "lowest loan to value"),
    ("term_months", "shortest term"),
    ("-remaining", "most remaining"),
    ("-amount", "largest"),
)
STATUSES = (*((status, str(status)) for status in PUBLIC_STATUSES), ("", "upcoming, open and funded"))


@dataclass(frozen=True)
class OrderingLink:
    """A link that orders the market by `name`."""

    query: str
    name: str
    is_current: bool


@public_page
def market(request: HttpRequest) -> HttpResponse:
    """List the loans that match the filters in the query string; open loans where it names no status.

    If a filter is not valid, the page lists no loan and shows the error beside the filter's field.
    """
    filters = request.GET.copy()
    page = page_number(filters.pop("page", ["1"])[-1])
    context = {
        "filters": filters.dict(),
        "filtered": any(filters.values()),
        "query": filters.urlencode(),
        "orderings": _ordering_links(filters),
        "statuses": STATUSES,
        "places": public_places(),
        "page": page,
    }
    filters.setdefault("status", LoanStatus.OPEN)
    context["status"] = filters["status"]
    loan_filter = LoanFilter(normalized(filters), market_loans())
    context["errors"] = loan_filter.errors
    if not loan_filter.is_valid():
        return render(request, "loans/market.html", context, status=400)
    if page == 1 and not context["filtered"]:
        upcoming = list(upcoming_loans().values_list("pk", flat=True)[:UPCOMING_SHOWN])
        context["upcoming"] = loan_cards(upcoming) if upcoming else []
    ids = loan_filter.qs.values_list("pk", flat=True)
    start, count = (page - 1) * LOANS_PER_PAGE, ids.count()
    context |= {
        "count": count,
        "cards": loan_cards(list(ids[start : start + LOANS_PER_PAGE])),
        "pages": -(-count // LOANS_PER_PAGE),
        "previous_page": page - 1,
        "next_page": page + 1 if start + LOANS_PER_PAGE < count else None,
    }
    return render(request, "loans/market.html", context)


def _ordering_links(filters: QueryDict) -> list[OrderingLink]:
    """Return a link to the same filters in each order. Where the present order is none of these, none is the present one."""
    links = []
    for ordering, name in ORDERINGS:
        query = filters.copy()
        query.pop("ordering", None)
        if ordering:
            query["ordering"] = ordering
        links.append(OrderingLink(query.urlencode(), name, is_current=filters.get("ordering", "") == ordering))
    return links
