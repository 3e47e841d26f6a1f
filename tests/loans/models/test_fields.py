"""The types of fields that several models share."""

import time
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from loans.models.fields import uuid7


def test_ids_are_in_the_order_of_their_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for milliseconds in (1_700_000_000_000, 1_700_000_000_001, 1_900_000_000_000):
        monkeypatch.setattr(time, "time_ns", lambda at=milliseconds: at * 1_000_000 + 999_999)
        ids.append([uuid7() for _ in range(100)])
    assert [max(each) < min(later) for each, later in pairwise(ids)] == [True, True]
    assert [{made.int >> 80 for made in each} for each in ids] == [{1_700_000_000_000}, {1_700_000_000_001}, {1_900_000_000_000}]


def test_ids_are_of_version_7_and_otherwise_random() -> None:
    ids = [uuid7() for _ in range(1_000)]
    assert {(made.version, made.variant) for made in ids} == {(7, RFC_4122)}
    random_bits = ~(UUID("ffffffff-ffff-f000-c000-000000000000").int)
    ever_set, always_set = 0, -1
    for made in ids:
        ever_set, always_set = ever_set | made.int, always_set & made.int
    assert ever_set & random_bits == random_bits & (1 << 128) - 1
    assert not always_set & random_bits
