"""Reserve, start a transfer, cancel: what succeeds, what is refused, and that a refusal changes nothing."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from loans.domain.actors import Actor
from loans.domain.errors import (
    BelowMinimum,
    IllegalTransition,
    Invalid,
    LoanNotOpen,
    NotAccredited,
    NotFound,
    OverLimit,
    ReservationExpired,
)
from loans.models import Loan, Reservation, Transition
from loans.selectors.offers import InvestorOffer, investor_offer, loan_offer
from loans.selectors.queue import queue_position_of
from loans.services import reservations
from loans.services.expiry import expire_due
from loans.services.loans import withdraw_loan
from loans.services.reservations import cancel_reservation, reserve
from tests.factories import (
    HOURS_24,
    NOON,
    STAFF,
    DraftFactory,
    InvestorFactory,
    LoanFactory,
    canceled,
    fresh,
    funded,
    inbound,
    pending,
    reserved,
    settled,
    start_transfer,
)

pytestmark = pytest.mark.django_db
LAST_MICROSECOND = timedelta(microseconds=1)


def cancel(reservation: Reservation, now: datetime = NOON) -> Reservation:
    actor = Actor("investor", reservation.investor.user_id)
    return cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id, now=now)


# --- Reserve ----------------------------------------------------------------------------------------------------------
def test_a_reservation_has_24_hours_a_number_and_history(locks_first) -> None:
    loan, investor = LoanFactory(), InvestorFactory()
    with locks_first():
        reservation = reserved(loan, "10000.00", investor=investor)
    assert (reservation.state, reservation.number, reservation.created_at, reservation.expires_at) == ("reserved", 1, NOON, NOON + HOURS_24)
    assert fresh(loan).claimed == 10_000
    transition = Transition.objects.get(reservation=reservation)
    assert (transition.event, transition.from_state, transition.to_state, transition.amount, transition.deadline) == (
        "reserved",
        "",
        "reserved",
        10_000,
        NOON + HOURS_24,
    )
    assert (transition.actor, transition.user_id, transition.at) == ("investor", investor.user_id, NOON)


def test_numbers_are_given_in_order_and_never_change() -> None:
    loan = LoanFactory()
    reservations = [reserved(loan, 1000) for _ in range(3)]
    cancel(reservations[0])
    reservations.append(reserved(loan, 1000))
    assert [fresh(reservation).number for reservation in reservations] == [1, 2, 3, 4]


def test_a_loan_takes_reservations_until_it_closes() -> None:
    loan = LoanFactory(closes_at=NOON + timedelta(days=3))
    reserved(loan, 1000, now=loan.closes_at - LAST_MICROSECOND)
    with pytest.raises(LoanNotOpen, match="closed at Jul 4, 2026, 12:00 pm ET"):
        reserved(loan, 1000, now=loan.closes_at)


@pytest.mark.parametrize(
    ("amount", "problem", "data"),
    [
        ("999.99", BelowMinimum, {"minimum": Decimal(1000)}),
        ("-1", BelowMinimum, {"minimum": Decimal(1000)}),
        ("0", BelowMinimum, {"minimum": Decimal(1000)}),
        ("100000.01", OverLimit, {"available": Decimal(100_000), "frees_at": None}),
    ],
)
def test_amounts_that_are_refused(amount: str, problem: type, data: dict[str, object]) -> None:
    loan = LoanFactory()
    with pytest.raises(problem) as refusal:
        reserved(loan, amount)
    assert data.items() <= refusal.value.data.items()
    assert Reservation.objects.count() == 0
    assert fresh(loan).claimed == fresh(loan).last_number == 0


def test_overbooking_ends_at_the_limit_and_the_refusal_says_when_more_is_available() -> None:
    """$100,000 at 20 %: reservations up to $120,000."""
    loan = LoanFactory()
    reserved(loan, 100_000)
    with pytest.raises(OverLimit) as refusal:
        reserved(loan, "20000.01", now=NOON + timedelta(hours=1))
    assert refusal.value.data == {
        "available": Decimal(20_000),
        "frees_at": NOON + HOURS_24,
        "available_then": Decimal(100_000),
        "waiting_list": {"entries": 0, "dollars": Decimal(0)},
    }
    reserved(loan, 20_000, now=NOON + timedelta(hours=1))
    with pytest.raises(OverLimit):
        reserved(loan, 1000, now=NOON + timedelta(hours=1))


def test_the_limit_shrinks_with_what_remains() -> None:
    """Once $90,000 has settled, $12,000 may be claimed, in reservations of at most $10,000. Earlier reservations stay."""
    loan = LoanFactory()
    earlier = reserved(loan, 30_000)
    settled(loan, 90_000)
    assert fresh(earlier).state == "reserved"
    with pytest.raises(OverLimit, match=r"more than the \$0\.00 available"):
        reserved(loan, 1000)
    cancel(earlier)
    with pytest.raises(OverLimit, match=r"more than the \$10,000\.00 available"):
        reserved(loan, "10000.01")
    reserved(loan, 10_000)
    reserved(loan, 2_000)
    with pytest.raises(OverLimit):
        reserved(loan, 1_000)


def test_the_closing_piece() -> None:
    loan = LoanFactory()
    settled(loan, "99500.00")
    with pytest.raises(BelowMinimum) as refusal:
        reserved(loan, "499.99")
    assert refusal.value.data == {"minimum": Decimal(500)}
    with pytest.raises(OverLimit):
        reserved(loan, "1000.00")
    reserved(loan, "500.00")
    with pytest.raises(OverLimit):  # exactly what remains, but 20 % of it is all that is available
        reserved(loan, "500.00")


@pytest.mark.parametrize(
    ("amount", "at_least", "expected"),
    [
        (20_000, 20_000, 20_000),
        (20_000, 1_000, 20_000),
        (50_000, 1_000, 30_000),
        (50_000, 30_000, 30_000),
        (50_000, "30000.01", OverLimit),
        (50_000, 1, 30_000),
        (20_000, "20000.01", Invalid),
    ],
)
def test_at_least_takes_what_there_is(amount: int, at_least: int | str, expected: int | type[Exception]) -> None:
    """$30,000 are available."""
    loan = LoanFactory()
    reserved(loan, 90_000)

    def take() -> Reservation:
        return reserve(reference=loan.reference, investor=InvestorFactory(), amount=Decimal(amount), at_least=Decimal(at_least), now=NOON)

    if isinstance(expected, int):
        assert (take().amount, fresh(loan).claimed) == (expected, 90_000 + expected)
    else:
        with pytest.raises(expected):
            take()
        assert fresh(loan).claimed == 90_000


def test_at_least_counts_what_lapsed_and_takes_the_closing_piece() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0))
    reserved(loan, 40_000)
    settled(loan, "59500.00")
    later = NOON + HOURS_24
    taken = reserve(reference=loan.reference, investor=InvestorFactory(), amount=Decimal(90_000), at_least=Decimal(1_000), now=later)
    assert (taken.amount, fresh(loan).claimed) == (Decimal("40500.00"), Decimal("40500.00"))

    small = LoanFactory()
    settled(small, "99500.00")
    closing = reserve(reference=small.reference, investor=InvestorFactory(), amount=Decimal(5_000), at_least=Decimal(500), now=NOON)
    assert closing.amount == 500
    almost = LoanFactory(overbooking_rate=Decimal(0), amount=Decimal(1_500))
    reserved(almost, 1_000)
    with pytest.raises(BelowMinimum):  # $500 are available, less than the minimum
        reserve(reference=almost.reference, investor=InvestorFactory(), amount=Decimal(1_500), at_least=Decimal(100), now=NOON)


@pytest.mark.parametrize(
    ("accredited_until", "now", "may"),
    [
        (date(2026, 7, 1), "2026-07-02T03:59:59Z", True),  # still 1 July in New York
        (date(2026, 7, 1), "2026-07-02T04:00:00Z", False),
        (None, "2026-07-02T04:00:00Z", False),
    ],
)
def test_an_investor_is_accredited_on_the_day_in_new_york(accredited_until: date | None, now: str, may: bool) -> None:
    loan, investor = LoanFactory(), InvestorFactory(accredited_until=accredited_until)
    at = datetime.fromisoformat(now).astimezone(UTC)
    if may:
        assert reserved(loan, 1000, investor=investor, now=at).pk
    else:
        with pytest.raises(NotAccredited):
            reserved(loan, 1000, investor=investor, now=at)


def test_an_inactive_investor_reserves_nothing() -> None:
    with pytest.raises(NotAccredited):
        reserved(LoanFactory(), investor=InvestorFactory(user__is_active=False))


def test_an_investor_who_was_deactivated_since_they_were_read_reserves_nothing() -> None:
    investor = InvestorFactory()
    assert investor.user.is_active
    type(investor.user).objects.update(is_active=False)
    with pytest.raises(NotAccredited):
        reserved(LoanFactory(), investor=investor)


def test_only_an_open_loan_takes_reservations() -> None:
    withdrawn = LoanFactory()
    withdraw_loan(reference=withdrawn.reference, actor=STAFF, reason="sold", now=NOON)
    filled = LoanFactory(amount=Decimal(10_000))
    settled(filled, 10_000)
    for loan in (withdrawn, filled):
        with pytest.raises(LoanNotOpen) as refusal:
            reserved(loan, 1000)
        assert refusal.value.data == {"loan_status": fresh(loan).status}
    with pytest.raises(NotFound):
        reserve(reference="LN-nowhere", investor=InvestorFactory(), amount=Decimal(1000), now=NOON)


def test_a_loan_that_was_never_open_does_not_exist_for_investors() -> None:
    draft, withdrawn = DraftFactory(), DraftFactory()
    withdraw_loan(reference=withdrawn.reference, actor=STAFF, reason="sold", now=NOON)
    for loan in (draft, withdrawn):
        with pytest.raises(NotFound):
            reserved(loan, 1000)
        assert fresh(loan).claimed == 0


# --- Lapsed reservations ----------------------------------------------------------------------------------------------
def test_a_lapsed_reservation_does_not_take_room_from_others() -> None:
    loan = LoanFactory()
    lapsed = reserved(loan, 100_000)
    with pytest.raises(OverLimit):
        reserved(loan, 100_000, now=NOON + HOURS_24 - LAST_MICROSECOND)
    assert reserved(loan, 100_000, now=NOON + HOURS_24).number == 2
    assert (fresh(lapsed).state, fresh(lapsed).cause) == ("canceled", "expired")
    assert fresh(loan).claimed == 100_000


def test_reserving_cancels_just_enough_lapsed_reservations_the_oldest_first() -> None:
    loan = LoanFactory()
    reservations = [reserved(loan, 30_000, now=NOON + timedelta(minutes=minute)) for minute in (2, 0, 1, 3)]
    reserved(loan, 20_000, now=NOON + HOURS_24 + timedelta(hours=1))  # only the oldest reservation makes room for it
    assert [fresh(reservation).state for reservation in reservations] == ["reserved", "canceled", "reserved", "reserved"]
    reserved(loan, 40_001, now=NOON + HOURS_24 + timedelta(hours=1))  # 10,000 are free: two more have to go
    assert [fresh(reservation).state for reservation in reservations] == ["canceled", "canceled", "canceled", "reserved"]


def test_reserving_what_is_available_cancels_no_lapsed_reservation() -> None:
    loan = LoanFactory()
    lapsed = reserved(loan, 50_000)
    reserved(loan, 70_000, now=NOON + HOURS_24)
    assert fresh(lapsed).state == "reserved"
    assert loan_offer(loan.reference, NOON + HOURS_24).available == 50_000


def test_lapsed_reservations_stay_canceled_when_the_request_is_refused_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another investor takes the room after this request has read what is available, and before it has the lock."""
    loan, rival, later = LoanFactory(), InvestorFactory(), NOON + HOURS_24
    lapsed = reserved(loan, 60_000)
    reserved(loan, 60_000, now=NOON + timedelta(hours=1))
    look, looks = investor_offer, []

    def look_and_lose(investor_id: int, reference: str, now: datetime | None = None) -> InvestorOffer:
        offer = look(investor_id, reference, now)
        if not looks:
            looks.append(offer)
            reserved(loan, 30_000, investor=rival, now=later)
        return offer

    monkeypatch.setattr(reservations, "investor_offer", look_and_lose)
    with pytest.raises(OverLimit, match=r"\$30,000\.00 available"):
        reserved(loan, 60_000, now=later)
    assert fresh(lapsed).cause == "expired"
    assert fresh(loan).claimed == 90_000


@pytest.mark.parametrize("expired_by_job", [False, True])
@pytest.mark.parametrize("step", [start_transfer, cancel])
def test_a_lapsed_reservation_can_neither_start_its_transfer_nor_be_canceled(
    step: Callable[..., Reservation], expired_by_job: bool
) -> None:
    reservation = reserved(LoanFactory())
    if expired_by_job:
        expire_due(NOON + HOURS_24)
    with pytest.raises(ReservationExpired) as refusal:
        step(reservation, now=NOON + HOURS_24)
    assert refusal.value.data["expired_at"] == NOON + HOURS_24
    assert not reservation.transfers.exists()


@pytest.mark.parametrize("step", [start_transfer, cancel])
def test_just_before_it_lapses_a_reservation_can_do_both(step: Callable[..., Reservation]) -> None:
    step(reservation := reserved(LoanFactory()), now=NOON + HOURS_24 - LAST_MICROSECOND)
    assert fresh(reservation).state in {"pending", "canceled"}


def test_lapsed_reservations_have_no_queue_position() -> None:
    loan = LoanFactory()
    first = reserved(loan, 1000)
    second = reserved(loan, 1000, now=NOON + timedelta(hours=1))
    assert [queue_position_of(reservation, NOON + timedelta(hours=2)) for reservation in (first, second)] == [1, 2]
    assert [queue_position_of(reservation, NOON + HOURS_24) for reservation in (first, second)] == [None, 1]


# --- Start the transfer, cancel ---------------------------------------------------------------------------------------
def test_a_transfer_gives_five_banking_days_and_a_reference(locks_first) -> None:
    reservation = reserved(LoanFactory())
    with locks_first():
        start_transfer(reservation, method="wire", now=NOON + timedelta(hours=20))
    reservation, transfer = fresh(reservation), inbound(reservation)
    assert reservation.state == "pending"
    assert reservation.expires_at == datetime(2026, 7, 10, 4, tzinfo=UTC)  # started on Thursday 2 July
    assert (transfer.status, transfer.method, transfer.amount) == ("initiated", "wire", 10_000)
    assert [transition.event for transition in Transition.objects.filter(reservation=reservation)] == [
        "reserved",
        "transfer_started",
        "initiated",
    ]


@pytest.mark.parametrize("state", [pending, funded, settled])
def test_starting_the_same_transfer_again_changes_nothing(state) -> None:
    reservation = state(LoanFactory())
    transitions = Transition.objects.count()
    assert start_transfer(reservation, now=NOON + timedelta(hours=1)).state == reservation.state
    assert (fresh(reservation), Transition.objects.count(), reservation.transfers.count()) == (reservation, transitions, 1)
    with pytest.raises(IllegalTransition) as refusal:
        start_transfer(reservation, method="wire")
    assert refusal.value.data["state"] == reservation.state


def test_canceling_twice_cancels_once(locks_first) -> None:
    loan = LoanFactory()
    reservation = reserved(loan)
    with locks_first():
        cancel(reservation)
    transitions = Transition.objects.count()
    assert cancel(reservation).cause == "canceled_by_investor"
    assert (Transition.objects.count(), fresh(loan).claimed) == (transitions, 0)


@pytest.mark.parametrize(
    ("state", "step"),
    [(pending, cancel), (funded, cancel), (settled, cancel), (canceled, cancel), (canceled, start_transfer)],
)
def test_what_the_diagram_does_not_have_is_refused_and_changes_nothing(state, step) -> None:
    reservation = state(LoanFactory())
    before = Reservation.objects.values().get(), Loan.objects.values().get(), Transition.objects.count()
    with pytest.raises(IllegalTransition):
        step(reservation)
    assert (Reservation.objects.values().get(), Loan.objects.values().get(), Transition.objects.count()) == before


@pytest.mark.parametrize("step", ["start_transfer", "cancel_reservation"])
def test_another_investors_reservation_is_not_found(step: str) -> None:
    reservation, stranger = reserved(LoanFactory()), InvestorFactory()
    method = {"method": "ach"} if step == "start_transfer" else {}
    with pytest.raises(NotFound):
        getattr(reservations, step)(reservation_id=reservation.pk, actor=Actor("investor"), investor_id=stranger.pk, now=NOON, **method)
    assert fresh(reservation).state == "reserved"


def test_without_an_instant_the_clock_of_the_database_decides() -> None:
    loan = LoanFactory(now=None)
    reservation = start_transfer(reserved(loan, now=None), now=None)
    assert abs(fresh(reservation).created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert reservation.expires_at > datetime.now(UTC) + timedelta(days=5)
