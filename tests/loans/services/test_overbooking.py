"""Set the overbooking of loans by hand, at the opening and each night, and read its history back."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.db import connection

from loans.audit.verify_history import verify_loan_history
from loans.domain.actors import Actor
from loans.domain.errors import IllegalTransition, Invalid
from loans.models import Loan, Reservation, ReviewItem, Transition
from loans.selectors.offers import loan_offer
from loans.services import overbooking
from loans.services.loans import open_loan, withdraw_loan
from loans.services.overbooking import set_overbooking, set_overbooking_by_evidence
from loans.services.reservations import cancel_reservation
from tests.factories import NOON, STAFF, DraftFactory, LoanFactory, fresh, funded, reserved

LATER = NOON + timedelta(hours=1)

pytestmark = pytest.mark.django_db


def set_(loan: Loan, policy: str = "fixed", *, now=NOON, **values) -> Loan:
    fractions = {f"overbooking_{name}": Decimal(value) for name, value in values.items()}
    return set_overbooking(reference=loan.reference, overbooking_policy=policy, actor=STAFF, reason="a reason", now=now, **fractions)


def history(loan: Loan) -> list[Transition]:
    return list(Transition.objects.filter(loan=loan, event="overbooking_set").order_by("id"))


def play_market(kept: int, lapsed: int) -> None:
    """Let so many reservations of 5,000 dollars of another loan be kept to the end, and so many lapse as reserved."""
    loan = LoanFactory(amount=Decimal(2_000_000))
    for _ in range(kept):
        funded(loan, 5_000)
    for _ in range(lapsed):
        reservation = reserved(loan, 5_000)
        actor = Actor("investor", reservation.investor.user_id)
        cancel_reservation(reservation_id=reservation.pk, investor_id=reservation.investor_id, actor=actor, now=NOON)


def test_a_fixed_rate_changes_the_limit_at_once_and_is_history(locks_first):
    loan = LoanFactory()
    reserved(loan, 100_000)
    with locks_first():
        set_(loan, rate="0.35", now=LATER)
    assert loan_offer(loan.reference, LATER).available == 35_000
    (change,) = history(loan)
    assert (change.from_state, change.to_state, change.amount, change.reason) == ("open", "open", 100_000, "a reason")
    assert change.facts == {"overbooking_rate": "0.35"}
    assert change.actor == "staff"


def test_a_repeat_changes_nothing():
    loan = LoanFactory()
    for _ in range(2):
        set_(loan, rate="0.35")
    set_(loan)
    assert len(history(loan)) == 1


def test_a_rate_below_what_is_reserved_cancels_nobody():
    loan = LoanFactory()
    reserved(loan, 60_000)
    reserved(loan, 60_000)
    set_(loan, rate="0")
    assert list(Reservation.objects.values_list("state", flat=True)) == ["reserved", "reserved"]
    assert loan_offer(loan.reference, NOON).available == 0


def withdrawn() -> Loan:
    return withdraw_loan(reference=DraftFactory().reference, actor=STAFF, reason="a reason", now=NOON)


def test_only_drafts_and_open_loans_have_it_set():
    set_(DraftFactory(), rate="0.10")
    with pytest.raises(IllegalTransition):
        set_(withdrawn(), rate="0.10")
    with pytest.raises(IllegalTransition):
        set_(withdrawn(), "evidence")


@pytest.mark.parametrize(
    ("policy", "values"),
    [
        ("other", {}),
        ("fixed", {"rate": "-0.01"}),
        ("fixed", {"cap": "-0.01"}),
        ("fixed", {"risk": "0"}),
        ("fixed", {"risk": "1"}),
        ("evidence", {"rate": "0.10"}),
    ],
)
def test_values_out_of_range_are_refused_and_change_nothing(policy, values):
    loan = LoanFactory()
    with pytest.raises(Invalid):
        set_(loan, policy, **values)
    assert not history(loan)
    assert fresh(loan).overbooking_policy == "fixed"


def test_the_columns_hold_the_limit():
    with pytest.raises(Invalid):
        set_(LoanFactory(amount=Decimal("900000000000.00")), rate="0.30")


def test_the_policy_evidence_sets_the_rate_at_once_with_its_numbers():
    play_market(kept=160, lapsed=38)  # the shares of all loans: 39 of 200 as reserved, 1 of 162 as pending
    loan = LoanFactory()
    set_(loan, "evidence", now=LATER)
    by_staff, by_evidence = history(loan)
    assert by_staff.facts == {"overbooking_policy": "evidence"}
    assert fresh(loan).overbooking_rate == Decimal("0.10")
    numbers = by_evidence.facts.pop("evidence")
    assert by_evidence.facts == {"overbooking_rate": "0.100"}
    assert numbers | {"expected_over": "", "expected_unfilled": ""} == {
        "risk": "0.050",
        "recommended_rate": "0.100",
        "chance_over": "0.0480",
        "expected_over": "",
        "expected_unfilled": "",
        "reserved_lapse": "0.1950",
        "reserved_counted": "0",
        "reserved_counted_of_all": "198",
        "pending_lapse": "0.0062",
        "pending_counted": "0",
        "pending_counted_of_all": "160",
        "typical_amount": "5000.00",
        "live_reservations": "0",
    }


def test_the_cap_limits_what_the_evidence_sets():
    loan = LoanFactory()  # nothing is known, so half of each phase lapses: the recommended rate is high
    set_(loan, "evidence", cap="0.25")
    assert fresh(loan).overbooking_rate == Decimal("0.25")
    assert Decimal(history(loan)[-1].facts["evidence"]["recommended_rate"]) > Decimal("0.25")


def test_a_draft_follows_the_evidence_when_it_opens():
    draft = DraftFactory(overbooking_policy="evidence", overbooking_cap=Decimal("0.40"))
    open_loan(reference=draft.reference, actor=STAFF, now=NOON)
    assert fresh(draft).overbooking_rate == Decimal("0.40")
    assert [(change.from_state, change.at) for change in history(draft)] == [("open", NOON)]


def test_the_nightly_job_sets_the_open_loans_that_follow_the_evidence():
    fixed, following = LoanFactory(), LoanFactory(overbooking_policy="evidence")
    draft = DraftFactory(overbooking_policy="evidence")
    before = fresh(following).overbooking_rate
    assert set_overbooking_by_evidence(LATER) == 0  # nothing is new since the opening
    cache.delete_pattern("*")
    play_market(kept=160, lapsed=38)
    assert set_overbooking_by_evidence(LATER) == 1
    assert before > fresh(following).overbooking_rate == Decimal("0.10")
    change = history(following)[-1]
    assert (change.actor, change.reason, change.at) == ("system", "Nightly, by evidence.", LATER)
    assert not history(fixed)
    assert not history(draft)
    assert set_overbooking_by_evidence(LATER) == 0


def test_one_loan_whose_rate_cannot_be_set_stops_no_other_and_is_listed(monkeypatch: pytest.MonkeyPatch):
    bad, good = LoanFactory(overbooking_policy="evidence"), LoanFactory(overbooking_policy="evidence")
    evidence = overbooking.evidence_under_lock

    def fail_for_the_first(loan: Loan, at: datetime) -> object:
        if loan.pk == bad.pk:
            raise ArithmeticError("no such rate")
        return evidence(loan, at)

    monkeypatch.setattr(overbooking, "evidence_under_lock", fail_for_the_first)
    cache.delete_pattern("*")
    play_market(kept=160, lapsed=38)
    assert set_overbooking_by_evidence(LATER) == 1
    assert fresh(good).overbooking_rate == Decimal("0.10")
    (item,) = ReviewItem.objects.filter(kind="job_failed")
    assert (item.loan_id, item.detail) == (bad.pk, "Its overbooking could not be set: no such rate")


def test_history_leads_to_the_stored_overbooking():
    loan = LoanFactory(overbooking_policy="evidence")
    set_(loan, rate="0.05")
    set_(loan, "evidence", risk="0.10", cap="0.30")
    assert list(verify_loan_history()) == [(loan.reference, [])]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_loan SET overbooking_rate = 0.07, overbooking_risk = 0.2")
    ((_, differences),) = verify_loan_history()
    assert {difference.field for difference in differences} == {"overbooking_rate", "overbooking_risk"}
