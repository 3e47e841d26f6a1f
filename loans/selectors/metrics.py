"""What do operators watch of the market and its database? Counted where an index makes it cheap."""

from collections.abc import Iterator

from django.db import connection

from peerloans.monitoring.figures import Figure

# Ended reservations are counted by their loans' places, which every reservation takes one of.
_RESERVATIONS = """
    WITH live AS (
        SELECT state, count(*) AS reservations, sum(amount) AS dollars FROM loans_reservation
        WHERE state IN ('reserved', 'pending') GROUP BY state
    )
    SELECT state, reservations, dollars FROM live
    UNION ALL
    SELECT 'ended', (SELECT COALESCE(sum(last_number), 0) FROM loans_loan) - (SELECT COALESCE(sum(reservations), 0) FROM live), 0
"""
_REVIEW_ITEMS = "SELECT kind, count(*) FROM loans_reviewitem WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind"
_DELIVERIES = """
    SELECT CASE WHEN endpoint_id IS NULL THEN 'email' ELSE 'webhook' END, extract(epoch FROM clock_timestamp() - min(created_at))
    FROM loans_delivery WHERE status = 'waiting' GROUP BY 1 ORDER BY 1
"""
_UNREAD = """
    SELECT extract(epoch FROM clock_timestamp() - at) FROM loans_transition
    WHERE (txid, id) > (SELECT txid, transition_id FROM loans_outboxcursor) ORDER BY txid, id LIMIT 1
"""

_CONNECTIONS = """
    SELECT COALESCE(state, 'unknown'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1 ORDER BY 1
"""


def market_figures() -> Iterator[Figure]:
    """As they are now. Raises django.db.Error."""
    reservations = {"reserved": (0, 0), "pending": (0, 0)} | {state: values for state, *values in _rows(_RESERVATIONS)}
    yield Figure(
        "reservations",
        "Reservations by state; ended: settled or canceled.",
        "state",
        {name: float(count) for name, (count, _) in reservations.items()},
    )
    dollars = {name: float(sum_) for name, (_, sum_) in reservations.items() if name != "ended"}
    yield Figure("claimed_dollars", "Dollars of the live reservations.", "state", dollars)
    yield Figure("review_items_open", "What waits for a person.", "kind", {kind: float(count) for kind, count in _rows(_REVIEW_ITEMS)})
    ages = {"email": 0.0, "webhook": 0.0} | {channel: float(age) for channel, age in _rows(_DELIVERIES)}
    yield Figure("outbox_age_seconds", "Age of the oldest message that waits.", "channel", ages)
    unread = max(0.0, float(next((age for (age,) in _rows(_UNREAD)), 0)))
    yield Figure("outbox_unread_seconds", "Age of the oldest step that has not been announced.", "", {"": unread})
    connections = {state: float(count) for state, count in _rows(_CONNECTIONS)}
    yield Figure("database_connections", "Connections to the database.", "state", connections)


def _rows(statement: str) -> list[tuple[str, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
