"""Make the e-mails to those who watch a loan that has opened, or of which dollars are available again."""

from datetime import datetime
from typing import Any

from django.db import connection, transaction

from loans.domain.watches import QUIET
from loans.services.watches import AVAILABLE, note_availability
from peerloans.database.clock import database_now

BATCH = 500
"""E-mails of one run. At most so many go before those about money and deadlines."""

_IS_DUE = "ended_at IS NULL AND known_at < news_at AND (emailed_at IS NULL OR emailed_at <= %(at)s - %(quiet)s::interval)"
_NOTIFY = f"""
    WITH changed AS (
        -- The open loans that are watched, with the instant of the news: of the opening, or of dollars that are available.
        SELECT loan.id AS loan_id, opens_at, GREATEST(0, {AVAILABLE}) AS available,
            GREATEST(opens_at, CASE WHEN is_available THEN available_since END) AS news_at
        FROM loans_watchedloan JOIN loans_loan AS loan ON loan.id = loan_id
        WHERE status = 'open' AND opens_at <= %(at)s AND closes_at > %(at)s
    ), candidates AS (
        -- Their watchers who do not know it yet, but for those who had an e-mail and have not looked since. The oldest news first.
        SELECT id, opens_at, available, news_at FROM changed, LATERAL (
            SELECT watch.id FROM loans_watch AS watch
            JOIN loans_investor AS investor ON investor.id = investor_id JOIN loans_user ON loans_user.id = user_id
            WHERE watch.loan_id = changed.loan_id AND {_IS_DUE} AND is_active AND email <> ''
            ORDER BY known_at LIMIT %(batch)s
        ) AS of_loan
        ORDER BY news_at, id LIMIT %(batch)s
    ), due AS (
        -- Those that no other run takes at this moment, or took just before.
        SELECT watch.id, investor_id, gen_random_uuid() AS notice_id, available,
            CASE WHEN opens_at > known_at THEN 'opened' ELSE 'available' END AS event
        FROM candidates JOIN loans_watch AS watch USING (id) WHERE {_IS_DUE}
        ORDER BY watch.id FOR UPDATE OF watch SKIP LOCKED
    ), noted AS (
        UPDATE loans_watch AS watch SET known_at = %(at)s, emailed_at = %(at)s FROM due WHERE watch.id = due.id
    ), notices AS (
        INSERT INTO loans_watchnotice (id, watch_id, event, available, at) SELECT notice_id, id, event, available, %(at)s FROM due
    ), deliveries AS (
        INSERT INTO loans_delivery (investor_id, watch_notice_id, status, attempts, created_at, next_attempt_at, last_error)
        SELECT investor_id, notice_id, 'waiting', 0, %(at)s, %(at)s, '' FROM due ORDER BY id
    )
    SELECT count(*) FROM due
"""


def notify_watchers(now: datetime | None = None, *, batch: int = BATCH) -> int:
    """Make at most `batch` e-mails to those whose watched loans have opened or have dollars available, and return how many.

    The same transaction notes on each watch that its e-mail was made, so a run that is repeated, late, or beside another makes no second
    one. `loans/notifications/deliveries.py` sends them.
    """
    at = database_now(now)
    note_availability(None, at)
    values: dict[str, Any] = {"at": at, "quiet": QUIET, "batch": batch}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_NOTIFY, values)
        (count,) = cursor.fetchone()
    return int(count)
