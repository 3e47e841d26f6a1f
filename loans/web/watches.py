"""Let an investor watch loans and stop, and list the watched loans."""

import contextlib

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from loans.domain.errors import Busy, NotFound
from loans.models import Investor
from loans.selectors.watches import watches_of
from loans.services.watches import note_that_seen, stop_watching, watch_loan
from loans.web.account import READS, account_page, investor_or_none
from loans.web.loan_cards import loan_cards
from loans.web.paging import WATCHES_PER_PAGE, page_number
from peerloans.api.error_statuses import STATUSES
from peerloans.errors import Problem


@account_page(*READS)
def watch_list(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the loans that the investor watches, newest first."""
    return _list_page(request, investor)


@account_page("POST")
def watch(request: HttpRequest, investor: Investor, reference: str) -> HttpResponse:
    """Watch a loan, and lead back to its page. The same again changes nothing. A refusal stands above the list."""
    try:
        watch_loan(investor_id=investor.pk, reference=reference)
    except NotFound:
        raise
    except Problem as problem:
        return _list_page(request, investor, problem.detail, STATUSES.get(problem.code, 409))
    return redirect(_watch_section(reference))


@account_page("POST")
def watch_stop(request: HttpRequest, investor: Investor, reference: str) -> HttpResponse:
    """Stop watching a loan, and lead back to where the button was. The same again changes nothing."""
    stop_watching(investor_id=investor.pk, reference=reference)
    return redirect("loans:watches") if request.POST.get("from") == "list" else redirect(_watch_section(reference))


def watch_state(request: HttpRequest, reference: str) -> str:
    """Return whether the visitor of a loan's page watches it: `yes` or `no`, and `unknown` where they have not logged in as an investor.

    One who watches it has now seen what the loan offers.
    """
    investor = investor_or_none(request.user)
    if investor is None:
        return "unknown"
    with contextlib.suppress(Busy):  # Then they have not seen it, and may get an e-mail about what they know.
        return "yes" if note_that_seen(investor_id=investor.pk, reference=reference) else "no"
    return "yes"


def _watch_section(reference: str) -> str:
    return reverse("loans:loan-detail", args=[reference]) + "#watch"


def _list_page(request: HttpRequest, investor: Investor, problem: str = "", status: int = 200) -> HttpResponse:
    page = page_number(request.GET.get("page", "1"))
    start = (page - 1) * WATCHES_PER_PAGE
    loan_ids = list(watches_of(investor.pk).values_list("loan_id", flat=True)[start : start + WATCHES_PER_PAGE + 1])
    context = {
        "section": "watches",
        "cards": loan_cards(loan_ids[:WATCHES_PER_PAGE]),
        "problem": problem,
        "email": investor.user.email,
        "page": page,
        "previous_page": page - 1,
        "next_page": page + 1 if len(loan_ids) > WATCHES_PER_PAGE else None,
    }
    return render(request, "loans/account/watches.html", context, status=status)
