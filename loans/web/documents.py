"""Serve what an investor looks up or keeps: totals and refunds, e-mails, and what settled, as CSV and as a page to print."""

import csv
from typing import Any

from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters

from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import Direction, ReservationEvent, ReservationState
from loans.models import Delivery, Investor, Reservation, Transfer, Transition
from loans.notifications.messages import message_of
from loans.selectors.portfolio import portfolio
from loans.web.account import READS, account_page
from peerloans.csv_cells import escape_formula
from peerloans.database.clock import database_now
from peerloans.web.downloads import limited_download

NEWEST_SHOWN = 100  # refunds and messages; older ones are on the pages of their reservations
STATEMENT_COLUMNS = ("loan", "title", "number", "amount", "annual_rate_percent", "term_months", "settled_at")


@account_page(*READS)
def money(request: HttpRequest, investor: Investor) -> HttpResponse:
    """Show the investor's totals and refunds."""
    refunds = Transfer.objects.filter(reservation__investor=investor, direction=Direction.REFUND).select_related("reservation__loan")
    context = {
        "section": "money",
        "portfolio": portfolio(investor.pk),
        "refunds": refunds.order_by("-created_at", "-id")[:NEWEST_SHOWN],
        "newest_shown": NEWEST_SHOWN,
        "at": database_now(None),
    }
    return render(request, "loans/account/money.html", context)


@account_page(*READS)
def message_list(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the e-mails to the investor, newest first."""
    related = ("transition", "reservation__loan", "waiting_entry__loan", "watch_notice__watch__loan")
    deliveries = Delivery.objects.filter(investor=investor, endpoint=None).select_related(*related)
    newest = deliveries.order_by("-id")[:NEWEST_SHOWN]
    subjects = [(delivery, _subject_of(delivery)) for delivery in newest]
    context = {"section": "messages", "subjects": subjects, "newest_shown": NEWEST_SHOWN, "email": investor.user.email}
    return render(request, "loans/account/messages.html", context)


def _subject_of(delivery: Delivery) -> str:
    return message_of(delivery.announced).subject.format(loan=delivery.subject.loan.reference)


@sensitive_post_parameters()
@account_page(*READS, "POST")
def password_change(request: HttpRequest, investor: Investor) -> HttpResponse:
    """Change the password. The session goes on; the user's other sessions and tokens end."""
    form = PasswordChangeForm(investor.user, request.POST or None)
    if form.is_valid():
        update_session_auth_hash(request, form.save())
        return redirect("loans:password-done")
    status = 400 if request.method == "POST" else 200
    return render(request, "loans/account/password.html", {"section": "password", "form": form}, status=status)


@account_page(*READS)
def password_done(request: HttpRequest, investor: Investor) -> HttpResponse:
    return render(request, "loans/account/password.html", {"section": "password"})


# --- What settled -----------------------------------------------------------------------------------------------------------
@account_page(*READS)
def statement(request: HttpRequest, investor: Investor) -> HttpResponse:
    """Show what settled, on a page to print."""
    reservations = _settled(investor)
    context = {
        "section": "statement",
        "investor": investor,
        "rows": _with_instants(reservations),
        "total": reservations.aggregate(total=Sum("settled_amount"))["total"] or ZERO_DOLLARS,
        "at": database_now(None),
    }
    return render(request, "loans/account/statement.html", context)


@account_page(*READS)
@limited_download
def statement_csv(request: HttpRequest, investor: Investor) -> HttpResponse:
    """Return what settled as CSV. Amounts are dollars, instants UTC."""
    headers = {"Content-Disposition": 'attachment; filename="settled.csv"'}
    response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
    writer = csv.writer(response)
    writer.writerow(STATEMENT_COLUMNS)
    for reservation, settled_at in _with_instants(_settled(investor)):
        loan = reservation.loan
        values = [loan.reference, loan.title, reservation.number, reservation.settled_amount, loan.annual_rate, loan.term_months]
        writer.writerow([*map(escape_formula, map(str, values)), settled_at.isoformat() if settled_at else ""])
    return response


def _settled(investor: Investor) -> QuerySet[Reservation]:
    settled = Reservation.objects.filter(investor=investor, state=ReservationState.SETTLED)
    return settled.select_related("loan").order_by("created_at", "id")


def _with_instants(reservations: QuerySet[Reservation]) -> list[tuple[Reservation, Any]]:
    """Return each reservation with the instant at which it settled last, from history."""
    events = Transition.objects.filter(reservation__in=reservations.order_by(), event=ReservationEvent.SETTLED)
    instants = dict(events.order_by("id").values_list("reservation_id", "at"))
    return [(reservation, instants.get(reservation.pk)) for reservation in reservations]
