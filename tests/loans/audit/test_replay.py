"""Histories written by the real services are replayed; each way in which a transition can be wrong is tried on plain rows."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from cbsa.lookup import Market
from loans.audit.replay import Replay, TransitionRow, replay
from loans.audit.verify_history import verify_loan_history
from loans.domain.actors import Actor
from loans.models import Loan, Reservation
from loans.services.expiry import expire_due
from loans.services.loans import announce_loan, close_loan_at_settled, extend_loan, open_announced_loans, withdraw_loan
from loans.services.markets import resolve_loan_markets
from loans.services.reservations import cancel_reservation
from loans.services.settlement import settle_loans
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation, reinstate_reservation
from loans.services.waiting_list import leave_waiting_list, remove_from_waiting_list
from tests import factories
from tests.factories import NOON, STAFF, LoanFactory

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
RESERVATION, TRANSFER, ENTRY = UUID(int=1), UUID(int=2), UUID(int=3)


def everything_happens() -> Loan:
    """Return a loan of $10,000 on which every event happened but those that end a loan."""
    loan = LoanFactory(amount=Decimal(10_000), overbooking_rate=Decimal("1.00"))
    settled, returned, lost = (factories.funded(loan, amount) for amount in (2000, 1500, 1000))
    settle_loans([loan.pk], now=NOON + HOUR)
    factories.money_fails(returned, now=NOON + 2 * HOUR)
    factories.money_comes(lost, 700, now=NOON + 2 * HOUR)
    factories.refund_goes_out(lost.transfers.get(direction="refund"), now=NOON + 3 * HOUR)
    factories.money_fails(lost, 700, now=NOON + 4 * HOUR)
    short = factories.pending(loan, 1800, now=NOON + 4 * HOUR)
    factories.money_comes(short, 1200, now=NOON + 4 * HOUR)
    accept_amount(reservation_id=short.pk, actor=STAFF, reason="agreed", now=NOON + 5 * HOUR)
    extended = factories.reserved(loan, 1000, now=NOON + 5 * HOUR)
    extend_reservation(reservation_id=extended.pk, expires_at=NOON + 100 * HOUR, actor=STAFF, reason="asked for", now=NOON + 6 * HOUR)
    reinstated = factories.funded(loan, 1000, now=NOON + 6 * HOUR)
    cancel_by_staff(reservation_id=reinstated.pk, actor=STAFF, reason="asked for", now=NOON + 7 * HOUR)
    reinstate_reservation(reservation_id=reinstated.pk, actor=STAFF, reason="sorry", now=NOON + 8 * HOUR)
    factories.reserved(loan, 1000, now=NOON + 8 * HOUR)
    too_little = factories.pending(loan, 1000, now=NOON + 8 * HOUR)
    factories.money_comes(too_little, 10, now=NOON + 9 * HOUR)
    expire_due(NOON + 20 * DAY)
    extend_loan(reference=loan.reference, closes_at=NOON + 40 * DAY, actor=STAFF, reason="slow", now=NOON + 20 * DAY)
    assert factories.fresh(settled).state == "settled"
    assert factories.fresh(lost).lost == 700
    return Loan.objects.get(pk=loan.pk)


def close(loan: Loan) -> None:
    close_loan_at_settled(reference=loan.reference, actor=STAFF, reason="enough", now=NOON + 50 * DAY)


def withdraw(loan: Loan) -> None:
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="sold", now=NOON + 50 * DAY)


def reopen(loan: Loan) -> None:
    close(loan)
    settled = Reservation.objects.filter(loan=loan, state="settled").order_by("number")
    factories.money_fails(settled[0], now=NOON + 51 * DAY)


@pytest.mark.django_db
@pytest.mark.parametrize("end", [lambda loan: None, close, withdraw, reopen], ids=["open", "closed", "withdrawn", "reopened"])
def test_history_leads_to_the_present_state(end) -> None:
    loan = everything_happens()
    end(loan)
    other = LoanFactory()
    assert list(verify_loan_history()) == [(loan.reference, []), (other.reference, [])]


def waiting_list_happens() -> Loan:
    """Return a full loan whose waiting list has an entry that waits, and three that ended: placed, removed, and left."""
    loan = LoanFactory(overbooking_rate=Decimal(0))
    factories.pending(loan, 80_000)
    held = factories.reserved(loan, 20_000)
    entries = [factories.waiting(loan, amount, at_least=5_000) for amount in (20_000, 15_000, 10_000, 30_000)]
    remove_from_waiting_list(entry_id=entries[1].pk, actor=STAFF, reason="asked for", now=NOON + HOUR)
    leave_waiting_list(entry_id=entries[2].pk, investor=entries[2].investor, now=NOON + HOUR)
    cancel_by_staff(reservation_id=held.pk, actor=STAFF, reason="asked for", now=NOON + 2 * HOUR)
    states = loan.waiting_list.order_by("number").values_list("state", flat=True)
    assert list(states) == ["placed", "removed", "left", "waiting"]
    return loan


@pytest.mark.django_db
@pytest.mark.parametrize("end", [lambda loan: None, withdraw], ids=["open", "withdrawn"])
def test_the_history_of_a_waiting_list_leads_to_its_present_state(end) -> None:
    loan = waiting_list_happens()
    end(loan)
    assert list(verify_loan_history()) == [(loan.reference, [])]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("table", "change", "entity", "field"),
    [
        ("loans_loan", "waiting_entries = waiting_entries + 1", "the loan", "waiting_entries"),
        ("loans_loan", "waiting_dollars = waiting_dollars + 1", "the loan", "waiting_dollars"),
        ("loans_waitinglistentry", "amount = amount + 1", "waiting entry", "amount"),
        ("loans_waitinglistentry", "number = number + 10", "waiting entry", "number"),
    ],
)
def test_a_waiting_list_changed_without_a_transition_is_named(table: str, change: str, entity: str, field: str) -> None:
    loan = waiting_list_happens()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {change}")
    ((_, differences),) = verify_loan_history([loan.reference])
    assert differences
    assert {(difference.entity.startswith(entity), difference.field) for difference in differences} == {(True, field)}


@pytest.mark.django_db
@pytest.mark.parametrize("end", ["upcoming", "open", "withdrawn"])
def test_the_history_of_an_announced_loan_leads_to_its_present_state(end: str) -> None:
    factories.standing_order(20_000)
    draft = factories.DraftFactory()
    for days in (1, 2):
        announce_loan(reference=draft.reference, opens_at=NOON + days * 24 * HOUR, actor=STAFF, now=NOON)
    if end == "withdrawn":
        withdraw(draft)
    elif end == "open":
        assert open_announced_loans(NOON + 49 * HOUR) == 1
        assert draft.reservations.get().standing_order
    assert factories.fresh(draft).status == end
    assert list(verify_loan_history()) == [(draft.reference, [])]


@pytest.mark.django_db
def test_a_standing_order_that_history_does_not_name_is_found() -> None:
    order = factories.standing_order(20_000)
    loan = LoanFactory()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_reservation SET standing_order_id = NULL")
    ((_, (difference,)),) = verify_loan_history([loan.reference])
    assert (difference.field, difference.replayed) == ("standing_order", str(order.pk))


@pytest.mark.django_db
def test_a_changed_market_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    loan = LoanFactory()
    monkeypatch.setattr("loans.services.markets.markets_of", lambda *_: {"90266": Market("12420", "Austin")})
    assert resolve_loan_markets(NOON + HOUR) == 1
    assert list(verify_loan_history([loan.reference])) == [(loan.reference, [])]


CHANGES = [
    ("loans_loan", "claimed = claimed + 100", "the loan", "claimed"),
    ("loans_loan", "title = 'Seven flats'", "the loan", "title"),
    ("loans_loan", "closes_at = closes_at + interval '1 day'", "the loan", "closes_at"),
    ("loans_reservation", "amount = amount - 1", "reservation", "amount"),
    ("loans_reservation", "expires_at = expires_at + interval '1 hour'", "reservation", "expires_at"),
    ("loans_reservation", "state = 'canceled', cause = 'expired', let_go_at = expires_at, expires_at = NULL", "reservation", "state"),
    ("loans_transfer", "amount = amount + 5", "transfer", "amount"),
    ("loans_transfer", "status = 'failed', ended_at = created_at", "transfer", "status"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("table", "change", "entity", "field"), CHANGES, ids=lambda value: value.split(" = ")[0])
def test_a_row_changed_without_a_transition_is_named(table: str, change: str, entity: str, field: str) -> None:
    loan = LoanFactory()
    factories.pending(loan)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {change}")
    ((reference, differences),) = verify_loan_history()
    difference = {difference.field: difference for difference in differences}[field]
    assert reference == loan.reference
    assert difference.entity.startswith(entity)
    assert difference.replayed != difference.stored


@pytest.mark.django_db
@pytest.mark.parametrize("canceled_by_investor", [True, False], ids=["canceled", "expired"])
def test_when_a_reservation_was_let_go_follows_from_history(canceled_by_investor: bool) -> None:
    reservation = factories.reserved(LoanFactory())
    if canceled_by_investor:
        actor = Actor("investor", reservation.investor.user_id)
        cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id, now=NOON + HOUR)
    else:
        expire_due(NOON + 30 * HOUR)
    ((_, differences),) = verify_loan_history()
    assert differences == []
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_reservation SET let_go_at = let_go_at + interval '1 hour'")
    ((_, differences),) = verify_loan_history()
    assert [difference.field for difference in differences] == ["let_go_at"]


@pytest.mark.django_db
def test_a_row_without_history_and_history_without_a_row_are_named() -> None:
    reservation = factories.reserved(LoanFactory(amount=Decimal(10_000)), 1000)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_reservation SET number = 2 WHERE id = %s", [reservation.pk])
        cursor.execute(
            """INSERT INTO loans_reservation
                 (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, let_go_at, received, refunded, lost)
               SELECT gen_random_uuid(), loan_id, investor_id, 3, 1000, 0, 'canceled', 'expired', created_at, created_at, 0, 0, 0
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
def test_the_command_reports_by_exit_status_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = LoanFactory(), LoanFactory()
    Loan.objects.filter(pk=bad.pk).update(city="Dallas")
    output = io.StringIO()
    call_command("verify_history", good.reference, stdout=output)
    assert output.getvalue() == "History and tables agree for 1 loans.\n"
    output = io.StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("verify_history", as_json=True, stdout=output)
    assert failed.value.returncode == 1
    chain, difference = map(json.loads, output.getvalue().splitlines())
    assert chain["chain"]["fault"] == ""
    assert difference == {
        "loan": bad.reference,
        "entity": "the loan",
        "field": "city",
        "replayed": "Manhattan Beach",
        "stored": "Dallas",
    }
    with pytest.raises(CommandError, match="NOWHERE") as failed:
        call_command("verify_history", good.reference, "NOWHERE")
    assert failed.value.returncode == 2


# --- On plain rows --------------------------------------------------------------------------------------------------
def settled_history() -> Iterator[TransitionRow]:
    """A loan is opened and reserved, a transfer starts and clears, its reservation is funded and settled."""
    ten, one = Decimal(10000), Decimal(1000)
    rows = [
        (None, None, "created", "", "draft", ten, None),
        (None, None, "opened", "draft", "open", ten, NOON + 400 * HOUR),
        (RESERVATION, None, "reserved", "", "reserved", one, NOON + 24 * HOUR),
        (RESERVATION, None, "transfer_started", "reserved", "pending", one, NOON + 99 * HOUR),
        (RESERVATION, TRANSFER, "initiated", "", "initiated", one, None),
        (RESERVATION, TRANSFER, "cleared", "initiated", "cleared", one, None),
        (RESERVATION, None, "funded", "pending", "pending", one, None),
        (RESERVATION, None, "settled", "pending", "settled", one, None),
    ]
    for number, (reservation, transfer, event, from_state, to_state, amount, deadline) in enumerate(rows, start=1):
        yield TransitionRow(number, NOON + number * HOUR, reservation, transfer, event, from_state, to_state, amount, deadline)


def test_a_clean_history_has_no_faults() -> None:
    result = replay(settled_history())
    assert result.faults == []
    assert (result.loan.status, result.loan.settled, result.loan.claimed, result.loan.last_number) == ("open", 1000, 0, 1)
    reservation = result.reservations[RESERVATION]
    assert (reservation.state, reservation.settled_amount, reservation.received, reservation.funded, reservation.expires_at) == (
        "settled",
        1000,
        1000,
        True,
        None,
    )


def waiting_history() -> Iterator[TransitionRow]:
    """Two join the waiting list of a loan; the first is placed, the second leaves."""
    ten, one = Decimal(10000), Decimal(1000)
    other, at_least = UUID(int=4), {"at_least": "1000.00"}
    rows: list[tuple[Any, ...]] = [
        (None, "created", "", "draft", ten, None, None),
        (None, "opened", "draft", "open", ten, None, None),
        (None, "joined", "", "waiting", one, at_least, ENTRY),
        (None, "joined", "", "waiting", ten, at_least, other),
        (RESERVATION, "reserved", "", "reserved", one, None, None),
        (None, "placed", "waiting", "placed", one, {"reservation": str(RESERVATION)}, ENTRY),
        (None, "left", "waiting", "left", ten, None, other),
    ]
    for number, (reservation, event, from_state, to_state, amount, facts, entry) in enumerate(rows, start=1):
        yield TransitionRow(
            number, NOON + number * HOUR, reservation, None, event, from_state, to_state, amount, None, facts, waiting_entry=entry
        )


def test_a_clean_waiting_list_has_no_faults() -> None:
    result = replay(waiting_history())
    assert result.faults == []
    assert [(entry.number, entry.state, entry.reservation) for entry in result.waiting_list.values()] == [
        (1, "placed", str(RESERVATION)),
        (2, "left", None),
    ]
    assert (result.loan.waiting_entries, result.loan.waiting_dollars, result.loan.claimed) == (0, 0, 1000)


def test_an_empty_history_replays_to_nothing() -> None:
    assert replay([]) == Replay()


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
    (8, {"at": NOON}, "at", f"no earlier than {NOON + 7 * HOUR}"),
]


WRONG_WAITING = [
    (3, {"facts": None}, "facts", "at_least"),
    (3, {"to_state": "placed"}, "to_state", "waiting"),
    (4, {"waiting_entry": ENTRY}, "event", "joined before"),
    (6, {"facts": {}}, "facts", "reservation"),
    (6, {"amount": Decimal(5)}, "amount", "1000"),
    (6, {"from_state": "left"}, "from_state", "waiting"),
    (7, {"waiting_entry": UUID(int=9)}, "waiting_entry", "one that has joined"),
    (7, {"waiting_entry": ENTRY, "from_state": "placed"}, "event", "not possible"),
    (7, {"amount": Decimal(5)}, "amount", "10000"),
    (7, {"event": "flown"}, "event", "one that there is"),
]


@pytest.mark.parametrize(("row", "change", "field", "expected"), WRONG_WAITING)
def test_each_transition_of_a_waiting_list_that_cannot_follow_is_named(
    row: int, change: dict[str, object], field: str, expected: str
) -> None:
    fault = replay(replace(step, **change) if step.id == row else step for step in waiting_history()).faults[0]
    assert (fault.transition_id, fault.field) == (row, field)
    assert expected in fault.expected


@pytest.mark.parametrize(("row", "change", "field", "expected"), WRONG)
def test_each_transition_that_cannot_follow_is_named(row: int, change: dict[str, object], field: str, expected: str) -> None:
    fault = replay(replace(step, **change) if step.id == row else step for step in settled_history()).faults[0]
    assert (fault.transition_id, fault.field) == (row, field)
    assert expected in fault.expected
