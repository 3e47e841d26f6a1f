"""Keep what remains of each loan in Redis, for showing. No decision reads it.

A value is the text "version dollars instant". A settlement publishes it after its commit, with the loan's version, so a late or
repeated write never replaces a newer value. A value that Redis lacks, or all of them while Redis cannot be reached, is taken from the rows
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

# Lua compares versions as doubles, which are exact up to 15 digits.
_VALUE = re.compile(r"(\d{1,15}) (\d{1,12}\.\d\d) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00)", re.ASCII)

# KEYS: the key of each loan. ARGV: first the new value of each, then for each the exact value to replace whatever its version is,
# or an empty string. Redis runs a script alone, so no other write comes between the reading and the writing.
_WRITE_UNLESS_NEWER = """
    local value_pattern = '^(%d+) %d+%.%d%d %d+%-%d%d%-%d%dT[%d:.]+%+00:00$'
    for i, key in ipairs(KEYS) do
        local new, distrusted = ARGV[i], ARGV[#KEYS + i]
        local current = redis.pcall('GET', key) -- a table where the key holds another type than a string
        local version = nil
        if type(current) == 'string' and current ~= distrusted then
            version = string.match(current, value_pattern)
        end
        local is_newer = version and #version <= 15 and tonumber(version) > tonumber(string.match(new, '^%d+'))
        if not is_newer then
            redis.call('SET', key, new)
        end
    end
"""


class Remaining(NamedTuple):
    """The dollars that remained of a loan at the instant `as_of`, when the loan had had `version` changes."""

    amount: Decimal
    as_of: datetime
    version: int


@dataclass(frozen=True)
class Drift:
    """A loan for which Redis does not hold what the database says, in dollars; `cached` is None for an unreadable value."""

    loan: Loan
    cached: Decimal | None
    remaining: Decimal


@dataclass(frozen=True)
class Comparison:
    """What the database says of some loans, where Redis differs, and the exact values there that are wrong."""

    rows: dict[int, Remaining]
    drift: list[Drift]
    distrusted: dict[int, bytes]


def publish(values: Mapping[int, Remaining]) -> None:
    """Show these values from now on, by loan id, in one round trip. If Redis cannot be reached, only log a warning."""
    try:
        _write(values)
    except RedisError as error:
        logger.warning("The remaining values of loans %s were not written to Redis: %s", sorted(values), error)


def read(loans: Sequence[Loan], as_of: datetime) -> dict[int, Remaining]:
    """Return what remains of each loan by its id, in one round trip.

    `as_of` is the instant at which the caller read the rows `loans`, which stand in for what Redis lacks.
    """
    try:
        cached = _read([loan.pk for loan in loans])
    except RedisError as error:
        logger.warning("Remaining values come from the database: %s", error)
        cached = {}
    return {loan.pk: _parse(cached.get(loan.pk)) or Remaining(loan.remaining, as_of, loan.version) for loan in loans}


def compare(loan_ids: Sequence[int]) -> Comparison:
    """Compare Redis with the database, and change neither.

    A wrong value is one that nothing can parse, has another amount than the row, or a newer version: Redis is read before the
    rows, so no settlement has written that. A value that is only older may be about to be replaced by a settlement that has
    just committed; one that a second read finds unchanged counts as wrong.

    Raises:
        RedisError: Redis cannot be reached.
    """
    cached = _read(loan_ids)
    loans = {loan.pk: loan for loan in Loan.objects.filter(pk__in=loan_ids).annotate(as_of=_StatementTime()).order_by("pk")}
    rows = {loan_id: Remaining(loan.remaining, loan.as_of, loan.version) for loan_id, loan in loans.items()}
    suspects = {loan_id: raw for loan_id, raw in cached.items() if raw and loan_id in rows and not _agrees(raw, rows[loan_id])}
    second_read = _read(list(suspects))
    distrusted = {loan_id: raw for loan_id, raw in suspects.items() if second_read[loan_id] == raw}
    drift = [Drift(loans[loan_id], _amount(raw), rows[loan_id].amount) for loan_id, raw in distrusted.items()]
    return Comparison(rows, drift, distrusted)


def repair(comparison: Comparison) -> None:
    """Write what the database said. A value that a settlement has published since then stays.

    Raises:
        RedisError: Redis cannot be reached.
    """
    _write(comparison.rows, comparison.distrusted)


class _StatementTime(Func):
    function = "statement_timestamp"
    output_field = DateTimeField()


def _agrees(raw: bytes, row: Remaining) -> bool:
    value = _parse(raw)
    return value is not None and value.amount == row.amount and value.version <= row.version


def _amount(raw: bytes) -> Decimal | None:
    value = _parse(raw)
    return value.amount if value else None


def _read(loan_ids: Sequence[int]) -> dict[int, bytes | None]:
    if not loan_ids:
        return {}
    values = get_redis_connection("default").mget(_keys(loan_ids))
    return dict(zip(loan_ids, values, strict=True))


def _write(values: Mapping[int, Remaining], distrusted: Mapping[int, bytes] | None = None) -> None:
    if not values:
        return
    keys = _keys(values)
    new = [_format(value) for value in values.values()]
    replaced = [(distrusted or {}).get(loan_id, b"") for loan_id in values]
    get_redis_connection("default").eval(_WRITE_UNLESS_NEWER, len(keys), *keys, *new, *replaced)


def _keys(loan_ids: Iterable[int]) -> list[str]:
    prefix = cache.make_key("remaining:")
    return [f"{prefix}{loan_id}" for loan_id in loan_ids]


def _format(value: Remaining) -> str:
    return f"{value.version} {value.amount:.2f} {value.as_of.astimezone(UTC).isoformat(timespec='microseconds')}"


@lru_cache(10_000)  # Parsing a hundred values takes as long as the MGET that brings them.
def _parse(raw: bytes | None) -> Remaining | None:
    """Return the value; None for an absent one, and for one that another program wrote."""
    try:
        fields = _VALUE.fullmatch((raw or b"").decode())
        if not fields:
            return None
        version, dollars, instant = fields.groups()
        return Remaining(Decimal(dollars), datetime.fromisoformat(instant), int(version))
    except ValueError:  # bytes that are no text, or a day that no month has
        return None
