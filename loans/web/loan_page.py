"""Serve the public page of a loan, and its preview to staff."""

from datetime import timedelta
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from cbsa import lookup
from loans.charts import fill_curve_chart
from loans.domain.deadlines import BANKING_DAYS_FOR_MONEY, TIME_TO_START_TRANSFER
from loans.domain.errors import NotFound
from loans.domain.settlement_rules import RULES_IN_WORDS
from loans.domain.states import PUBLIC_STATUSES, LoanStatus
from loans.models import Loan, Reservation
from loans.selectors.allotment import loan_allotment
from loans.selectors.loan_documents import listed_documents
from loans.selectors.offers import LoanOffer, loan_offer
from loans.web.allotments import allotment_context
from loans.web.loan_cards import Earnings, LoanCard
from loans.web.metros import metro_values
from loans.web.watches import watch_state
from peerloans.api.caching import public_page
from peerloans.errors import Problem


@public_page
def loan_detail(request: HttpRequest, reference: str) -> HttpResponse:
    """Show a loan: the same to everybody, but that an investor who has logged in sees whether they watch it."""
    watched = watch_state(request, reference)  # before the offer is read: a change after that is news to the investor
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
        "documents": listed_documents(offer.loan.pk),
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
        return metro_values(lookup.zip_answer(loan.zip))
    except Problem:
        return None
