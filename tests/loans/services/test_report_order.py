"""Deliver every set of up to four reports on one payment in every order: our books and the reservation must end the same.

The orders are walked as a tree, so that orders that begin alike share their beginning: each node delivers one report more, in a
savepoint that is rolled back afterwards. On the way back from each node the first report is delivered once more, which must change
nothing.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from loans.models import Reservation, Transfer
from loans.services.bank_events import Notice, record_bank_event
from loans.services.payment_files import send_refunds
from loans.services.staff_overrides import cancel_by_staff, reinstate_reservation
from tests.factories import NOON, STAFF, LoanFactory, funded, inbound, money_comes, pending

pytestmark = pytest.mark.django_db

BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a reason"}
REPORTS_AT_MOST = 4
RECEIVED_AT = NOON + timedelta(hours=3)
Letter = tuple[str, int, int]  # type, dollars, hour of the bank's time

INBOUND: list[Letter] = [
    ("transfer.cleared", 5_000, 1),
    ("transfer.cleared", 5_000, 2),
    ("transfer.cleared", 3_000, 1),
    ("transfer.cleared", 2_000, 3),
    ("transfer.failed", 5_000, 2),
    ("transfer.failed", 4_000, 3),
    ("transfer.failed", 1_000, 2),
]
REFUND: list[Letter] = [
    ("refund.paid", 5_000, 1),
    ("refund.paid", 5_000, 2),
    ("refund.paid", 3_000, 1),
    ("refund.failed", 5_000, 2),
    ("refund.failed", 1_000, 2),
]


def books(reservation_id: Any) -> dict[str, Any]:
    """Return all that must not depend on the order: the reservation, its loan, and what the transfers sum up to."""
    reservation = Reservation.objects.select_related("loan").get(pk=reservation_id)
    transfers = list(Transfer.objects.filter(reservation=reservation_id))
    return {
        "state": reservation.state,
        "cause": reservation.cause,
        "amount": reservation.amount,
        "expires_at": reservation.expires_at,
        "is_funded": bool(reservation.funded_at),
        "money": (reservation.received, reservation.refunded, reservation.lost, reservation.settled_amount, reservation.waiting_money),
        "loan": (reservation.loan.status, reservation.loan.settled, reservation.loan.claimed),
        "inbound": [(transfer.status, transfer.moved) for transfer in transfers if transfer.direction == "inbound"],
        "refunds": {
            status: sum(transfer.amount - transfer.moved for transfer in transfers if transfer.status == status)
            for status in ("due", "sent")
        },
        "paid": sum(transfer.moved for transfer in transfers if transfer.direction == "refund"),
    }


def deliver_in_every_order(reservation_id: Any, reference: str, alphabet: Sequence[Letter]) -> int:
    """Return how many orders were tried."""
    notices = [
        Notice(f"evt-{number}", kind, reference, Decimal(amount), NOON + timedelta(hours=hour))  # type: ignore[arg-type]
        for number, (kind, amount, hour) in enumerate(alphabet)
    ]
    first_books: dict[frozenset[int], tuple[Sequence[int], dict[str, Any]]] = {}

    def walk(delivered: tuple[int, ...], now: datetime) -> int:
        orders = 0
        for number in range(len(notices)):
            if number in delivered or len(delivered) == REPORTS_AT_MOST:
                continue
            savepoint = transaction.savepoint()
            record_bank_event(notices[number], now=now)
            order = (*delivered, number)
            actual = books(reservation_id)
            first_order, expected = first_books.setdefault(frozenset(order), (order, actual))
            assert actual == expected, [[alphabet[number] for number in sequence] for sequence in (first_order, order)]
            orders += 1 + walk(order, now + timedelta(seconds=1))
            transaction.savepoint_rollback(savepoint)
        if delivered:
            record_bank_event(notices[delivered[0]], now=now)
            assert books(reservation_id) == first_books[frozenset(delivered)][1], "a repeated report changes nothing"
        return orders

    return walk((), RECEIVED_AT)


def test_payments_and_returns_lead_to_the_same_books_in_every_order() -> None:
    reservation = pending(LoanFactory(), 5_000)
    assert deliver_in_every_order(reservation.pk, inbound(reservation).reference, INBOUND) == 7 + 7 * 6 + 7 * 6 * 5 + 7 * 6 * 5 * 4


def refund_due() -> Transfer:
    """Return the refund of a reservation that staff canceled after its money had come."""
    reservation = funded(LoanFactory(), 5_000)
    cancel_by_staff(reservation_id=reservation.pk, now=NOON, **BY_STAFF)
    return refund_of(reservation)


def refund_sent() -> Transfer:
    refund = refund_due()
    send_refunds(refund_ids=[refund.pk], now=NOON, **BY_STAFF)
    return refund


def refund_void() -> Transfer:
    """Return the refund of a reservation that staff reinstated: its money is kept."""
    refund = refund_due()
    reinstate_reservation(reservation_id=refund.reservation_id, now=NOON, **BY_STAFF)
    return refund


def refund_of_excess() -> Transfer:
    """Return the refund of 5,000 dollars that came on top of a funded reservation."""
    reservation = pending(LoanFactory(), 5_000)
    money_comes(reservation, 10_000)
    return refund_of(reservation)


def refund_of(reservation: Reservation) -> Transfer:
    return reservation.transfers.get(direction="refund")


@pytest.mark.parametrize("make_refund", [refund_due, refund_sent, refund_void, refund_of_excess])
def test_reports_on_a_refund_lead_to_the_same_books_in_every_order(make_refund: Callable[[], Transfer]) -> None:
    refund = make_refund()
    assert deliver_in_every_order(refund.reservation_id, refund.reference, REFUND) == 5 + 5 * 4 + 5 * 4 * 3 + 5 * 4 * 3 * 2
