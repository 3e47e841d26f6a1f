"""Send the deliveries that are due: take them, send them, and record how each attempt ended.

A delivery is sent at least once. Deliveries of one reservation, or one entry of a waiting list, to one target are sent in the order of
history. A target is an investor's webhook endpoint, or all mailboxes together. A message is never sent inside a transaction.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Prefetch

from loans.domain.states import Direction
from loans.ledger.review_items import open_review_item
from loans.models import Delivery, DeliveryStatus, Transfer
from loans.notifications import backoff, emails, outbox, webhooks
from loans.notifications.messages import message_body, message_id, message_of
from peerloans import safe_http
from peerloans.api.renderers import as_json
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

RUN_SECONDS = 45.0  # A run starts no attempt after this, so that it ends before the run after the next begins.
HISTORY_SECONDS = 1.0  # A run reads history on after so long, since a slow target can make it long.
RUN_LEASE = timedelta(seconds=75)  # If a run has not ended by then, its worker was killed.
ATTEMPTS_AT_ONCE = 32  # An attempt spends nearly all of its time waiting for the other side.
ATTEMPTS_AT_ONCE_PER_TARGET = 4  # A target that does not answer leaves the rest to the others.
LEASE = timedelta(minutes=2)  # An attempt takes some seconds; if it has not ended by then, its worker was killed.


@dataclass
class DeliveryCounts:
    """How many attempts of a run ended in which way."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0


def deliver_due(now: datetime | None = None) -> DeliveryCounts:
    """Make the deliveries of new transitions, and send deliveries until none is due or the run's time is over.

    A failed delivery is tried again later, after growing waits. One that has failed for three days becomes a review item. Where
    another run is sending, do nothing: that run reads history on and sends what becomes due.
    """
    counts = DeliveryCounts()
    if outbox.begin_sending(RUN_LEASE, now):
        try:
            _send_until_none_is_due(counts, now)
        finally:
            outbox.end_sending()
    return counts


def _send_until_none_is_due(counts: DeliveryCounts, now: datetime | None) -> None:
    read_history_at, stop_at = 0.0, time.monotonic() + RUN_SECONDS
    running: dict[Future[None], Delivery] = {}
    with ThreadPoolExecutor(ATTEMPTS_AT_ONCE) as pool:
        while True:
            if time.monotonic() >= read_history_at:
                outbox.fan_out_all(now)
                read_history_at = time.monotonic() + HISTORY_SECONDS
            if time.monotonic() < stop_at:
                for delivery in take_due(now, running=running.values()):
                    running[pool.submit(send, delivery)] = delivery
            if not running:
                return
            ended, _ = wait(running, timeout=HISTORY_SECONDS, return_when=FIRST_COMPLETED)
            for attempt in ended:
                delivery, error = running.pop(attempt), attempt.exception()
                if error is None:
                    _record_sent(delivery, counts, now)
                else:
                    _record_failed(delivery, error, counts, now)


# --- Take ---------------------------------------------------------------------------------------------------------------
# Taking a delivery moves `next_attempt_at` to the end of a lease. No other worker takes it before that, and if this worker is
# killed, another takes it afterwards.
_TAKE_DUE = """
    WITH present AS (
        SELECT COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at
    ), targets AS (
        -- Each target, 0 for the mailboxes, with how many more attempts it may have at once.
        SELECT target, %(attempts_per_target)s - COALESCE(running, 0) AS attempts_left
        FROM (SELECT id AS target FROM loans_webhookendpoint UNION ALL SELECT 0) AS every_target
        LEFT JOIN unnest(%(busy_targets)s::bigint[], %(running)s::int[]) AS busy(target, running) USING (target)
    ), due AS (
        -- The longest due of each target, as many as it may have. A delivery is not due while an earlier one of the same
        -- reservation (or entry of a waiting list) and target waits. Where these are more than may run, those with the fewest failed
        -- attempts go first.
        SELECT candidate.* FROM targets, LATERAL (
            SELECT id, attempts, next_attempt_at FROM loans_delivery AS delivery
            WHERE COALESCE(endpoint_id, 0) = target AND status = 'waiting' AND next_attempt_at <= (SELECT at FROM present)
                AND NOT EXISTS (
                    SELECT FROM loans_delivery AS earlier
                    WHERE earlier.reservation_id = delivery.reservation_id AND earlier.status = 'waiting'
                        AND COALESCE(earlier.endpoint_id, 0) = target AND earlier.id < delivery.id
                ) AND NOT EXISTS (
                    SELECT FROM loans_delivery AS earlier
                    WHERE earlier.waiting_entry_id = delivery.waiting_entry_id AND earlier.status = 'waiting'
                        AND COALESCE(earlier.endpoint_id, 0) = target AND earlier.id < delivery.id
                )
            ORDER BY next_attempt_at, id LIMIT attempts_left
        ) AS candidate
        ORDER BY attempts, next_attempt_at, id LIMIT %(all_attempts_left)s
    ), locked AS MATERIALIZED (
        -- Those that no other worker takes at this moment, or took just before.
        SELECT id FROM loans_delivery
        WHERE id IN (SELECT id FROM due) AND status = 'waiting' AND next_attempt_at <= (SELECT at FROM present)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE loans_delivery SET attempts = attempts + 1, next_attempt_at = (SELECT at FROM present) + %(lease)s
    FROM locked WHERE loans_delivery.id = locked.id RETURNING loans_delivery.id
"""


def take_due(now: datetime | None = None, *, running: Iterable[Delivery] = ()) -> list[Delivery]:
    """Take deliveries that are due, for as long as LEASE, and return them in the order of history with all that sending reads.

    Takes no more than may run beside the `running` ones.
    """
    running_by_target = Counter(delivery.target for delivery in running)
    values: dict[str, Any] = {
        "now": now,
        "all_attempts_left": ATTEMPTS_AT_ONCE - running_by_target.total(),
        "attempts_per_target": ATTEMPTS_AT_ONCE_PER_TARGET,
        "busy_targets": list(running_by_target.keys()),
        "running": list(running_by_target.values()),
        "lease": LEASE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_DUE, values)
        ids = [row[0] for row in cursor.fetchall()]
    subjects = ("reservation__loan", "waiting_entry__loan", "watch_notice__watch__loan")
    related = ("investor__user", "transition__transfer", *subjects, "endpoint")
    inbound = Transfer.objects.filter(direction=Direction.INBOUND)
    taken = Delivery.objects.filter(pk__in=ids).select_related(*related)
    return list(taken.prefetch_related(Prefetch("reservation__transfers", inbound)))


# --- Send ---------------------------------------------------------------------------------------------------------------
def send(delivery: Delivery) -> None:
    """Make one attempt. It runs beside others in a thread, so it must not use the database.

    Raises:
        Refused: the endpoint is disabled, or we do not call its address.
        Failed: the endpoint did not accept the message.
        OSError, SMTPException: the mail server did not.
    """
    if delivery.endpoint is None:
        emails.send(delivery)
    elif not delivery.endpoint.enabled:
        raise safe_http.Refused("The endpoint is disabled.")
    else:
        assert delivery.next_attempt_at  # noqa: S101 - for mypy: it is taken
        taken_at = delivery.next_attempt_at - LEASE  # by the database's clock, as the instant until which a former secret signs
        webhooks.send(
            url=delivery.endpoint.url,
            secrets=delivery.endpoint.secrets(taken_at),
            message_id=message_id(delivery.announced),
            body=as_json(message_body(delivery.announced, delivery.subject)).decode(),
        )


# --- Record -------------------------------------------------------------------------------------------------------------
def _record_sent(delivery: Delivery, counts: DeliveryCounts, now: datetime | None) -> None:
    waiting = Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.WAITING)
    counts.sent += waiting.update(status=DeliveryStatus.SENT, next_attempt_at=None, ended_at=database_now(now), last_error="")


def _record_failed(delivery: Delivery, error: BaseException, counts: DeliveryCounts, now: datetime | None) -> None:
    reason = (str(error) or type(error).__name__)[:500]
    logger.info("Delivery %s to %s failed: %s", delivery.pk, delivery.endpoint or "a mailbox", reason)
    failed_at = database_now(now)
    # If the lease ran out and another worker has taken the delivery since, that worker's result counts.
    still_ours = Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.WAITING, attempts=delivery.attempts)
    jitter = random.random()  # noqa: S311
    retry_at = backoff.next_attempt(created_at=delivery.created_at, failed_at=failed_at, attempts=delivery.attempts, jitter=jitter)
    if retry_at:
        counts.failed += still_ours.update(next_attempt_at=retry_at, last_error=reason)
        return
    with transaction.atomic():
        if still_ours.update(status=DeliveryStatus.GIVEN_UP, next_attempt_at=None, ended_at=failed_at, last_error=reason):
            counts.given_up += 1
            _open_review_item(delivery, reason, failed_at)


def _open_review_item(delivery: Delivery, reason: str, at: datetime) -> None:
    target = f"to {delivery.endpoint}" if delivery.endpoint else "by e-mail"
    detail = f"{message_of(delivery.announced).type} could not be delivered {target} for three days. {reason}"
    open_review_item("delivery_given_up", detail, at=at, loan_id=delivery.subject.loan_id, reservation_id=delivery.reservation_id)


def retry_given_up(deliveries: Iterable[Delivery], now: datetime | None = None) -> int:
    """Make those of the deliveries that were given up due again, and return how many they are."""
    given_up = Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries], status=DeliveryStatus.GIVEN_UP)
    return given_up.update(status=DeliveryStatus.WAITING, next_attempt_at=database_now(now), ended_at=None)
