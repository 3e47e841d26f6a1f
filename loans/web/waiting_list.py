"""Serve the pages on which an investor waits for a loan, sees where the own entries stand, and leaves a list."""

from dataclasses import dataclass
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from loans.domain.errors import NotFound
from loans.models import Investor, WaitingListEntry
from loans.selectors.offers import investor_offer
from loans.selectors.waiting_list import Place, places_of
from loans.services.waiting_list import join_waiting_list, leave_waiting_list
from loans.web.account import READS, account_page
from loans.web.forms import WaitForm
from peerloans.api.error_statuses import STATUSES
from peerloans.database import replica
from peerloans.errors import Problem

ENTRIES_SHOWN = 100  # the newest


@dataclass(frozen=True)
class EntryRow:
    """An entry as the list shows it; `place` is None where it does not wait."""

    entry: WaitingListEntry
    place: Place | None


@account_page(*READS)
def waiting_list(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the investor's entries, newest first."""
    return _list_page(request, investor)


@account_page(*READS, "POST")
def wait_page(request: HttpRequest, investor: Investor, reference: str) -> HttpResponse:
    """Show how long a loan's list is, and join it. A refusal stands beside the amount."""
    form = WaitForm(request.POST if request.method == "POST" else {"amount": request.GET.get("amount", "")})
    status, problem = 200, None
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                entry = join_waiting_list(reference=reference, investor=investor, **form.cleaned_data)
                replica.mark_write(investor.user_id)
                return redirect("loans:reservation", entry.reservation_id) if entry.reservation_id else redirect("loans:waiting-list")
            except NotFound:
                raise
            except Problem as error:
                problem, status = error, STATUSES.get(error.code, 409)
    offer = investor_offer(investor.pk, reference)
    context = {"form": form, "was_sent": request.method == "POST", "problem": problem, "offer": offer, "loan": offer.loan}
    return render(request, "loans/account/wait.html", context, status=status)


@account_page("POST")
def waiting_list_leave(request: HttpRequest, investor: Investor, entry_id: UUID) -> HttpResponse:
    """Leave a list. The same again changes nothing."""
    try:
        leave_waiting_list(entry_id=entry_id, investor=investor)
    except NotFound:
        raise
    except Problem as problem:
        return _list_page(request, investor, problem.detail, STATUSES.get(problem.code, 409))
    replica.mark_write(investor.user_id)
    return redirect("loans:waiting-list")


def _list_page(request: HttpRequest, investor: Investor, problem: str = "", status: int = 200) -> HttpResponse:
    entries = list(WaitingListEntry.objects.filter(investor=investor).select_related("loan")[:ENTRIES_SHOWN])
    places = places_of([entry.pk for entry in entries])
    rows = [EntryRow(entry, places.get(entry.pk)) for entry in entries]
    return render(request, "loans/account/waiting_list.html", {"section": "waiting", "rows": rows, "problem": problem}, status=status)
