"""Serve the public pages: the market, each loan, and the metropolitan area of a ZIP code."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render

from cbsa import lookup
from cbsa.errors import InvalidZip
from cbsa.rules import NO_CBSA, five_digits
from loans.charts import fill_curve_chart
from loans.domain.deadlines import BANKING_DAYS_FOR_MONEY, TIME_TO_START_TRANSFER
from loans.domain.errors import NotFound
from loans.domain.settlement_rules import RULES_IN_WORDS
from loans.domain.states import PUBLIC_STATUSES, LoanStatus
from loans.models import Loan, Reservation
from loans.selectors.allotment import loan_allotment
from loans.selectors.loan_documents import documents_of
from loans.selectors.loan_filter import LoanFilter
from loans.selectors.loans import market_loans, public_places, upcoming_loans
from loans.selectors.offers import LoanOffer, loan_offer
from loans.web.allotments import allotment_context
from loans.web.loan_cards import Earnings, LoanCard, loan_cards
from loans.web.paging import page_number
from loans.web.typed_filters import normalized
from loans.web.watches import watch_state
from peerloans.api import error_statuses
from peerloans.api.caching import public_page
from peerloans.errors import Problem
from peerloans.web import charts

LOANS_PER_PAGE = 24
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


# --- The market -------------------------------------------------------------------------------------------------------
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


# --- A loan -----------------------------------------------------------------------------------------------------------
@public_page
def loan_detail(request: HttpRequest, reference: str) -> HttpResponse:
    """Show a loan. Only what an investor who has logged in gets is their own: whether they watch it."""
    watched = watch_state(request, reference)  # before the offer is read, so that they are told of what changes after it
    try:
        offer = loan_offer(reference)
    except NotFound as error:
        raise Http404(error.detail) from None
    if offer.loan.status not in PUBLIC_STATUSES:
        own = Reservation.objects.filter(loan=offer.loan, investor__user=request.user.pk).order_by("-number").first()
        if own:  # Of a loan that was withdrawn, its investors see what became of their money.
            return redirect("loans:reservation", own.pk)
        raise Http404(f"There is no loan {reference}.")
    response = _loan_page(request, offer, watched=watched)
    if watched != "unknown":
        response.headers["Cache-Control"] = "private, no-store"
    return response


def loan_preview(request: HttpRequest, loan_id: int) -> HttpResponse:
    """Show staff who may view loans the page that everybody will see of a draft. The route lets only staff in.

    A loan that everybody sees already has its own page, and a withdrawn one has none.
    """
    if not request.user.has_perm("loans.view_loan"):
        raise PermissionDenied
    loan = get_object_or_404(Loan, pk=loan_id)
    if loan.status in PUBLIC_STATUSES:
        return redirect("loans:loan-detail", loan.reference)
    if loan.status != LoanStatus.DRAFT:
        raise Http404(f"{loan.reference} has no public page.")
    return _loan_page(request, loan_offer(loan.reference), is_preview=True)


def _loan_page(request: HttpRequest, offer: LoanOffer, *, is_preview: bool = False, watched: str = "") -> HttpResponse:
    context = {
        "is_preview": is_preview,
        "watched": watched,
        "documents": list(documents_of(offer.loan.pk)),
        "card": LoanCard(offer, offer.loan.remaining),
        "earnings": Earnings.of(offer.loan),
        "hours_to_start": TIME_TO_START_TRANSFER // timedelta(hours=1),
        "banking_days": BANKING_DAYS_FOR_MONEY,
        "rule": RULES_IN_WORDS[offer.loan.settlement_rule],
        "chart": fill_curve_chart(offer) if not is_preview else "",
        "metro": _metro(offer.loan),
        "allotment": allotment_context(loan_allotment(offer.loan)) if offer.loan.status == LoanStatus.FUNDED else None,
    }
    return render(request, "loans/loan.html", context)


def _metro(loan: Loan) -> dict[str, Any] | None:
    """Return the template values of the loan's metropolitan area; None where there is none, or the data in use lack its ZIP."""
    if not loan.market_cbsa:
        return None
    try:
        return _metro_values(lookup.zip_answer(loan.zip))
    except Problem:
        return None


# --- A ZIP code -------------------------------------------------------------------------------------------------------
@public_page
def zip_search(request: HttpRequest) -> HttpResponse:
    """Redirect from the search field to the ZIP's page; show the field again where the text in it is not a ZIP code."""
    zip_code = request.GET.get("zip", "").strip()
    if not zip_code:
        return render(request, "loans/zip.html")
    try:
        return redirect("loans:zip-detail", five_digits(zip_code))
    except InvalidZip as problem:
        return _zip_problem(request, zip_code, problem)


@public_page
def zip_detail(request: HttpRequest, zip_code: str) -> HttpResponse:
    history: list[lookup.VintageOfZip] = []
    try:
        normalized = five_digits(zip_code)
        if normalized != zip_code:
            return redirect("loans:zip-detail", normalized)
        history = lookup.zip_history(zip_code)
        answer = next((entry.answer for entry in history if entry.in_use), None)
        if answer is None:
            raise lookup.unknown_zip(zip_code)
    except Problem as problem:
        return _zip_problem(request, zip_code, problem, history)
    same_market = {"market_cbsa": answer.effective_cbsa} if answer.msa else {"zip": zip_code}
    ids = market_loans().filter(status=LoanStatus.OPEN, **same_market).values_list("pk", flat=True)[: LOANS_PER_PAGE + 1]
    cards = loan_cards(list(ids))
    context = _metro_values(answer) | {
        "zip_code": zip_code,
        "shares": [(cbsa, [100 * ratio for ratio in ratios]) for cbsa, *ratios in answer.matches],
        "no_cbsa": NO_CBSA,
        "history": history,
        "chart": charts.bars("Population by year", f"Population of {answer.msa}, by year.", sorted(answer.population.items())),
        "cards": cards[:LOANS_PER_PAGE],
        "more": len(cards) > LOANS_PER_PAGE,
    }
    return render(request, "loans/zip.html", context)


def _zip_problem(request: HttpRequest, zip_code: str, problem: Problem, history: Sequence[lookup.VintageOfZip] = ()) -> HttpResponse:
    """Show the search again with the problem, and the vintages that have the ZIP although the one in use lacks it."""
    context = {"zip_code": zip_code, "problem": problem, "history": history}
    return render(request, "loans/zip.html", context, status=error_statuses.STATUSES[problem.code])


def _metro_values(answer: lookup.ZipAnswer) -> dict[str, Any]:
    """Return the template values about a ZIP's metropolitan area; `year` and `people` are of its latest population estimate."""
    year, people = max(answer.population.items(), default=(None, None))
    return {"answer": answer, "year": year, "people": people}
