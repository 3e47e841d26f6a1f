"""Read what operators watch of the market and its database, in queries that an index makes cheap."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import connection

from loans.models import ReviewItem
from peerloans.monitoring.figures import Figure

# Ended reservations are not counted row by row: every reservation took a number from its loan, and the live ones are few.
_RESERVATIONS = """
    WITH live AS (
        SELECT state, count(*) AS reservations, sum(amount) AS dollars FROM loans_reservation
        WHERE state IN ('reserved', 'pending') GROUP BY state
    )
    SELECT state, reservations, dollars FROM live
    UNION ALL
    SELECT 'ended', (SELECT COALESCE(sum(last_number), 0) FROM loans_loan) - (SELECT COALESCE(sum(reservations), 0) FROM live), 0
"""
_REVIEW_ITEMS = """
    SELECT kind, count(*), extract(epoch FROM clock_timestamp() - min(opened_at))
    FROM loans_reviewitem WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind
"""
_UNMATCHED = """
    SELECT COALESCE(sum(amount), 0) FROM loans_bankevent WHERE id IN (
        SELECT bank_event_id FROM loans_reviewitem WHERE kind = 'unknown_reference' AND resolved_at IS NULL
    )
"""
_OLDEST_DELIVERIES = """
    SELECT CASE WHEN endpoint_id IS NULL THEN 'email' ELSE 'webhook' END, extract(epoch FROM clock_timestamp() - min(created_at))
    FROM loans_delivery WHERE status = 'waiting' GROUP BY 1 ORDER BY 1
"""
_OLDEST_UNREAD = """
    SELECT extract(epoch FROM clock_timestamp() - at) FROM loans_transition
    WHERE (txid, id) > (SELECT txid, transition_id FROM loans_outboxcursor) AND id > (SELECT after_id FROM loans_outboxcursor)
        AND txid <= CASE WHEN (SELECT up_to_id FROM loans_outboxcursor) IS NULL
            THEN pg_snapshot_xmax(pg_current_snapshot()) ELSE '9223372036854775807'::xid8 END
    ORDER BY txid, id LIMIT 1
"""
_CONNECTIONS = """
    SELECT COALESCE(state, 'unknown'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1 ORDER BY 1
"""
# A transaction that locks a row of a table, or changes one, holds such a lock on the table. Of other roles' sessions a role sees
# the time only with the rights of pg_read_all_stats.
_LOAN_LOCKS = """
    SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid IN (
        SELECT pid FROM pg_locks
        WHERE locktype = 'relation' AND relation = 'loans_loan'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock') AND granted
    )
"""
_ARCHIVE = "SELECT COALESCE(last_failed_time > COALESCE(last_archived_time, '-infinity'), false)::int FROM pg_stat_archiver"


def market_figures() -> Iterator[Figure]:
    """Yield the present figures for operators: reservations, review items, the outbox and database connections.

    Raises:
        django.db.Error: the database does not answer.
    """
    reservations = {state: (count, dollars) for state, count, dollars in _rows(_RESERVATIONS)}
    counts = {state: reservations.get(state, (0, 0))[0] for state in ("reserved", "pending", "ended")}
    dollars = {state: reservations.get(state, (0, 0))[1] for state in ("reserved", "pending")}
    yield _figure("reservations", "Reservations by state; ended: settled or canceled.", "state", counts)
    yield _figure("claimed_dollars", "Dollars of the live reservations.", "state", dollars)
    review_items = {kind: (count, seconds) for kind, count, seconds in _rows(_REVIEW_ITEMS)}
    numbers = {kind: review_items.get(kind, (0, 0))[0] for kind in ReviewItem.KINDS}
    ages = {kind: review_items.get(kind, (0, 0))[1] for kind in ReviewItem.KINDS}
    yield _figure("review_items_open", "Open review items.", "kind", numbers)
    yield _figure("review_item_age_seconds", "Age of the oldest open review item.", "kind", ages)
    yield _figure(
        "unmatched_dollars", "Dollars of the bank's reports that name no transfer of ours and wait for staff.", "", _only(_UNMATCHED)
    )
    oldest_seconds = {"email": 0, "webhook": 0} | dict(_rows(_OLDEST_DELIVERIES))
    yield _figure("outbox_age_seconds", "Age of the oldest message that waits.", "channel", oldest_seconds)
    unread_seconds = max(0, next((seconds for (seconds,) in _rows(_OLDEST_UNREAD)), 0))
    yield _figure("outbox_unread_seconds", "Age of the oldest transition that has not been announced.", "", {"": unread_seconds})
    yield _figure("database_connections", "Connections to the database.", "state", dict(_rows(_CONNECTIONS)))
    description = "For how long the oldest transaction that locks or changes loans has run."
    yield _figure("loan_lock_age_seconds", description, "", _only(_LOAN_LOCKS))
    yield _figure("wal_archive_failing", "Whether PostgreSQL's last attempt to archive a file failed.", "", _only(_ARCHIVE))


def _figure(name: str, description: str, label: str, values: Mapping[str, Any]) -> Figure:
    return Figure(name, description, label, {key: float(value) for key, value in values.items()})


def _only(statement: str) -> dict[str, Any]:
    """Return the one value of a figure without a label."""
    ((value,),) = _rows(statement)
    return {"": value}


def _rows(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
