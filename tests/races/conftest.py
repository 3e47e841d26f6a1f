"""Let two threads meet, each with its own connection: the first is stopped between its decision and its writing."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections

from loans.ledger.unit_of_work import UnitOfWork

LONGEST_WAIT_SECONDS = 10
WAIT_UNDER_LOCK_SECONDS = 0.3  # under the lock, the second thread cannot finish before the first

Call = Callable[[], Any]


def outcome(call: Call) -> Any:
    """Return the call's result, or the exception that it raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the test decides what it means
        return error
    finally:
        connections.close_all()


def together(*calls: Call) -> list[Any]:
    """Run the calls at once, each in a thread of its own."""
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls))


def without_locks(call: Call) -> Call:
    """Let the call read loans without locking their rows."""

    def unlocked(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        return execute(re.sub(r"FOR UPDATE(?! SKIP LOCKED)", "", sql), *args)

    def run() -> Any:
        with connection.execute_wrapper(unlocked):
            return call()

    return run


@pytest.fixture
def lock(request: pytest.FixtureRequest) -> bool:
    """Whether loans are locked. The twin of a test runs without."""
    return bool(request.param)


@pytest.fixture
def meet(lock: bool, monkeypatch: pytest.MonkeyPatch) -> Callable[[Call, Call], list[Any]]:
    """Run the second call when the first has decided and not yet written.

    The first writes when the second has finished. Under the lock, where the second waits for the first, it writes after a short while.
    """

    def run(first: Call, second: Call) -> list[Any]:
        decided, finished, write = threading.Event(), threading.Event(), UnitOfWork.write

        def write_late(work: UnitOfWork) -> None:
            if not decided.is_set():
                decided.set()
                finished.wait(WAIT_UNDER_LOCK_SECONDS if lock else LONGEST_WAIT_SECONDS)
            write(work)

        def when_decided() -> Any:
            assert decided.wait(LONGEST_WAIT_SECONDS), "the first one never came to its writing"
            try:
                return second()
            finally:
                connections.close_all()
                finished.set()

        monkeypatch.setattr(UnitOfWork, "write", write_late)
        calls = (first, when_decided) if lock else (without_locks(first), without_locks(when_decided))
        return together(*calls)

    return run
