"""Read every set of up to four reports on one payment in every order: the position must be the same, and its effects too."""

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from itertools import combinations, permutations, product

import pytest

from loans.domain.payments import Report, inbound_position, refund_position
from tests.factories import NOON

EXPECTED, MINIMUM = Decimal(5_000), Decimal(1_000)
REPORTS_AT_MOST = 4


def alphabet(amounts: Iterable[int], hours: Iterable[int]) -> list[Report]:
    return [
        Report(f"evt-{number}", is_failure, Decimal(amount), NOON + timedelta(hours=hour))
        for number, (is_failure, amount, hour) in enumerate(product([False, True], amounts, hours))
    ]


INBOUND = alphabet([5_000, 3_000, 2_000], [1, 2, 3])
REFUND = alphabet([5_000, 3_000, 2_000], [1, 2, 3])


@pytest.mark.parametrize("paid_out", [0, 1_500])
def test_the_position_of_a_payment_does_not_depend_on_the_order(paid_out: int) -> None:
    for size in range(1, REPORTS_AT_MOST + 1):
        for reports in combinations(INBOUND, size):
            first = inbound_position(reports, expected=EXPECTED, minimum=MINIMUM, paid_out=Decimal(paid_out))
            assert 0 <= first.received <= sum(report.amount for report in reports if not report.is_failure)
            for order in permutations(reports):
                assert inbound_position(order, expected=EXPECTED, minimum=MINIMUM, paid_out=Decimal(paid_out)) == first
    assert first.left == first.received - paid_out


def test_the_position_of_a_refund_does_not_depend_on_the_order() -> None:
    for size in range(1, REPORTS_AT_MOST + 1):
        for reports in combinations(REFUND, size):
            first = refund_position(reports)
            assert 0 <= first.paid <= sum(report.amount for report in reports if not report.is_failure)
            for order in permutations(reports):
                assert refund_position(order) == first
