"""One caller computes; the others get the last value, or wait for the first."""

import threading
import time
from typing import Any

import pytest
from django.core.cache import cache
from pytest_django.fixtures import Settings

from peerloans import computed_once as module
from peerloans.computed_once import computed_once
from tests.races.conftest import together


class Slow:
    """A computation that counts its runs, and ends when it may."""

    def __init__(self) -> None:
        self.runs, self.began, self.may_end = 0, threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.runs += 1
        self.began.set()
        assert self.may_end.wait(10)
        return self.runs


def test_those_who_come_first_wait_and_get_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 10.0)  # a busy machine must not make them give up
    slow = Slow()

    def let_it_end() -> None:
        slow.began.wait(10)
        time.sleep(0.1)
        slow.may_end.set()

    results = together(*[lambda: computed_once("k", slow, 60)] * 8, let_it_end)
    assert (results[:8], slow.runs) == ([1] * 8, 1)


def test_who_looked_before_the_value_was_there_takes_it_on_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a caller's look and its turn, another caller keeps the value and ends."""
    add = cache.add

    def another_ends_first(*arguments: Any, **options: Any) -> object:
        cache.set("k", (time.time(), 1), 60)
        return add(*arguments, **options)

    monkeypatch.setattr(cache, "add", another_ends_first)
    assert computed_once("k", lambda: 2, 60) == 1


def test_while_one_computes_anew_the_others_see_the_last_value() -> None:
    slow = Slow()
    slow.may_end.set()
    assert computed_once("k", slow, 60) == 1
    slow.may_end.clear()
    computing = threading.Thread(target=lambda: computed_once("k", slow, 0))
    slow.began.clear()
    computing.start()
    assert slow.began.wait(10)
    assert computed_once("k", slow, 0) == 1
    slow.may_end.set()
    computing.join()
    assert (computed_once("k", slow, 60), slow.runs) == (2, 2)


def test_a_computation_that_failed_keeps_nobody_waiting() -> None:
    with pytest.raises(ZeroDivisionError):
        computed_once("k", lambda: 1 // 0, 60)
    assert computed_once("k", lambda: 7, 60) == 7


def test_nobody_waits_for_a_killed_computation_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
    cache.add("k:computing", 1)
    assert computed_once("k", lambda: 7, 60) == 7


def test_without_redis_each_computes(settings: Settings) -> None:
    away: dict[str, Any] = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": away}
    runs: list[int] = []
    for number in range(2):
        computed_once("k", lambda number=number: runs.append(number), 60)
    assert runs == [0, 1]
