"""Two batches over the same loans in opposite order: with the locks in the order of ids they never wait for each other in a circle.

The twin must go wrong; otherwise the test could not fail.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from loans.domain.errors import Busy
from loans.models import Investor, Loan
from loans.services import batches
from loans.services.batches import Order, reserve_many
from loans.services.reservations import reserve
from tests.factories import NOON, InvestorFactory, LoanFactory, fresh
from tests.races.conftest import Call, together
from tests.races.test_races import breaches

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def meeting_after_the_first_order(monkeypatch: pytest.MonkeyPatch, *, lock: bool) -> Iterator[None]:
    """Let each batch wait for the other when it has decided its first order; under the locks only one gets there, and goes on soon."""
    barrier = Barrier(2)

    def reserve_and_meet(**order: Any) -> object:
        made = reserve(**order)
        with suppress(BrokenBarrierError):
            barrier.wait(0.5)
        return made

    with monkeypatch.context() as patch:
        patch.setattr(batches, "reserve", reserve_and_meet)
        if not lock:
            patch.setattr(batches.locks, "lock_loans", lambda **_: None)
        yield


def batch(investor: Investor, loans: list[Loan]) -> Call:
    return lambda: reserve_many(investor=investor, orders=[Order(loan.reference, Decimal(1_000)) for loan in loans], now=NOON)


@pytest.mark.parametrize("lock", [True, False], ids=["locked", "lock off"])
def test_batches_in_opposite_order_do_not_block_each_other(monkeypatch: pytest.MonkeyPatch, lock: bool) -> None:
    loans = [LoanFactory() for _ in range(2)]
    first, second = InvestorFactory(), InvestorFactory()
    with meeting_after_the_first_order(monkeypatch, lock=lock):
        results = together(batch(first, loans), batch(second, loans[::-1]))
    blocked = [result for result in results if isinstance(result, Busy)]
    assert bool(blocked) == (not lock), results
    assert [breaches(loan) for loan in loans] == [[], []]
    assert all(fresh(loan).claimed == 1_000 * (2 - len(blocked)) for loan in loans)


def test_batches_of_many_share_out_what_there_is() -> None:
    loans = [LoanFactory(amount=10_000, overbooking_rate=Decimal(0)) for _ in range(4)]
    calls = [batch(InvestorFactory(), loans[::step] * 2) for step in (1, -1) * 4]
    results = together(*calls)
    assert [result for result in results if isinstance(result, Exception)] == []
    assert [fresh(loan).claimed for loan in loans] == [10_000] * 4
    assert [breaches(loan) for loan in loans] == [[]] * 4
