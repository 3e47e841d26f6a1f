"""What would have happened under another rule or rate: known answers, the demo's loans, the command and the page."""

import json
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from loans.audit.verify_history import verify_loan_history
from loans.demo import scenario
from loans.domain.settlement_rules import RULES
from loans.models import Loan, Transition, User
from loans.selectors.what_if import WhatIf, what_if
from loans.services.loans import close_loan_at_settled, withdraw_loan
from loans.services.overbooking import set_overbooking
from loans.services.settlement import settle_ahead_of_turn, settle_loans
from loans.services.staff_overrides import cancel_by_staff, reinstate_reservation
from tests.factories import HOURS_24, NOON, STAFF, LoanFactory, canceled, fresh, funded, money_comes, money_fails, pending, reserved
from tests.histories.test_what_if import assert_it_gives_what_happened

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(days=60)


def would_get(played: WhatIf) -> list[int]:
    return [int(change.would_get) for change in played.changes]


def test_what_comes_after_the_instant_is_not_played() -> None:
    loan = LoanFactory()
    first = funded(loan, 60_000)
    funded(loan, 30_000, now=NOON + timedelta(hours=1))
    played = what_if(loan.reference, now=NOON)
    assert [change.number for change in played.changes] == [first.number]


def sold_out(**fields: object) -> Loan:
    """A loan of $100,000 whose rule settled reservations of 60,000, 30,000, 20,000 and 10,000 that were all paid."""
    loan: Loan = LoanFactory(**fields)
    for amount in (60_000, 30_000, 20_000, 10_000):
        funded(loan, amount)
    settle_loans([loan.pk], now=NOON)
    return loan


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("fifo", [60_000, 30_000, 10_000, 0]),
        ("pro_rata", [50_000, 25_000, 16_666, 8_333]),
        ("equal_awards", [40_000, 30_000, 20_000, 10_000]),
        ("base_then_pro_rata", [49_827, 25_000, 16_724, 8_448]),
    ],
)
def test_another_rule_shares_out_the_same_payments(rule: str, expected: list[int]) -> None:
    loan = sold_out()
    played = what_if(loan.reference, rule=rule, now=LATER)
    assert would_get(played) == expected
    assert [int(change.got) for change in played.changes] == [60_000, 30_000, 10_000, 0]
    assert (played.other_totals.settled, played.other_totals.turned_away) == (100_000, 20_000)


def test_a_lower_rate_does_not_admit_all_and_leaves_dollars_unfilled() -> None:
    played = what_if(sold_out().reference, overbooking_rate=Decimal(0), now=LATER)
    assert would_get(played) == [60_000, 30_000, 0, 10_000]
    assert [change.cause for change in played.changes] == ["", "", "refused", ""]
    assert (played.other_totals.refused, played.other_totals.turned_away, played.own_totals.turned_away) == (20_000, 0, 20_000)
    assert ([change.number for change in played.gain], [change.number for change in played.lose]) == ([4], [3])


def test_a_rate_that_staff_changed_holds_from_that_moment_on() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, 90_000)
    later = NOON + timedelta(minutes=1)
    set_overbooking(
        reference=loan.reference, overbooking_policy="fixed", overbooking_rate=Decimal("0.5"), actor=STAFF, reason="a test", now=later
    )
    reserved(loan, 60_000, now=later)
    own = what_if(loan.reference, now=later)
    assert_it_gives_what_happened(own)
    assert own.own.loan.overbooking_rate == Decimal("0.5")
    assert [change.cause for change in what_if(loan.reference, overbooking_rate=Decimal("0.4"), now=later).changes] == ["", "refused"]


def test_a_rule_that_settles_at_once_does_so_when_the_money_came() -> None:
    loan = LoanFactory(settlement_rule="pro_rata")
    funded(loan, 30_000)
    settle_loans([loan.pk], now=NOON)
    pending(loan, 20_000, now=NOON + HOURS_24)
    played = what_if(loan.reference, rule="fifo", now=NOON + 2 * HOURS_24)
    assert (would_get(played), played.other_totals.unfilled) == ([30_000, 0], 70_000)


def test_the_rule_does_not_run_before_history_shows_that_it_did() -> None:
    """Both payments are here when fifo runs, and staff reinstate the first reservation in between."""
    loan = LoanFactory()
    first = canceled(loan, 90_000)
    funded(loan, 30_000, now=NOON + timedelta(minutes=1))
    reinstate_reservation(reservation_id=first.pk, actor=STAFF, reason="a test", now=NOON + timedelta(minutes=2))
    settle_loans([loan.pk], now=NOON + timedelta(minutes=3))
    assert fresh(loan).settled == 0
    assert_it_gives_what_happened(what_if(loan.reference, now=NOON + timedelta(minutes=4)))


def test_money_that_came_after_the_loan_was_funded_counts_where_it_would_not_have_been() -> None:
    loan = LoanFactory()
    late = pending(loan, 20_000)
    funded(loan, 100_000)
    settle_ahead_of_turn(reservation_id=loan.reservations.get(number=2).pk, actor=STAFF, reason="a test", now=NOON)
    money_comes(fresh(late), now=NOON + HOURS_24)
    played = what_if(loan.reference, overbooking_rate=Decimal(0), now=LATER)
    assert would_get(played) == [20_000, 0]
    assert [(act.event, act.number, act.possible) for act in played.other.staff_acts] == [("settled", 2, False)]
    assert_it_gives_what_happened(what_if(loan.reference, now=LATER))


def test_a_reinstated_reservation_keeps_the_place_of_its_payment() -> None:
    loan = LoanFactory(settlement_rule="first_funded")
    first, second = funded(loan, 60_000), funded(loan, 60_000, now=NOON + timedelta(minutes=1))
    cancel_by_staff(reservation_id=first.pk, actor=STAFF, reason="a test", now=NOON + timedelta(minutes=2))
    reinstate_reservation(reservation_id=first.pk, actor=STAFF, reason="a test", now=NOON + timedelta(minutes=3))
    settle_loans([loan.pk], now=NOON + timedelta(minutes=4))
    assert (fresh(first).settled_amount, fresh(second).settled_amount) == (60_000, 40_000)
    assert_it_gives_what_happened(what_if(loan.reference, now=LATER))


def test_a_return_undoes_what_settled_in_the_play_too() -> None:
    loan = LoanFactory()
    first, second = funded(loan, 70_000), funded(loan, 50_000)
    settle_loans([loan.pk], now=NOON)
    money_fails(fresh(first), now=NOON + HOURS_24)
    played = what_if(loan.reference, rule="pro_rata", now=LATER)
    assert_it_gives_what_happened(what_if(loan.reference, now=LATER))
    assert [int(change.got) for change in played.changes] == [0, 30_000]
    assert would_get(played) == [0, 41_666]
    assert played.other.loan.status == "open"
    assert fresh(second).settled_amount == 30_000


def test_what_staff_did_to_the_loan_is_done_in_the_play() -> None:
    loan = LoanFactory()
    reserved(loan, 90_000)
    funded(loan, 30_000, now=NOON + HOURS_24)
    settle_loans([loan.pk], now=NOON + HOURS_24)
    close_loan_at_settled(reference=loan.reference, actor=STAFF, reason="a test", now=loan.closes_at)
    assert_it_gives_what_happened(what_if(loan.reference, now=LATER))
    played = what_if(loan.reference, rule="pro_rata", now=LATER)
    assert (played.other.loan.amount, would_get(played)) == (30_000, [0, 30_000])
    withdrawn = LoanFactory()
    funded(withdrawn, 30_000)
    withdraw_loan(reference=withdrawn.reference, actor=STAFF, reason="a test", now=NOON + HOURS_24)
    played = what_if(withdrawn.reference, rule="first_funded", now=LATER)
    assert (would_get(played), played.other_totals.refunded) == ([0], 30_000)


def test_the_order_of_a_lottery_that_has_not_run_is_not_given_away() -> None:
    loan = LoanFactory(settlement_rule="lottery", amount=Decimal(90_000))
    for _ in range(3):
        funded(loan, 30_000)
    order = {what_if(loan.reference, overbooking_rate=Decimal(0), now=LATER).loan.lottery_seed}
    assert order == {""}
    Loan.objects.update(lottery_secret="another")
    first = what_if(loan.reference, rule="lottery", now=LATER).changes
    Loan.objects.update(lottery_secret="a third")
    assert what_if(loan.reference, rule="lottery", now=LATER).changes == first


@pytest.mark.parametrize("rule", RULES)
def test_a_lottery_that_has_run_is_played_with_its_own_seed(rule: str) -> None:
    loan = sold_out(settlement_rule="lottery")
    assert fresh(loan).lottery_seed
    assert_it_gives_what_happened(what_if(loan.reference, now=LATER))
    assert sum(would_get(what_if(loan.reference, rule=rule, now=LATER))) >= 99_996


def test_every_loan_of_the_demo_gives_what_happened() -> None:
    now = timezone.now()
    scenario.fill(now)
    references = list(Loan.objects.order_by("reference").values_list("reference", flat=True))
    assert len(references) > 10
    for reference in references:
        assert_it_gives_what_happened(what_if(reference, now=now))
    assert all(not differences for _, differences in verify_loan_history())


# --- The command and the page -----------------------------------------------------------------------------------------
def run(*arguments: str) -> str:
    output = StringIO()
    call_command("what_if", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_prints_who_gains_and_who_loses() -> None:
    loan = sold_out()
    text = run(loan.reference, "--rule", "equal_awards", "--overbooking-rate", "0.20")
    assert f"{loan.reference}, as it was (fifo, 20.00 %) and as it would be (equal_awards, 20.00 %):" in text
    assert "number 1             60,000.00         40,000.00        -20,000.00" in text
    assert "Of 4 reservations 2 gain and 1 lose." in text
    assert "Reservations that were refused at the time are not known." in text


def test_the_command_prints_json() -> None:
    loan = sold_out()
    (line,) = run(loan.reference, "--rule", "pro_rata", "--json").splitlines()
    played = json.loads(line)
    assert (played["own"]["rule"], played["other"]["rule"], played["gain"], played["lose"]) == ("fifo", "pro_rata", [3, 4], [1, 2])
    assert played["reservations"][0]["would_get"] == "50000.00"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["LN-none"], "There is no loan LN-none."),
        (["LN-1", "--rule", "auction"], "invalid choice"),
        (["LN-1", "--overbooking-rate", "-1"], "Name a fraction"),
        (["LN-1", "--overbooking-rate", "nan"], "Name a fraction"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    LoanFactory(reference="LN-1")
    with pytest.raises(CommandError, match=message):
        run(*arguments)


def test_the_command_fails_where_history_was_altered() -> None:
    loan = sold_out()
    rows = list(Transition.objects.filter(loan=loan).order_by("id"))
    settled = next(row for row in rows if row.event == "settled")
    forged = Transition(
        **{name: getattr(settled, name) for name in ("at", "loan_id", "reservation_id", "from_state", "to_state", "rule", "actor")}
    )
    forged.event, forged.amount = "settled", Decimal("1.00")
    forged.save()
    with pytest.raises(CommandError, match="do not give what happened") as raised:
        run(loan.reference)
    assert raised.value.returncode == 1


def test_the_page_shows_both_and_what_is_not_known(client: Client) -> None:
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    loan = sold_out()
    path = f"/admin/loans/loan/{loan.pk}/what-if/"
    assert path in client.get(f"/admin/loans/loan/{loan.pk}/change/").content.decode()
    page = client.get(path, {"rule": "equal_awards", "overbooking_rate": "0.20"}).content.decode()
    for text in ("equal_awards", "-$20,000.00", "Reservations that were refused at the time are not recorded."):
        assert text in page
    assert "Do not rely on this page" not in page
    assert client.get(path, {"rule": "auction"}).status_code == 400
    assert client.get(path, {"overbooking_rate": "-1"}).status_code == 400
    assert client.get("/admin/loans/loan/0/what-if/").status_code == 404


@pytest.mark.parametrize("payments", [[2_000], [1_000, 1_000], [500, 2_000]])
def test_late_money_in_parts_is_played_as_late_money_in_one_payment(payments: list[int]) -> None:
    loan = LoanFactory(amount=Decimal(10_000), settlement_rule="first_funded")
    first, other = pending(loan, 2_000), pending(loan, 10_000)
    money_comes(other)
    settle_loans([loan.pk], now=NOON + timedelta(minutes=1))
    assert fresh(first).cause == "loan_funded"
    for minutes, payment in enumerate(payments, start=2):
        money_comes(first, payment, now=NOON + timedelta(minutes=minutes))
    played = what_if(loan.reference, rule="fifo", now=NOON + timedelta(days=30))
    assert [change.would_get for change in played.changes] == [2_000, 8_000]
