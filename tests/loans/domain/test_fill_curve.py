from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from loans.domain.fill_curve import FillChange, FillTotals, evenly_spaced, fill_curve
from loans.selectors.fill_curve import loan_fill_curve
from loans.selectors.offers import LoanOffer, loan_offer
from loans.services.loans import close_loan_at_settled
from loans.services.overbooking import set_overbooking
from loans.services.settlement import settle_loans
from tests import factories
from tests.factories import NOON, STAFF, DraftFactory, LoanFactory
from tests.loans.audit.test_replay import everything_happens

A, B = UUID(int=1), UUID(int=2)
HOUR = timedelta(hours=1)
RATE = Decimal("0.20")


def at(hour: float, reservation: UUID | None, state: str, dollars: int) -> FillChange:
    return FillChange(NOON + hour * HOUR, reservation, state, Decimal(dollars))


@pytest.mark.parametrize(
    ("changes", "sums"),
    [
        ([], [(0, 0, 0)] * 5),
        ([at(0, A, "reserved", 40)], [(0, 0, 40)] * 5),
        (
            [
                at(1, A, "reserved", 40),
                at(1.5, B, "reserved", 7),
                at(2, A, "pending", 40),
                at(2, A, "pending", 40),
                at(4, A, "settled", 30),
            ],
            [(0, 0, 0), (0, 0, 40), (0, 40, 7), (0, 40, 7), (30, 0, 7)],
        ),
        ([at(1, A, "pending", 40), at(2, A, "pending", 25)], [(0, 0, 0), (0, 40, 0)] + [(0, 25, 0)] * 3),
        ([at(1, A, "settled", 40), at(3, A, "canceled", 40)], [(0, 0, 0)] + [(40, 0, 0)] * 2 + [(0, 0, 0)] * 2),
        ([at(1, A, "canceled", 40), at(3, A, "reserved", 40)], [(0, 0, 0)] * 3 + [(0, 0, 40)] * 2),
        ([at(-1, A, "settled", 40), at(5, A, "canceled", 40)], [(40, 0, 0)] * 5),
    ],
)
def test_each_point_is_what_the_history_until_then_adds_up_to(changes: list[FillChange], sums: list[tuple[int, int, int]]) -> None:
    points = fill_curve(changes, evenly_spaced(NOON, NOON + 4 * HOUR, 5), RATE)
    assert [(point.settled, point.pending, point.reserved) for point in points] == sums
    assert [point.at for point in points] == [NOON + hour * HOUR for hour in range(5)]


def test_the_limit_shrinks_and_the_amount_can_change() -> None:
    changes = [at(-1, None, "open", 100), at(1, A, "settled", 90), at(2, None, "funded", 90)]
    points = fill_curve(changes, evenly_spaced(NOON, NOON + 2 * HOUR, 3), RATE)
    assert [(point.amount, point.limit) for point in points] == [(100, 120), (100, 12), (90, 0)]


def test_kept_totals_stand_for_the_history_before_them() -> None:
    totals = [FillTotals(NOON + hour * HOUR, Decimal(100), *map(Decimal, sums)) for hour, sums in ((0, (0, 0, 40)), (2, (0, 40, 7)))]
    changes, before = [at(3, A, "settled", 30)], {A: ("pending", Decimal(40))}
    points = fill_curve(changes, evenly_spaced(NOON, NOON + 4 * HOUR, 5), RATE, totals=totals, before=before)
    sums = [(point.settled, point.pending, point.reserved) for point in points]
    assert sums == [(0, 0, 40), (0, 0, 40), (0, 40, 7), (30, 0, 7), (30, 0, 7)]
    assert [point.amount for point in points] == [100] * 5


@pytest.mark.django_db
def test_the_last_point_is_what_the_loan_has_now() -> None:
    offer = loan_offer(everything_happens().reference, NOON + 24 * 30 * HOUR)
    points = loan_fill_curve(offer)
    last = points[-1]
    assert (last.at, last.settled, last.pending + last.reserved) == (offer.at, offer.loan.settled, offer.loan.claimed)
    assert (last.amount, last.limit) == (offer.loan.amount, offer.limit)
    assert (points[0].at, points[0].settled) == (NOON, 0)


@pytest.mark.django_db
def test_the_curve_of_a_funded_loan_ends_with_its_last_change() -> None:
    loan = LoanFactory()
    factories.funded(loan, 4000, now=NOON + HOUR)
    settle_loans([loan.pk], now=NOON + 2 * HOUR)
    close_loan_at_settled(reference=loan.reference, actor=STAFF, reason="enough", now=NOON + 24 * 30 * HOUR)
    offer = loan_offer(loan.reference, NOON + 1000 * HOUR)
    points = loan_fill_curve(offer)
    assert (points[-1].at, points[-1].settled, points[-1].amount) == (NOON + 24 * 30 * HOUR, 4000, 4000)


@pytest.mark.django_db
def test_a_draft_has_no_curve(django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    offer = LoanOffer(DraftFactory(), NOON, Decimal(0), Decimal(0))
    with django_assert_num_queries(0):
        assert loan_fill_curve(offer) == []


@pytest.mark.django_db
def test_the_same_few_queries_however_long_the_history(django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    loan = LoanFactory()
    for _ in range(3):
        factories.reserved(loan, 1000)
    offer = loan_offer(loan.reference, NOON)
    with django_assert_num_queries(2):
        assert loan_fill_curve(offer)[-1].reserved == 3000


def test_the_limit_follows_the_overbooking_rate_of_its_time() -> None:
    set_to_half = FillChange(NOON + HOUR, None, "open", Decimal(100), "0.50")
    points = fill_curve([at(0, None, "open", 100), set_to_half, at(1.5, None, "open", 100)], NOON, NOON + 2 * HOUR, RATE, points=3)
    assert [point.limit for point in points] == [120, 150, 150]


@pytest.mark.django_db
def test_a_loans_limit_follows_the_rates_in_its_history() -> None:
    loan = LoanFactory()
    set_overbooking(
        reference=loan.reference, overbooking_policy="fixed", overbooking_rate=Decimal(0), actor=STAFF, reason="", now=NOON + HOUR
    )
    points = loan_fill_curve(loan_offer(loan.reference, NOON + 2 * HOUR))
    assert (points[0].limit, points[-1].limit) == (120_000, 100_000)
