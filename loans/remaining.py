"""What remains of each loan, for showing: kept in Redis, never asked by a decision.

A value is "version cents instant". A settlement writes it after its commit, with the loan's version, so that a late or
repeated write never replaces a newer one. Whatever Redis lacks, or all of it where Redis is away, comes from the rows
that the caller has read anyway.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.core.cache import cache
from django_redis import get_redis_connection
from redis.exceptions import RedisError

from loans.limits import CENT
from loans.models import Loan

logger = logging.getLogger(__name__)

# KEYS[i] takes ARGV[i] unless it holds a newer version.
_PUBLISH = """
for i, key in ipairs(KEYS) do
    local held = redis.call('GET', key)
    local version = held and tonumber(string.match(held, '^(%d+) '))
    if not version or version <= tonumber(string.match(ARGV[i], '^(%d+) ')) then
        redis.call('SET', key, ARGV[i])
    end
end
"""


@dataclass(frozen=True)
class Remaining:
    """What remained, in dollars, when the loan had had `version` changes, at the instant `as_of`."""

    amount: Decimal
    as_of: datetime
    version: int


@dataclass(frozen=True)
class Drift:
    """A value in Redis that differs from the database's of the same version."""

    loan_id: int
    shown: Decimal
    remaining: Decimal


def publish(loan_id: int, version: int, amount: Decimal, as_of: datetime) -> None:
    """Show what remains from now on. Without Redis, nothing."""
    try:
        _write({loan_id: Remaining(amount, as_of, version)})
    except RedisError as error:
        logger.warning("The remaining value of loan %s was not written to Redis: %s", loan_id, error)


def shown(loans: Iterable[Loan], as_of: datetime) -> dict[int, Remaining]:
    """What remains of each loan, in one round trip; `as_of` is the instant at which the given rows were read."""
    read = {loan.pk: Remaining(loan.remaining, as_of, loan.version) for loan in loans}
    try:
        held = _read(list(read))
    except RedisError as error:
        logger.warning("Remaining values come from the database: %s", error)
        return read
    return read | {loan_id: value for loan_id, value in held.items() if value}


def rebuild(loans: Iterable[Loan], as_of: datetime) -> list[Drift]:
    """Write what the given rows say, and return where Redis said something else. Raises RedisError where it is away."""
    rows = {loan.pk: Remaining(loan.remaining, as_of, loan.version) for loan in loans}
    held = _read(list(rows))
    drift = [
        Drift(loan_id, value.amount, rows[loan_id].amount)
        for loan_id, value in held.items()
        if value and value.version >= rows[loan_id].version and value.amount != rows[loan_id].amount
    ]
    wrong = [entry.loan_id for entry in drift if (value := held[entry.loan_id]) and value.version > rows[entry.loan_id].version]
    if wrong:
        get_redis_connection("default").delete(*(_key(loan_id) for loan_id in wrong))
    _write(rows)
    return drift


def _write(values: dict[int, Remaining]) -> None:
    if values:
        keys = [_key(loan_id) for loan_id in values]
        get_redis_connection("default").eval(_PUBLISH, len(keys), *keys, *(_packed(value) for value in values.values()))


def _read(loan_ids: list[int]) -> dict[int, Remaining | None]:
    if not loan_ids:
        return {}
    values = get_redis_connection("default").mget([_key(loan_id) for loan_id in loan_ids])
    return {loan_id: _unpacked(value) for loan_id, value in zip(loan_ids, values, strict=True)}


def _key(loan_id: int) -> str:
    return cache.make_key(f"remaining:{loan_id}")


def _packed(value: Remaining) -> str:
    return f"{value.version} {int(value.amount / CENT)} {value.as_of.timestamp():.6f}"


def _unpacked(value: bytes | None) -> Remaining | None:
    """None also for a value that somebody else put there."""
    try:
        version, cents, instant = (value or b"").decode().split()
        return Remaining(int(cents) * CENT, datetime.fromtimestamp(float(instant), UTC), int(version))
    except ValueError:
        return None
