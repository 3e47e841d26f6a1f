"""What remains of each loan, for showing: kept in Redis, never asked by a decision.

A value is "version dollars instant". A settlement writes it after its commit, with the loan's version, so that a late or
repeated write never replaces a newer one. Whatever Redis lacks, or all of it where Redis is away, comes from the rows
that the caller has read anyway.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from django.core.cache import cache
from django.db.models import DateTimeField, Func
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from loans.models import Loan

logger = logging.getLogger(__name__)

# Its digits stay within what Lua's numbers can hold.
_VALUE = re.compile(r"(\d{1,15}) (\d{1,12}\.\d\d) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)", re.ASCII)

_VERSION = "'^(%d+) %d+%.%d%d %d+%-%d%d%-%d%dT[%d:.]+%+00:00$'"

# KEYS[i] takes ARGV[i] unless it holds a newer version. What is no value of ours, or is exactly the distrusted
# ARGV[#KEYS + i], is replaced whatever it is.
_WRITE = f"""
for i, key in ipairs(KEYS) do
    local held = redis.pcall('GET', key)
    local version = type(held) == 'string' and held ~= ARGV[#KEYS + i] and string.match(held, {_VERSION})
    if not version or #version > 15 or tonumber(version) <= tonumber(string.match(ARGV[i], '^%d+')) then
        redis.call('SET', key, ARGV[i])
    end
end
"""


class Remaining(NamedTuple):
    """What remained, in dollars, when the loan had had `version` changes, at the instant `as_of`."""

    amount: Decimal
    as_of: datetime
    version: int


@dataclass(frozen=True)
class Drift:
    """A value in Redis that is not what the database says; `shown` is None where it cannot even be read."""

    loan: Loan
    shown: Decimal | None
    remaining: Decimal


@dataclass(frozen=True)
class Comparison:
    """What the database says of some loans, where Redis said otherwise, and the values there that are not to be trusted."""

    rows: dict[int, Remaining]
    drift: list[Drift]
    distrusted: dict[int, bytes]


def publish(values: Mapping[int, Remaining]) -> None:
    """Show what remains of each loan from now on, in one round trip. Without Redis, nothing."""
    try:
        _write(values)
    except RedisError as error:
        logger.warning("The remaining values of loans %s were not written to Redis: %s", sorted(values), error)


def shown(loans: Sequence[Loan], as_of: datetime) -> dict[int, Remaining]:
    """What remains of each loan, in one round trip; `as_of` is the instant at which the given rows were read."""
    try:
        held = _read([loan.pk for loan in loans])
    except RedisError as error:
        logger.warning("Remaining values come from the database: %s", error)
        held = {}
    return {loan.pk: _unpacked(held.get(loan.pk)) or Remaining(loan.remaining, as_of, loan.version) for loan in loans}


def compare(loan_ids: Sequence[int]) -> Comparison:
    """Hold Redis against the database and change neither. Raises RedisError where Redis is away.

    Redis is read before the rows, so a version newer than its row's was never written by us. An older version with
    another amount is a write that was lost, unless it is just coming: then a second look finds it.
    """
    held = _read(loan_ids)
    rows, loans = {}, {}
    for loan in Loan.objects.filter(pk__in=loan_ids).annotate(as_of=_StatementTime()).order_by("pk"):
        rows[loan.pk] = Remaining(loan.remaining, loan.as_of, loan.version)
        loans[loan.pk] = loan
    suspects = {loan_id: raw for loan_id, raw in held.items() if loan_id in rows and raw and _differs(raw, rows[loan_id])}
    again = _read(list(suspects))
    distrusted = {loan_id: raw for loan_id, raw in suspects.items() if again[loan_id] == raw}
    drift = [
        Drift(loans[loan_id], value.amount if (value := _unpacked(raw)) else None, rows[loan_id].amount)
        for loan_id, raw in distrusted.items()
    ]
    return Comparison(rows, drift, distrusted)


def repair(found: Comparison) -> None:
    """Write what the database said; a settlement written meanwhile stays. Raises RedisError where Redis is away."""
    _write(found.rows, found.distrusted)


class _StatementTime(Func):
    function = "statement_timestamp"
    output_field = DateTimeField()


def _differs(raw: bytes, row: Remaining) -> bool:
    value = _unpacked(raw)
    return value is None or value.version > row.version or value.amount != row.amount


def _write(values: Mapping[int, Remaining], distrusted: dict[int, bytes] | None = None) -> None:
    if values:
        keys = _keys(values)
        replaced = [(distrusted or {}).get(loan_id, b"") for loan_id in values]
        get_redis_connection("default").eval(_WRITE, len(keys), *keys, *(_packed(value) for value in values.values()), *replaced)


def _read(loan_ids: Sequence[int]) -> dict[int, bytes | None]:
    if not loan_ids:
        return {}
    values = get_redis_connection("default").mget(_keys(loan_ids))
    return dict(zip(loan_ids, values, strict=True))


def _keys(loan_ids: Iterable[int]) -> list[str]:
    prefix = cache.make_key("remaining:")
    return [f"{prefix}{loan_id}" for loan_id in loan_ids]


def _packed(value: Remaining) -> str:
    return f"{value.version} {value.amount:.2f} {value.as_of.astimezone(UTC).isoformat(timespec='microseconds')}"


@lru_cache(10_000)  # Reading a hundred values anew takes as long as the MGET that brings them.
def _unpacked(raw: bytes | None) -> Remaining | None:
    """None also for a value that somebody else put there."""
    try:
        fields = _VALUE.fullmatch((raw or b"").decode())
        if not fields:
            return None
        version, dollars, instant = fields.groups()
        return Remaining(Decimal(dollars), datetime.fromisoformat(instant), int(version))
    except ValueError:  # not even text, or a day that no month has
        return None
