"""Was every promise kept? Compares what callers were told with what is there, once nothing breaks any more."""

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import connection

from loans.audit.reconciliation import find_breaches
from loans.audit.verify_history import verify_loan_history
from loans.models import BankEvent, Delivery, Loan, Reservation, ReviewItem, Transfer, Transition
from loans.notifications import deliveries
from loans.services.cache_refresh import refresh_remaining_cache
from loans.services.expiry import expire_due
from loans.services.settlement import settle_due
from peerloans.devserver import embedded
from tests.chaos.load import Told

MOST_ROUNDS = 20
AFTER_EVERYTHING = timedelta(days=40)  # every reservation without its money has lapsed, every loan has closed


def settle_all() -> None:
    """Let time run on until nothing waits for its money; then each loan's rule decides what is left."""
    embedded.start()
    connection.close()  # of before the faults
    for _ in range(MOST_ROUNDS):
        now = datetime.now(UTC) + AFTER_EVERYTHING
        if not expire_due(now) + settle_due(now):
            return


def breaches(told: Told) -> list[str]:
    """Each sentence tells of a promise that was not kept."""
    return [*told.wrong, *_acknowledged(told), *_done(told), *_money(told), *_settled(), *_invariants()]


def _acknowledged(told: Told) -> Iterator[str]:
    reservations = {str(key): str(amount) for key, amount in Reservation.objects.values_list("pk", "amount")}
    yield from (f"reservation {key} was acknowledged and is not there" for key in told.reservations.keys() - reservations.keys())
    yield from (f"reservation {key} is there and nobody was told" for key in reservations.keys() - told.reservations.keys())
    started = Transfer.objects.filter(direction="inbound", payment=1).values_list("reference", "reservation_id")
    stored = [(reference, str(reservation)) for reference, reservation in started]
    yield from (f"transfer {each} was acknowledged and is not there" for each in told.transfers.items() - set(stored))
    yield from (f"transfer {each} is there and nobody was told" for each in set(stored) - told.transfers.items())
    yield from (
        f"reservation {reservation} has {count} transfers"
        for reservation, count in Counter(reservation for _, reservation in stored).items()
        if count > 1
    )
    events = set(BankEvent.objects.exclude(pk__startswith="staff:").exclude(outcome="").values_list("pk", flat=True))
    yield from (f"event {key} was acknowledged and is not there" for key in told.events.keys() - events)
    yield from (f"event {key} is there and the bank was not told" for key in events - told.events.keys())


def _done(told: Told) -> Iterator[str]:
    """A confirmation that was sent again may have been told that the row has moved, by itself the first time."""
    named = Transition.objects.filter(reason__in=[deed.reason for deed in told.deeds])
    written = Counter(
        (reason, str(transfer or reservation or loan))
        for reason, transfer, reservation, loan in named.values_list("reason", "transfer_id", "reservation_id", "loan_id")
    )
    for deed in told.deeds:
        # What came is taken for the amount, and the reservation is funded.
        times = written[deed.reason, deed.row] / (2 if deed.action == "accept_amount" else 1)
        if times != deed.done and not (times == 1 and deed.tries > 1):
            yield f"{deed} is in history {times:g} times"


def _money(told: Told) -> Iterator[str]:
    """The bank's own book against ours, to the cent."""
    paid: dict[str, Decimal] = {}
    for notice in told.events.values():
        sign = 1 if notice.type == "transfer.cleared" else -1
        paid[notice.reference] = paid.get(notice.reference, Decimal(0)) + sign * notice.amount
    here = dict(Transfer.objects.filter(direction="inbound", status="cleared").values_list("reference", "amount"))
    for reference, amount in paid.items():
        if max(amount, Decimal(0)) != here.get(reference, Decimal(0)):
            yield f"the bank moved {amount} for {reference}, here it is {here.get(reference)}"


def _settled() -> Iterator[str]:
    for reservation in Reservation.objects.filter(state__in=["reserved", "pending"]).order_by("pk"):
        yield f"reservation {reservation.pk} is still {reservation.state}"
    for loan in Loan.objects.order_by("pk"):
        total = sum(Reservation.objects.filter(loan=loan).values_list("settled_amount", flat=True), Decimal(0))
        if total != loan.settled or total > loan.amount:
            yield f"{loan} has settled {loan.settled} of {loan.amount}, its reservations {total}"


def _invariants() -> Iterator[str]:
    refresh_remaining_cache()  # Redis may have lost its last second; the job that says so and repairs it has the first look
    if found := find_breaches():
        yield f"reconcile found {found} breaches"
    yield from (review_item.detail for review_item in ReviewItem.objects.filter(kind__in=["breach", "job_failed"]).order_by("pk"))
    yield from (str(difference) for _, differences in verify_loan_history() for difference in differences)
    deadline = time.monotonic() + 60
    while Delivery.objects.filter(status="waiting").exists() and time.monotonic() < deadline:
        deliveries.deliver_due(datetime.now(UTC) + AFTER_EVERYTHING)
    if waiting := Delivery.objects.filter(status="waiting").count():
        yield f"{waiting} messages still wait"
