"""Compare what callers were answered with what is there, once nothing breaks any more, and name every broken promise."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection

from loans.audit.history_chain import chain_history, check_chain
from loans.audit.reconciliation import find_breaches
from loans.audit.verify_history import verify_loan_history
from loans.models import BankEvent, Delivery, Loan, Reservation, ReviewItem, StandingOrder, Transfer, Transition, WaitingListEntry
from loans.notifications import deliveries
from loans.services.cache_refresh import refresh_remaining_cache
from loans.services.expiry import expire_due
from loans.services.loans import open_announced_loans
from loans.services.settlement import settle_due
from peerloans.devserver import embedded
from tests.chaos.initial_data import ANNOUNCED
from tests.chaos.load import Record

MOST_ROUNDS = 20
ALL_ARE_OPEN = max(ANNOUNCED)  # every announced loan opens by then; those of staff open within a minute
AFTER_EVERYTHING = timedelta(days=40)  # every reservation without its money has lapsed, every loan has closed


def settle_all() -> None:
    """Let 40 days pass, so that no reservation waits for its money, and each loan's rule decides what is left."""
    embedded.start()
    connection.close()  # the connection is from before the faults
    open_announced_loans(datetime.now(UTC) + ALL_ARE_OPEN)
    for _ in range(MOST_ROUNDS):
        now = datetime.now(UTC) + AFTER_EVERYTHING
        if not expire_due(now) + settle_due(now):
            return


def broken_promises(record: Record) -> list[str]:
    """Return a sentence for each promise that was not kept."""
    return [
        *record.broken_promises,
        *_acknowledged(record),
        *_staff_actions(record),
        *_money(record),
        *undecided(),
        *invariants(),
    ]


def _acknowledged(record: Record) -> Iterator[str]:
    asked_for = Reservation.objects.filter(standing_order=None, waitinglistentry=None)
    yield from _differences("reservation", set(record.reservations), {str(key) for key in asked_for.values_list("pk", flat=True)})
    yield from _differences(
        "standing order", record.standing_orders, {str(key) for key in StandingOrder.objects.values_list("pk", flat=True)}
    )
    entries = {str(key) for key in WaitingListEntry.objects.values_list("pk", flat=True)}
    yield from _differences("entry of a waiting list", record.waiting_entries, entries)
    started = Transfer.objects.filter(direction="inbound").values_list("reference", "reservation_id")
    stored = [(reference, str(reservation)) for reference, reservation in started]
    yield from (f"transfer {each} was acknowledged and is not there" for each in record.transfers.items() - set(stored))
    yield from (f"transfer {each} is there and was not acknowledged" for each in set(stored) - record.transfers.items())
    yield from (
        f"reservation {reservation} has {count} transfers"
        for reservation, count in Counter(reservation for _, reservation in stored).items()
        if count > 1
    )
    events = set(BankEvent.objects.exclude(pk__startswith="staff:").exclude(outcome="").values_list("pk", flat=True))
    yield from _differences("event", set(record.events), events)


def _differences(thing: str, acknowledged: set[str], stored: set[str]) -> Iterator[str]:
    yield from (f"{thing} {key} was acknowledged and is not there" for key in acknowledged - stored)
    yield from (f"{thing} {key} is there and was not acknowledged" for key in stored - acknowledged)


def _staff_actions(record: Record) -> Iterator[str]:
    """An action is in history as often as its page said done. A repeated confirmation may say that the row has changed: by the first."""
    named = Transition.objects.filter(reason__in=[action.reason for action in record.staff_actions])
    written = Counter(
        (reason, str(transfer or reservation or loan))
        for reason, transfer, reservation, loan in named.values_list("reason", "transfer_id", "reservation_id", "loan_id")
    )
    for action in record.staff_actions:
        # Accepting an amount writes two transitions: the amount is accepted, and the reservation is funded.
        times = written[action.reason, action.row] / (2 if action.action == "accept_amount" else 1)
        if times != action.done and not (times == 1 and action.tries > 1):
            yield f"{action} is in history {times:g} times"


def _money(record: Record) -> Iterator[str]:
    """The bank's own account of each reference agrees with the books, to the cent."""
    moved = dict(Transfer.objects.filter(direction="inbound").values_list("reference", "moved"))
    for reference, held in record.bank_accounts.items():
        if held != moved.get(reference, Decimal(0)):
            yield f"the bank holds {held} for {reference}, in the books it is {moved.get(reference)}"


def undecided() -> Iterator[str]:
    for reservation in Reservation.objects.filter(state__in=["reserved", "pending"]).order_by("pk"):
        yield f"reservation {reservation.pk} is still {reservation.state}"
    for loan in Loan.objects.filter(status="upcoming").order_by("pk"):
        yield f"{loan} did not open"
    for loan in Loan.objects.order_by("pk"):
        total = sum(Reservation.objects.filter(loan=loan).values_list("settled_amount", flat=True), Decimal(0))
        if total != loan.settled or total > loan.amount:
            yield f"{loan} has settled {loan.settled} of {loan.amount}, its reservations {total}"


def invariants() -> Iterator[str]:
    refresh_remaining_cache()  # Redis may have lost its last second; this job lists and repairs that first
    if number := find_breaches():
        yield f"reconcile found {number} breaches"
    yield from (item.detail for item in ReviewItem.objects.filter(kind__in=["breach", "job_failed"]).order_by("pk"))
    yield from (str(difference) for _, differences in verify_loan_history() for difference in differences)
    chain_history()
    if fault := check_chain().fault:
        yield f"the chain of history does not hold: {fault}"
    # From hour to hour, since many e-mails to one investor become due a second apart.
    for hours in range(MOST_ROUNDS):
        deliveries.deliver_due(datetime.now(UTC) + AFTER_EVERYTHING + timedelta(hours=hours))
    if waiting := Delivery.objects.filter(status="waiting").count():
        yield f"{waiting} messages still wait"
