"""Serve the pages on which an investor reserves part of a loan, pays for it, cancels it and follows it."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from loans.domain import loan_limits
from loans.domain.actors import Actor
from loans.domain.deadlines import start_deadline
from loans.domain.errors import IdempotencyKeyReused, NotFound
from loans.domain.first_answer import AnsweredBefore, Key
from loans.domain.states import LIVE, ReservationEvent, ReservationState
from loans.models import Investor, Reservation
from loans.notifications.messages import OF_RESERVATION
from loans.selectors.offers import InvestorOffer, investor_offer
from loans.selectors.queue import queue_position_of, queue_positions_of
from loans.selectors.reservation_outlook import reservation_outlook
from loans.selectors.reservations import reservation_of_investor
from loans.selectors.transfers import current_of
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from loans.web.account import READS, account_page
from loans.web.forms import METHODS, ReserveForm, TransferForm
from loans.web.paging import RESERVATIONS_PER_PAGE, page_number
from peerloans.api.error_statuses import STATUSES
from peerloans.database import replica
from peerloans.database.clock import database_now
from peerloans.errors import Problem


@dataclass(frozen=True)
class ReservationRow:
    """A reservation as the list shows it at the instant `at`; `queue_position` is None where it is not live."""

    reservation: Reservation
    at: datetime
    queue_position: int | None

    @property
    def status(self) -> str:
        return status_in_words(self.reservation, self.at)


def is_lapsed(reservation: Reservation, at: datetime) -> bool:
    """Return whether the reservation's deadline has passed, swept or not."""
    return reservation.state in LIVE and reservation.expires_at is not None and reservation.expires_at <= at


def status_in_words(reservation: Reservation, at: datetime) -> str:
    """Return what the reservation waits for, or how it ended, in a few words."""
    if is_lapsed(reservation, at) or reservation.cause == ReservationEvent.EXPIRED:
        return "Expired"
    if reservation.state == ReservationState.RESERVED:
        return "Start the transfer"
    if reservation.state == ReservationState.PENDING:
        return "Paid, in the queue" if reservation.funded_at else "Send the money"
    return reservation.state.capitalize()


# --- The list -------------------------------------------------------------------------------------------------------------
@account_page(*READS)
def reservation_list(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the investor's reservations, newest first."""
    page, at = page_number(request.GET.get("page", "1")), database_now(None)
    start = (page - 1) * RESERVATIONS_PER_PAGE
    own = Reservation.objects.filter(investor=investor).select_related("loan")
    reservations = list(own[start : start + RESERVATIONS_PER_PAGE + 1])
    shown = reservations[:RESERVATIONS_PER_PAGE]
    positions = queue_positions_of([reservation.pk for reservation in shown], at)
    context = {
        "section": "reservations",
        "rows": [ReservationRow(reservation, at, positions.get(reservation.pk)) for reservation in shown],
        "at": at,
        "investor": investor,
        "page": page,
        "previous_page": page - 1,
        "next_page": page + 1 if len(reservations) > RESERVATIONS_PER_PAGE else None,
    }
    return render(request, "loans/account/reservations.html", context)


# --- Reserve ----------------------------------------------------------------------------------------------------------------
@account_page(*READS, "POST")
def reserve_page(request: HttpRequest, investor: Investor, reference: str) -> HttpResponse:
    """Show what can be reserved of a loan, and reserve it. A refusal stands beside the amount, with what would be accepted."""
    form = ReserveForm({"amount": request.GET.get("amount", ""), "key": uuid.uuid4()})
    status, problem = 200, None
    if request.method == "POST":
        form, status = ReserveForm(request.POST), 400
        if form.is_valid():
            try:
                reservation_id = _reserve_once(request, investor, reference, **form.cleaned_data)
                return redirect("loans:reservation", reservation_id)
            except NotFound:
                raise
            except Problem as error:
                problem, status = error, STATUSES.get(error.code, 409)
    offer = investor_offer(investor.pk, reference)
    context = {
        "form": form,
        # A form that has reserved is not to be sent again. Any other keeps its key, since the first sending may still be under way.
        "key": uuid.uuid4() if "key" in form.errors or isinstance(problem, IdempotencyKeyReused) else form["key"].value(),
        "was_sent": request.method == "POST",
        "problem": problem,
        "alternative": _accepted_amount(problem, offer),
        "offer": offer,
        "loan": offer.loan,
        "deadline": start_deadline(offer.at),
    }
    return render(request, "loans/account/reserve.html", context, status=status)


def _reserve_once(request: HttpRequest, investor: Investor, reference: str, amount: Decimal, key: UUID) -> UUID:
    """Reserve, and return the reservation's id. The same form again has the same answer, for as long as the API's keys have.

    Raises:
        IdempotencyKeyReused: the form has already reserved another amount, or of another loan.
    """
    digest = hashlib.sha256(f"POST {request.path}\n{amount}".encode()).hexdigest()
    try:
        reservation = reserve(reference=reference, investor=investor, amount=amount, key=Key(investor.user_id, f"page-{key}", digest))
    except AnsweredBefore as before:
        if before.first.digest != digest or before.first.reservation_id is None:
            raise IdempotencyKeyReused(
                "This form has reserved another amount already; see your reservations. If you want to reserve this one too, send it again."
            ) from None
        return before.first.reservation_id
    replica.mark_write(investor.user_id)
    return reservation.pk


def _accepted_amount(problem: Problem | None, offer: InvestorOffer) -> Decimal | None:
    """Return the amount that the refusal names as possible, if the loan would take it now."""
    if problem is None:
        return None
    amount: Decimal | None = problem.data.get("minimum", problem.data.get("available"))
    loan = offer.loan
    if amount and amount <= offer.available and loan_limits.meets_minimum(amount, loan.minimum, loan.remaining):
        return amount
    return None


# --- One reservation ----------------------------------------------------------------------------------------------------------
@account_page(*READS)
def reservation_detail(request: HttpRequest, investor: Investor, reservation_id: UUID) -> HttpResponse:
    return _reservation_page(request, investor, reservation_id)


@account_page("POST")
def transfer_start(request: HttpRequest, investor: Investor, reservation_id: UUID) -> HttpResponse:
    """Start the transfer by the chosen method. The same again changes nothing."""
    form = TransferForm(request.POST)
    if not form.is_valid():
        return _reservation_page(request, investor, reservation_id, str(form.errors["method"][0]), 400)
    method = form.cleaned_data["method"]
    return _change(request, investor, reservation_id, lambda **who: start_transfer(method=method, **who))


@account_page("POST")
def reservation_cancel(request: HttpRequest, investor: Investor, reservation_id: UUID) -> HttpResponse:
    """Cancel the reservation. The same again changes nothing."""
    return _change(request, investor, reservation_id, cancel_reservation)


def _change(request: HttpRequest, investor: Investor, reservation_id: UUID, service: Callable[..., Reservation]) -> HttpResponse:
    """Call the service, and lead to the reservation's page, which explains a refusal."""
    try:
        service(reservation_id=reservation_id, actor=Actor("investor", investor.user_id), investor_id=investor.pk)
    except NotFound:
        raise
    except Problem as problem:
        return _reservation_page(request, investor, reservation_id, problem.detail, STATUSES.get(problem.code, 409))
    replica.mark_write(investor.user_id)
    return redirect("loans:reservation", reservation_id)


def _reservation_page(request: HttpRequest, investor: Investor, reservation_id: UUID, problem: str = "", status: int = 200) -> HttpResponse:
    reservation, at = reservation_of_investor(investor.pk, reservation_id), database_now(None)
    transfers = list(reservation.transfers.all())
    context = {
        "reservation": reservation,
        "loan": reservation.loan,
        "at": at,
        "status": status_in_words(reservation, at),
        "lapsed": is_lapsed(reservation, at),
        "queue_position": queue_position_of(reservation, at),
        "expected": (expected := reservation_outlook(reservation)),
        "chance_of_all": _chance_in_words(expected.outlook.chance_full) if expected else "",
        "why": _why_canceled(reservation),
        "transfer": current_of(transfers),
        "transfers": transfers,
        "methods": METHODS,
        "problem": problem,
    }
    return render(request, "loans/account/reservation.html", context, status=status)


def _chance_in_words(chance: float) -> str:
    """Return a probability in whole percents. Only what is certain is written as such."""
    if 0.01 <= chance <= 0.99:
        return f"{100 * chance:.0f} %"
    if chance in {0.0, 1.0}:
        return f"{100 * chance:.0f} %"
    return "less than 1 %" if chance < 0.5 else "more than 99 %"


def _why_canceled(reservation: Reservation) -> str:
    return OF_RESERVATION[ReservationEvent(reservation.cause)].why if reservation.cause else ""
