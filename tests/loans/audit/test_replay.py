"""Histories are played by the real services and replayed; each way in which a row can be wrong is tried on plain rows."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from cbsa.lookup import Market
from loans.audit.replay import Picture, Step, replay
from loans.audit.verify_history import verify_loan_history
from loans.models import Loan, Reservation
from loans.services.expiry import expire_due
from loans.services.loans import close_loan_at_settled, extend_loan, withdraw_loan
from loans.services.markets import resolve_loan_markets
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation, reinstate_reservation
from tests.loans import stage
from tests.loans.stage import MONDAY, STAFF

HOUR = timedelta(hours=1)
A, T = UUID(int=1), UUID(int=2)


def everything_happens() -> Loan:
    """One loan on which every event but the loan's own end happens."""
    loan = stage.open_loan(overbooking_rate=Decimal("1.00"))
    settled, returned, lost = (stage.funded_reservation(loan, amount) for amount in (2000, 1500, 1000))
    settle_loans([loan.pk], now=MONDAY + HOUR)
    stage.tell(returned, "transfer.failed", at=MONDAY + 2 * HOUR)
    stage.tell(lost, "transfer.cleared", 700, at=MONDAY + 2 * HOUR)
    stage.tell(lost, "refund.paid", at=MONDAY + 3 * HOUR)
    stage.tell(lost, "transfer.failed", 700, at=MONDAY + 4 * HOUR)
    short = stage.start(stage.reserve(loan, 1800, MONDAY + 4 * HOUR), MONDAY + 4 * HOUR)
    stage.tell(short, "transfer.cleared", 1200, at=MONDAY + 4 * HOUR)
    accept_amount(reservation_id=short.pk, actor=STAFF, reason="agreed", now=MONDAY + 5 * HOUR)
    extended = stage.reserve(loan, 1000, MONDAY + 5 * HOUR)
    extend_reservation(reservation_id=extended.pk, expires_at=MONDAY + 100 * HOUR, actor=STAFF, reason="asked for", now=MONDAY + 6 * HOUR)
    back = stage.funded_reservation(loan, 1000, MONDAY + 6 * HOUR)
    cancel_by_staff(reservation_id=back.pk, actor=STAFF, reason="asked for", now=MONDAY + 7 * HOUR)
    reinstate_reservation(reservation_id=back.pk, actor=STAFF, reason="sorry", now=MONDAY + 8 * HOUR)
    stage.reserve(loan, 1000, MONDAY + 8 * HOUR)
    too_little = stage.start(stage.reserve(loan, 1000, MONDAY + 8 * HOUR), MONDAY + 8 * HOUR)
    stage.tell(too_little, "transfer.cleared", 10, at=MONDAY + 9 * HOUR)
    expire_due(MONDAY + 24 * 20 * HOUR)
    extend_loan(reference=loan.reference, closes_at=MONDAY + timedelta(days=40), actor=STAFF, reason="slow", now=MONDAY + 24 * 20 * HOUR)
    assert Reservation.objects.get(pk=settled.pk).state == "settled"
    assert Reservation.objects.get(pk=lost.pk).lost == 700
    return Loan.objects.get(pk=loan.pk)


def close(loan: Loan) -> None:
    close_loan_at_settled(reference=loan.reference, actor=STAFF, reason="enough", now=MONDAY + timedelta(days=50))


def withdraw(loan: Loan) -> None:
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="sold", now=MONDAY + timedelta(days=50))


def reopen(loan: Loan) -> None:
    close(loan)
    settled = Reservation.objects.filter(loan=loan, state="settled").order_by("number")
    stage.tell(settled[0], "transfer.failed", at=MONDAY + timedelta(days=51))


@pytest.mark.django_db
@pytest.mark.parametrize("end", [lambda loan: None, close, withdraw, reopen], ids=["open", "closed", "withdrawn", "reopened"])
def test_history_leads_to_the_present_state(end) -> None:
    loan = everything_happens()
    end(loan)
    other = stage.open_loan()
    assert list(verify_loan_history()) == [(loan.reference, []), (other.reference, [])]


@pytest.mark.django_db
def test_a_changed_market_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    loan = stage.open_loan()
    monkeypatch.setattr("loans.services.markets.markets_of", lambda *_: {"78701": Market("12420", "Austin")})
    assert resolve_loan_markets(MONDAY + HOUR) == 1
    assert list(verify_loan_history([loan.reference])) == [(loan.reference, [])]


CHANGES = [
    ("loans_loan", "claimed = claimed + 100", "the loan", "claimed"),
    ("loans_loan", "title = 'Seven flats'", "the loan", "title"),
    ("loans_loan", "closes_at = closes_at + interval '1 day'", "the loan", "closes_at"),
    ("loans_reservation", "amount = amount - 1", "reservation", "amount"),
    ("loans_reservation", "expires_at = expires_at + interval '1 hour'", "reservation", "expires_at"),
    ("loans_reservation", "state = 'canceled', cause = 'expired', expires_at = NULL", "reservation", "state"),
    ("loans_transfer", "amount = amount + 5", "transfer", "amount"),
    ("loans_transfer", "status = 'failed', ended_at = created_at", "transfer", "status"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("table", "change", "entity", "field"), CHANGES, ids=lambda value: value.split(" = ")[0])
def test_a_change_beside_history_is_found_and_named(table: str, change: str, entity: str, field: str) -> None:
    loan = stage.open_loan()
    stage.start(stage.reserve(loan, 1000))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {change}")
    ((reference, differences),) = verify_loan_history()
    found = {difference.field: difference for difference in differences}[field]
    assert reference == loan.reference
    assert found.entity.startswith(entity)
    assert found.replayed != found.stored


@pytest.mark.django_db
def test_a_row_without_history_and_history_without_a_row_are_found() -> None:
    reservation = stage.reserve(stage.open_loan(), 1000)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_reservation SET number = 2 WHERE id = %s", [reservation.pk])
        cursor.execute(
            """INSERT INTO loans_reservation
                 (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, received, refunded, lost)
               SELECT gen_random_uuid(), loan_id, investor_id, 3, 1000, 0, 'canceled', 'expired', created_at, 0, 0, 0
               FROM loans_reservation"""
        )
        cursor.execute(
            """INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, reason)
               SELECT at, loan_id, NULL, 'extended', 'open', 'open', 10000, '', 'staff', '' FROM loans_transition WHERE event = 'opened'"""
        )
    ((_, differences),) = verify_loan_history()
    assert {(difference.entity.split()[0], difference.field) for difference in differences} == {
        ("the", "closes_at"),
        ("reservation", "number"),
        ("reservation", "history"),
    }


@pytest.mark.django_db
def test_the_command_tells_by_exit_status_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = stage.open_loan(), stage.open_loan()
    Loan.objects.filter(pk=bad.pk).update(city="Dallas")
    said = io.StringIO()
    call_command("verify_history", good.reference, stdout=said)
    assert said.getvalue() == "History and tables agree for 1 loans.\n"
    said = io.StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("verify_history", json=True, stdout=said)
    assert failed.value.returncode == 1
    assert json.loads(said.getvalue()) == {
        "loan": bad.reference,
        "entity": "the loan",
        "field": "city",
        "replayed": "Austin",
        "stored": "Dallas",
    }
    with pytest.raises(CommandError, match="NOWHERE") as failed:
        call_command("verify_history", good.reference, "NOWHERE")
    assert failed.value.returncode == 2


# --- The fold itself, on plain rows -----------------------------------------------------------------------------------
def begun() -> Iterator[Step]:
    """A loan is opened and reserved, a transfer starts and clears, its reservation is funded and settled."""
    ten, one = Decimal(10000), Decimal(1000)
    rows = [
        (None, None, "created", "", "draft", ten, None),
        (None, None, "opened", "draft", "open", ten, MONDAY + 400 * HOUR),
        (A, None, "reserved", "", "reserved", one, MONDAY + 24 * HOUR),
        (A, None, "transfer_started", "reserved", "pending", one, MONDAY + 99 * HOUR),
        (A, T, "initiated", "", "initiated", one, None),
        (A, T, "cleared", "initiated", "cleared", one, None),
        (A, None, "funded", "pending", "pending", one, None),
        (A, None, "settled", "pending", "settled", one, None),
    ]
    for number, (reservation, transfer, event, from_state, to_state, amount, deadline) in enumerate(rows, start=1):
        yield Step(number, MONDAY + number * HOUR, reservation, transfer, event, from_state, to_state, amount, deadline)


def test_a_clean_history_has_no_faults() -> None:
    picture = replay(begun())
    assert picture.faults == []
    assert (picture.loan.status, picture.loan.settled, picture.loan.claimed, picture.loan.last_number) == ("open", 1000, 0, 1)
    reservation = picture.reservations[A]
    assert (reservation.state, reservation.settled_amount, reservation.received, reservation.funded, reservation.expires_at) == (
        "settled",
        1000,
        1000,
        True,
        None,
    )


def test_of_nothing_there_is_nothing() -> None:
    assert replay([]) == Picture()


WRONG = [
    (2, {"from_state": "open"}, "from_state", "draft"),
    (2, {"to_state": "funded"}, "to_state", "open"),
    (2, {"event": "reopened"}, "event", "reopened is not possible"),
    (2, {"event": "exploded"}, "event", "one that there is"),
    (2, {"amount": Decimal(9)}, "amount", "10000"),
    (3, {"from_state": "reserved"}, "from_state", "nothing"),
    (4, {"reservation": UUID(int=9)}, "reservation", "one that has been reserved"),
    (4, {"from_state": "pending"}, "from_state", "reserved"),
    (5, {"event": "due", "to_state": "paid"}, "to_state", "one that a transfer begins with"),
    (5, {"reservation": None}, "reservation", "the one that the transfer is for"),
    (6, {"event": "paid", "to_state": "paid"}, "event", "paid is not possible"),
    (7, {"amount": Decimal(5)}, "amount", "1000"),
    (8, {"at": MONDAY}, "at", f"no earlier than {MONDAY + 7 * HOUR}"),
]


@pytest.mark.parametrize(("row", "change", "field", "expected"), WRONG)
def test_each_row_that_cannot_be_is_named(row: int, change: dict[str, object], field: str, expected: str) -> None:
    fault = replay(replace(step, **change) if step.id == row else step for step in begun()).faults[0]
    assert (fault.row, fault.field) == (row, field)
    assert expected in fault.expected
