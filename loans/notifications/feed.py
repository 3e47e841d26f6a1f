"""Read the announced transitions of one investor in the order of transactions.

The order and the limit are those of the outbox: no transition is returned before all that come before it are there, so a reader who
goes on from the last position misses none. Each reservation, and each entry of a waiting list, is asked for its own next transitions by
an index, so the cost of a page grows with the investor's reservations and entries and never with the whole history.
"""

from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Prefetch

from loans.domain.errors import Invalid
from loans.domain.states import Direction
from loans.models import Transfer, Transition
from loans.notifications.outbox import ANNOUNCED_EVENTS, IS_ANNOUNCED, OLDEST_OPEN, read_elsewhere_up_to


def _of_each(table: str, column: str) -> str:
    """Return the SQL of the next transitions of each of the investor's rows of this table, which `column` of a transition names."""
    return f"""
        SELECT own.* FROM {table} AS subject, LATERAL (
            -- What a dump brought from a server with other transaction numbers comes first. It is complete.
            (
                SELECT transition.txid, transition.id, true AS is_restored FROM loans_transition AS transition
                WHERE %(in_restored)s AND transition.id <= %(restored_up_to)s AND transition.{column} = subject.id
                    AND (transition.{column}, transition.txid, transition.id) > (subject.id, %(txid)s::xid8, %(id)s)
                    AND {IS_ANNOUNCED}
                ORDER BY transition.txid, transition.id LIMIT %(limit)s
            ) UNION ALL (
                SELECT transition.txid, transition.id, false FROM loans_transition AS transition
                WHERE transition.id > %(restored_up_to)s AND transition.{column} = subject.id
                    AND (transition.{column}, transition.txid, transition.id) > (subject.id, %(own_txid)s::xid8, %(own_id)s)
                    AND {IS_ANNOUNCED}
                ORDER BY transition.txid, transition.id LIMIT %(limit)s
            )
        ) AS own
        WHERE subject.investor_id = %(investor_id)s
    """


# The row comparison begins with the reservation or the entry, and the limit at open transactions stands outside, so that only the
# index by it can be used. At the end of history the index by txid looks cheap to the planner, and would be read for each of them.
_READ = f"""
    WITH until AS MATERIALIZED (SELECT {OLDEST_OPEN} AS txid)
    SELECT own.id FROM until, (
        {_of_each("loans_reservation", "reservation_id")} UNION ALL {_of_each("loans_waitinglistentry", "waiting_entry_id")}
    ) AS own
    WHERE own.is_restored OR own.txid < until.txid
    ORDER BY own.is_restored DESC, own.txid, own.id LIMIT %(limit)s
"""


class Position(NamedTuple):
    """A place in history: just after this transition."""

    txid: int
    transition_id: int


START = Position(0, 0)


class FeedPage(NamedTuple):
    """Transitions with their reservation or entry, loan and transfers, and whether there are more now."""

    transitions: list[Transition]
    has_more: bool


def read_feed(investor_id: int, after: Position, size: int) -> FeedPage:
    """Return the investor's next transitions after the position, at most `size` of them.

    Raises:
        Invalid: this server has not come to the position. History was restored, and what was read last is lost.
    """
    restored_up_to = read_elsewhere_up_to()
    in_restored = 0 < restored_up_to >= after.transition_id
    own = START if in_restored else after
    values: dict[str, Any] = {"investor_id": investor_id, "txid": str(after.txid), "id": after.transition_id, "limit": size + 1}
    values |= {"in_restored": in_restored, "restored_up_to": restored_up_to, "own_txid": str(own.txid), "own_id": own.transition_id}
    with connection.cursor() as cursor:
        cursor.execute(_READ, values | ANNOUNCED_EVENTS)
        ids = [row[0] for row in cursor.fetchall()]
        if not (ids or in_restored):
            _refuse_if_ahead(cursor, after)
    inbound = Prefetch("reservation__transfers", Transfer.objects.filter(direction=Direction.INBOUND))
    transitions = Transition.objects.select_related("transfer", "reservation__loan", "waiting_entry__loan").prefetch_related(inbound)
    by_id = transitions.in_bulk(ids[:size])
    return FeedPage([by_id[number] for number in ids[:size]], len(ids) > size)


def _refuse_if_ahead(cursor: Any, after: Position) -> None:
    cursor.execute("SELECT %s::xid8 >= pg_snapshot_xmax(pg_current_snapshot())", [str(after.txid)])
    if cursor.fetchone()[0]:
        raise Invalid("This place is no longer known. Read the feed from its beginning, without `after`; every event keeps its id.")


def position_after(page: FeedPage, before: Position) -> Position:
    """Return the position after the page, which began at `before`."""
    return Position(page.transitions[-1].txid, page.transitions[-1].pk) if page.transitions else before
