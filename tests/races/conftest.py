"""How are two made to meet? Threads with connections of their own, the first stopped between its reading and its writing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from loans.ledger import locks
from loans.ledger.unit_of_work import UnitOfWork

LONGEST_WAIT_SECONDS = 10
WAIT_UNDER_LOCK_SECONDS = 0.3  # there the other one cannot finish before we do

Call = Callable[[], Any]


def outcome(call: Call) -> Any:
    """What the call gives back, or the exception that it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - it is the caller's to judge
        return error
    finally:
        connections.close_all()


def together(*calls: Call) -> list[Any]:
    """Run the calls at once, each in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls))


@pytest.fixture
def meet(monkeypatch: pytest.MonkeyPatch) -> Callable[[Call, Call], list[Any]]:
    """Run the second call when the first has decided and not yet written.

    The first writes when the second has finished; or after a short wait, where the second cannot finish before it.
    """

    def run(first: Call, second: Call) -> list[Any]:
        decided, finished, post = threading.Event(), threading.Event(), UnitOfWork.post

        def post_late(work: UnitOfWork) -> None:
            if not decided.is_set():
                decided.set()
                finished.wait(WAIT_UNDER_LOCK_SECONDS if locks.FOR_UPDATE else LONGEST_WAIT_SECONDS)
            post(work)

        def when_decided() -> Any:
            assert decided.wait(LONGEST_WAIT_SECONDS), "the first one never came to its writing"
            try:
                return second()
            finally:
                connections.close_all()
                finished.set()

        monkeypatch.setattr(UnitOfWork, "post", post_late)
        return together(first, when_decided)

    return run


@pytest.fixture
def lock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the loan's lock is on; where it is off, its row is read all the same."""
    if not request.param:
        monkeypatch.setattr(locks, "FOR_UPDATE", "")
    return bool(request.param)
