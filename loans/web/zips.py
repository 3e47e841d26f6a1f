"""Serve the page of a ZIP code: its metropolitan area, and the open loans there."""

from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from cbsa import lookup
from cbsa.errors import InvalidZip
from cbsa.rules import NO_CBSA, five_digits
from loans.domain.states import LoanStatus
from loans.selectors.loans import market_loans
from loans.web.loan_cards import loan_cards
from loans.web.metros import metro_values
from loans.web.paging import LOANS_PER_PAGE
from peerloans.api import error_statuses
from peerloans.api.caching import public_page
from peerloans.errors import Problem
from peerloans.web import charts


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
    context = metro_values(answer) | {
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
