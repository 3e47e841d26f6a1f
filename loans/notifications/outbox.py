"""Read history on and make deliveries: one for each mailbox and webhook endpoint that a transition is announced to.

History is the outbox: a service that records a transition does nothing else to have it announced. Each transition is read once,
in the order of transactions. `loans/notifications/deliveries.py` sends what is made here.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from loans.ledger.review_items import open_review_item
from loans.models import OutboxCursor
from loans.notifications.messages import OF_RESERVATION, OF_TRANSFER, OF_WAITING_ENTRY
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

BATCH = 1_000
EMAILS_AT_ONCE = 10  # of one investor; further ones become due EMAIL_SPACING apart
EMAIL_SPACING = timedelta(seconds=1)
MOST_BATCHES = 100  # A run reads at most 100,000 transitions, and leaves the rest to the next run.

_CURSOR = 1
# A restored database runs as another database system, on another timeline, or under another number in its server. So does a
# standby that took over. What a dump restores has the transaction numbers of the server that it is from.
_SERVER = """
    (SELECT system_identifier FROM pg_control_system()) || ', timeline ' || (SELECT timeline_id FROM pg_control_checkpoint())
    || ', database ' || (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# A statement of its own, so that the one that reads history sees everything that was committed before the lock was taken.
_LOCK_CURSOR = f"""
    SELECT txid::text, transition_id, after_id, up_to_id, server, {_SERVER}
    FROM loans_outboxcursor WHERE id = %s FOR UPDATE SKIP LOCKED
"""
_MOVE_TO_SERVER = """
    WITH other AS (
        -- The last transition whose number no transaction of this server can have yet.
        SELECT max(transition.id) AS id FROM loans_transition AS transition, loans_outboxcursor AS position
        WHERE position.id = %(cursor)s AND transition.txid >= pg_current_xact_id() AND transition.id > after_id
    ), moved AS (
        -- Where there is one, all up to it is read first: it is complete, so its order is good.
        UPDATE loans_outboxcursor AS position SET
            server = %(server)s, up_to_id = GREATEST(up_to_id, other.id), transition_id = LEAST(transition_id, other.id)
        FROM other WHERE position.id = %(cursor)s
    )
    SELECT other.id IS NOT NULL, (
        SELECT at FROM loans_transition WHERE id <= COALESCE(other.id, 9223372036854775807) ORDER BY id DESC LIMIT 1
    ) FROM other
"""
_BEGIN_WITH_OWN_NUMBERS = """
    UPDATE loans_outboxcursor SET txid = '0', transition_id = 0, after_id = up_to_id, up_to_id = NULL WHERE id = %s
"""

# Rows become visible in the order of commits, not of their ids. A cursor over ids alone would therefore skip the rows of a
# transaction that took its ids early and committed late. So a cursor follows (txid, id), and stops before the oldest
# transaction that still runs: nothing new can appear below it. Left out are open transactions that cannot write history here: other
# databases' and autovacuum's.
OLDEST_OPEN = """
    COALESCE((
        SELECT xid FROM pg_snapshot_xip(pg_current_snapshot()) AS xid
        WHERE NOT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE backend_xid = xid::xid AND (datname <> current_database() OR backend_type = 'autovacuum worker')
        )
        ORDER BY xid LIMIT 1
    ), pg_snapshot_xmax(pg_current_snapshot()))
"""
# The condition of the transitions that have a message, and its parameters.
IS_ANNOUNCED = """
    CASE WHEN waiting_entry_id IS NOT NULL THEN event = ANY(%(of_waiting_entry)s)
         WHEN transfer_id IS NOT NULL THEN event = ANY(%(of_transfer)s) ELSE event = ANY(%(of_reservation)s) END
"""
ANNOUNCED_EVENTS = {
    "of_reservation": list(map(str, OF_RESERVATION)),
    "of_transfer": list(map(str, OF_TRANSFER)),
    "of_waiting_entry": list(map(str, OF_WAITING_ENTRY)),
}

_FAN_OUT = f"""
    WITH unread AS MATERIALIZED (
        -- The next transitions after the cursor whose transactions are older than any open one; or up to `up_to_id`, all.
        SELECT * FROM loans_transition
        WHERE (txid, id) > (%(txid)s::xid8, %(id)s) AND id > %(after_id)s AND id <= COALESCE(%(up_to_id)s::bigint, 9223372036854775807)
            AND txid < CASE WHEN %(up_to_id)s::bigint IS NULL THEN {OLDEST_OPEN} ELSE '9223372036854775807'::xid8 END
        ORDER BY txid, id LIMIT %(batch)s
    ), announced AS (
        -- Those that have a message, with the investor whom they concern.
        SELECT unread.txid, unread.id, unread.reservation_id, unread.waiting_entry_id,
            COALESCE(reservation.investor_id, entry.investor_id) AS investor_id
        FROM unread LEFT JOIN loans_reservation AS reservation ON reservation.id = unread.reservation_id
        LEFT JOIN loans_waitinglistentry AS entry ON entry.id = unread.waiting_entry_id
        WHERE COALESCE(reservation.id, entry.id) IS NOT NULL AND {IS_ANNOUNCED}
    ), targets AS (
        -- Each of them once for the investor's mailbox, and once for each of the investor's enabled endpoints.
        SELECT announced.*, NULL::bigint AS endpoint_id
        FROM announced JOIN loans_investor ON loans_investor.id = investor_id JOIN loans_user ON loans_user.id = user_id
        WHERE email <> ''
        UNION ALL
        SELECT announced.*, endpoint.id
        FROM announced JOIN loans_webhookendpoint AS endpoint ON endpoint.investor_id = announced.investor_id AND enabled
    ), waiting AS (
        -- How many e-mails already wait for each of these investors.
        SELECT investor_id, count(*) AS number FROM loans_delivery
        WHERE status = 'waiting' AND endpoint_id IS NULL AND investor_id IN (SELECT investor_id FROM announced)
        GROUP BY investor_id
    ), deliveries AS (
        -- One delivery for each. E-mails to one investor that are many become due one after the other, so that those to others come
        -- in between; the rest is due at once. A delivery that exists already stays as it is.
        INSERT INTO loans_delivery
            (investor_id, transition_id, reservation_id, waiting_entry_id, endpoint_id, status, attempts, created_at, next_attempt_at,
            last_error)
        SELECT investor_id, id, reservation_id, waiting_entry_id, endpoint_id, 'waiting', 0, at,
            at + %(spacing)s::interval * CASE WHEN endpoint_id IS NULL THEN greatest(0, before - %(at_once)s) ELSE 0 END, ''
        FROM (
            SELECT targets.*, COALESCE(waiting.number, 0) - 1
                + row_number() OVER (PARTITION BY targets.investor_id, endpoint_id ORDER BY txid, id) AS before
            FROM targets LEFT JOIN waiting USING (investor_id)
        ) AS in_turn, (SELECT COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at) AS present
        ORDER BY txid, id, endpoint_id
        ON CONFLICT DO NOTHING
    ), advanced AS (
        -- The cursor moves to the last transition that was read.
        UPDATE loans_outboxcursor SET txid = last.txid, transition_id = last.id
        FROM (SELECT txid, id FROM unread ORDER BY txid DESC, id DESC LIMIT 1) AS last
        WHERE loans_outboxcursor.id = %(cursor)s
    )
    SELECT count(*) FROM unread
"""


def fan_out(now: datetime | None = None, *, batch: int = BATCH) -> int:
    """Make the deliveries of the next `batch` transitions of history, and return how many transitions were read.

    Returns 0 at the end of history, and while another run reads it. Where the database was restored, or a standby took over, open a
    review item and read on. A transition that was read already makes no second delivery.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        _make_cursor()
        cursor.execute(_LOCK_CURSOR, [_CURSOR])
        position = cursor.fetchone()
        if position and position[-2] != position[-1]:
            _move_to_server(position[-2], position[-1], now)
            cursor.execute(_LOCK_CURSOR, [_CURSOR])
            position = cursor.fetchone()
        if not position:
            return 0
        txid, transition_id, after_id, up_to_id, *_ = position
        values: dict[str, Any] = {"cursor": _CURSOR, "txid": txid, "id": transition_id, "batch": batch, "now": now}
        values |= {"after_id": after_id, "up_to_id": up_to_id, "at_once": EMAILS_AT_ONCE, "spacing": EMAIL_SPACING} | ANNOUNCED_EVENTS
        cursor.execute(_FAN_OUT, values)
        (transitions_read,) = cursor.fetchone()
        if up_to_id is not None and transitions_read < batch:
            cursor.execute(_BEGIN_WITH_OWN_NUMBERS, [_CURSOR])
        return int(transitions_read)


def _move_to_server(before: str, present: str, now: datetime | None) -> None:
    """Let the cursor read on after the database was restored, and tell staff. The first server of all is only noted."""
    with connection.cursor() as cursor:
        cursor.execute(_MOVE_TO_SERVER, {"cursor": _CURSOR, "server": present})
        has_other_numbers, newest_at = cursor.fetchone()
    if not (before or has_other_numbers):
        return
    newest = f"{newest_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if newest_at else "none"
    detail = (
        f"The database was restored, or a standby took over. Before it was system {before or 'unknown'}; now it is {present}. "
        f"What happened after its newest transition ({newest}) may be lost. Messages go on by themselves. "
        "Run `manage.py after_restore`, and do what docs/operations.md says under After a restore."
    )
    logger.warning(detail)
    open_review_item("restored", detail, at=database_now(now))


def read_elsewhere_up_to() -> int:
    """Return the id up to which history has the transaction numbers of other servers; 0 if it has none."""
    cursor = OutboxCursor.objects.filter(pk=_CURSOR).first()
    return (cursor.up_to_id or cursor.after_id) if cursor else 0


def _make_cursor() -> None:
    OutboxCursor.objects.bulk_create([OutboxCursor(pk=_CURSOR)], ignore_conflicts=True)


def begin_sending(lease: timedelta, now: datetime | None = None) -> bool:
    """Return whether this run may send deliveries. No other one may until `end_sending`, or until the lease is over."""
    _make_cursor()
    at = database_now(now)
    free = Q(sending_until=None) | Q(sending_until__lte=at)
    return bool(OutboxCursor.objects.filter(free, pk=_CURSOR).update(sending_until=at + lease))


def end_sending() -> None:
    """Let another run send deliveries."""
    OutboxCursor.objects.filter(pk=_CURSOR).update(sending_until=None)


def fan_out_all(now: datetime | None = None) -> None:
    """Make the deliveries of all of history so far, in at most MOST_BATCHES batches."""
    for _ in range(MOST_BATCHES):
        if not fan_out(now):
            break
