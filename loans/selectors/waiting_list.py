"""Read waiting lists: who may be served, where an investor stands, and which loans have dollars for their lists.

`now` is the instant to read at; None is the present by the database's clock.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections

from loans.domain.errors import NotFound
from loans.domain.investor_limits import LET_GO_WITHIN
from loans.domain.waiting_list import Waiting
from loans.models import Loan, WaitingListEntry
from loans.selectors.investor_limits import MAY_RESERVE
from loans.selectors.offers import UNCLAIMED

_ENTRY_COLUMNS = [field.attname for field in WaitingListEntry._meta.concrete_fields]
_SERVABLE = f"""
    SELECT may_reserve.dollars, {", ".join(f"entry.{name}" for name in _ENTRY_COLUMNS)}
    FROM loans_loan AS loan JOIN loans_waitinglistentry AS entry ON entry.loan_id = loan.id, LATERAL ({MAY_RESERVE}) AS may_reserve
    WHERE loan.id = %(loan_id)s AND entry.state = 'waiting' AND at_least <= %(available)s AND at_least <= may_reserve.dollars
    ORDER BY entry.number LIMIT %(most)s
"""
# The loans whose lists have an entry that fits what is available; whether its investor may reserve is seen when the list is served.
_WITH_ROOM = f"""
    SELECT loan.id FROM loans_loan AS loan
    WHERE waiting_entries > 0 AND status = 'open' AND closes_at > COALESCE(%(now)s::timestamptz, statement_timestamp()) AND EXISTS (
        SELECT FROM loans_waitinglistentry AS entry
        WHERE loan_id = loan.id AND state = 'waiting'
            AND at_least <= {UNCLAIMED}
    )
    ORDER BY id
"""
# Where the entries of these ids stand.
_PLACES = """
    SELECT own.id, before.entries + 1, before.dollars
    FROM loans_waitinglistentry AS own, LATERAL (
        SELECT count(*) AS entries, COALESCE(sum(amount), 0.00) AS dollars FROM loans_waitinglistentry
        WHERE loan_id = own.loan_id AND state = 'waiting' AND number < own.number
    ) AS before
    WHERE own.id = ANY(%s) AND own.state = 'waiting'
"""


class Place(NamedTuple):
    """Where an entry stands: 1 is next, and so many dollars wait before it."""

    position: int
    dollars_before: Decimal


def servable_entries(loan: Loan, available: Decimal, at: datetime, most: int) -> list[Waiting[WaitingListEntry]]:
    """Return the first `most` entries that want no more than is available and their investors may reserve, in the order of joining."""
    values: dict[str, Any] = {"loan_id": loan.pk, "available": available, "at": at, "let_go_within": LET_GO_WITHIN, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(_SERVABLE, values)
        rows = cursor.fetchall()
    entries = [(WaitingListEntry.from_db(DEFAULT_DB_ALIAS, _ENTRY_COLUMNS, columns), may_reserve) for may_reserve, *columns in rows]
    return [Waiting(entry, entry.number, entry.amount, entry.at_least, may_reserve) for entry, may_reserve in entries]


def loans_with_room_for_waiting(now: datetime | None = None) -> list[int]:
    """Return the ids of the loans that have dollars for an entry of their waiting lists."""
    with connection.cursor() as cursor:
        cursor.execute(_WITH_ROOM, {"now": now})
        return [row[0] for row in cursor.fetchall()]


def places_of(entry_ids: Iterable[UUID], using: str = DEFAULT_DB_ALIAS) -> dict[UUID, Place]:
    """Return where those of the entries stand that wait, from one read."""
    with connections[using].cursor() as cursor:
        cursor.execute(_PLACES, [list(entry_ids)])
        return {entry_id: Place(position, dollars) for entry_id, position, dollars in cursor.fetchall()}


def entry_of_investor(investor_id: int, entry_id: UUID) -> WaitingListEntry:
    """Return the entry with its loan.

    Raises:
        NotFound: there is none, or it is another investor's.
    """
    entry = WaitingListEntry.objects.select_related("loan").filter(pk=entry_id, investor_id=investor_id).first()
    if not entry:
        raise NotFound(f"There is no entry {entry_id} of a waiting list.")
    return entry
