"""Check the limits of an investor: what counts in each, and when the same reservation would be within it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from loans.domain.investor_limits import ExceededLimit, Unfunded, exceeded_limit, loan_limit
from tests.factories import NOON

D = Decimal
HOUR = timedelta(hours=1)
HERE, ELSEWHERE = 1, 2


def held(dollars: int, hours: float, loan_id: int = HERE) -> Unfunded:
    return Unfunded(loan_id, D(dollars), NOON + hours * HOUR)


def exceeded(amount: int, *unfunded: Unfunded, **changes: Any) -> ExceededLimit | None:
    limits: dict[str, Any] = {"unfunded_limit": D(10_000), "limit_on_loan": D(5_000), "let_go_limit": 3, "let_go_at": []}
    return exceeded_limit(D(amount), unfunded=unfunded, loan_id=HERE, at=NOON, **limits | changes)


@pytest.mark.parametrize(
    ("amount", "unfunded", "expected"),
    [
        (5_000, [], None),
        (5_001, [], ExceededLimit("unfunded_on_loan", D(5_000), D("0.00"), None)),
        (2_000, [held(3_000, 1)], None),
        (2_001, [held(3_000, 1)], ExceededLimit("unfunded_on_loan", D(5_000), D("3000.00"), NOON + HOUR)),
        (2_000, [held(8_000, 1, ELSEWHERE)], None),
        (2_001, [held(8_000, 1, ELSEWHERE)], ExceededLimit("unfunded", D(10_000), D("8000.00"), NOON + HOUR)),
        (10_001, [held(8_000, 1, ELSEWHERE)], ExceededLimit("unfunded", D(10_000), D("8000.00"), None)),
        (3_000, [held(5_000, 2, ELSEWHERE), held(4_000, 1, ELSEWHERE)], ExceededLimit("unfunded", D(10_000), D("9000.00"), NOON + HOUR)),
        (
            6_000,
            [held(5_000, 2, ELSEWHERE), held(4_000, 1, ELSEWHERE)],
            ExceededLimit("unfunded", D(10_000), D("9000.00"), NOON + 2 * HOUR),
        ),
        # A lapsed reservation counts no dollar.
        (5_000, [held(5_000, 0), held(9_000, -1, ELSEWHERE)], None),
    ],
)
def test_dollars_that_are_live_and_unfunded_are_limited_over_all_loans_and_on_one(amount, unfunded, expected) -> None:
    assert exceeded(amount, *unfunded) == expected


@pytest.mark.parametrize(
    ("let_go", "lapsed", "expected"),
    [
        ([-1, -2], [], None),
        ([-1, -2, -3], [], ExceededLimit("let_go", 3, 3, NOON + 21 * HOUR)),
        ([-1, -2, -3, -4], [], ExceededLimit("let_go", 3, 4, NOON + 21 * HOUR)),
        ([-1, -2, -24], [], None),
        ([-1, -2, -23.5], [], ExceededLimit("let_go", 3, 3, NOON + 0.5 * HOUR)),
        # A lapsed reservation is let go whether or not it is swept.
        ([-1, -2], [0], ExceededLimit("let_go", 3, 3, NOON + 22 * HOUR)),
        ([-1, -2], [1], None),
    ],
)
def test_who_lets_go_of_too_many_within_a_day_waits_until_the_oldest_of_them_is_a_day_old(let_go, lapsed, expected) -> None:
    assert exceeded(1_000, *(held(1_000, hours) for hours in lapsed), let_go_at=[NOON + hours * HOUR for hours in let_go]) == expected


def test_a_limit_of_none_lets_no_reservation_pass_at_any_time() -> None:
    assert exceeded(1_000, let_go_limit=0) == ExceededLimit("let_go", 0, 0, None)


@pytest.mark.parametrize(
    ("amount", "share", "limit"),
    [("100000", "1", "100000"), ("100000", "0.25", "25000"), ("100000", "0.001", "1000"), ("33333.33", "0.3333", "11109.99")],
)
def test_one_investor_may_hold_a_share_of_a_loan_and_always_its_minimum(amount: str, share: str, limit: str) -> None:
    assert loan_limit(D(amount), D(1_000), D(share)) == D(limit)
