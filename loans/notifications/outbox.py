"""How do investors hear of what happened? History is the outbox: what it recorded is read on from here and delivered.

`fan_out` reads history in the order of its transactions and makes a delivery for each mailbox and endpoint that is to
hear of a step, each once. `deliver_due` sends what is due, at least once, in order for each reservation and target.
Nothing is sent inside a transaction.
"""

import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import Prefetch
from django.template.loader import render_to_string

from loans.domain.states import Direction, Event, TransferEvent
from loans.ledger.review_items import open_review_item
from loans.models import Delivery, DeliveryStatus, OutboxCursor, Transfer, Transition
from loans.notifications import backoff, webhooks
from loans.notifications.messages import OF_RESERVATION, OF_TRANSFER, Announcement
from peerloans import safe_http
from peerloans.api.renderers import as_json
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

BATCH = 1_000
MOST_BATCHES = 100  # A hundred thousand steps; a run that finds more leaves them to the next one.
RUN_SECONDS = 45.0  # after which a run begins no further attempt, so that it ends before the next but one begins
SLOTS = 32  # attempts at once; nearly all of an attempt is waiting for the other side
SLOTS_OF_TARGET = 4  # so that one that does not answer leaves room for the others
LEASE = timedelta(minutes=2)  # An attempt takes some seconds; one that was begun so long ago was killed.

_NAMESPACE = uuid.UUID("6a4c1a7e-0d7e-4a57-9b53-6d2c1b1a4a0f")


# --- Reading history on -------------------------------------------------------------------------------------------------
# Rows become visible in the order of commits, not of their ids, so a cursor over ids alone would skip some. It goes
# by (txid, id), and only as far as the oldest transaction that still runs: beyond it nothing new can appear any more.
# Transactions that cannot write history here, those of other databases and of autovacuum, are not waited for.
_FAN_OUT = """
    WITH running AS (
        SELECT xid FROM pg_snapshot_xip(pg_current_snapshot()) AS xid
        WHERE NOT EXISTS (
            SELECT FROM pg_stat_activity
            WHERE backend_xid = xid::xid AND (datname <> current_database() OR backend_type = 'autovacuum worker')
        )
    ), steps AS MATERIALIZED (
        SELECT * FROM loans_transition
        WHERE (txid, id) > (%(txid)s::xid8, %(id)s)
            AND txid < COALESCE((SELECT xid FROM running ORDER BY xid LIMIT 1), pg_snapshot_xmax(pg_current_snapshot()))
        ORDER BY txid, id LIMIT %(batch)s
    ), told AS (
        SELECT steps.txid, steps.id, steps.reservation_id, claim.investor_id
        FROM steps JOIN loans_reservation AS claim ON claim.id = steps.reservation_id
        WHERE CASE WHEN transfer_id IS NULL THEN event = ANY(%(of_reservation)s) ELSE event = ANY(%(of_transfer)s) END
    ), deliveries AS (
        INSERT INTO loans_delivery
            (transition_id, reservation_id, endpoint_id, status, attempts, created_at, next_attempt_at, last_error)
        SELECT id, reservation_id, endpoint_id, 'waiting', 0, at, at, ''
        FROM (
            SELECT told.*, NULL::bigint AS endpoint_id
            FROM told JOIN loans_investor ON loans_investor.id = investor_id JOIN loans_user ON loans_user.id = user_id
            WHERE email <> ''
            UNION ALL
            SELECT told.*, endpoint.id
            FROM told JOIN loans_webhookendpoint AS endpoint ON endpoint.investor_id = told.investor_id AND enabled
        ) AS targets, (SELECT COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at) AS present
        ORDER BY txid, id, endpoint_id
        ON CONFLICT DO NOTHING
    ), moved AS (
        UPDATE loans_outboxcursor SET txid = last.txid, transition_id = last.id
        FROM (SELECT txid, id FROM steps ORDER BY txid DESC, id DESC LIMIT 1) AS last
        WHERE loans_outboxcursor.id = %(cursor)s
    )
    SELECT count(*) FROM steps
"""
_LOCK_CURSOR = """
    SELECT txid::text, transition_id, txid >= pg_current_xact_id() FROM loans_outboxcursor WHERE id = %s FOR UPDATE SKIP LOCKED
"""
_CURSOR = 1


class HistoryMoved(Exception):
    """History was restored from a dump into a server whose transactions are numbered anew, so its order is lost.

    The remedy reads a little of history again, which makes no delivery twice.
    """

    def __init__(self) -> None:
        super().__init__(
            "History was restored from a dump into another server, whose transaction numbers are lower. "
            "Nothing is announced until you run: "
            "ALTER TABLE loans_transition ALTER txid TYPE xid8 USING '1'::xid8; "
            "UPDATE loans_outboxcursor SET txid = '1', "
            "transition_id = COALESCE((SELECT max(transition_id) FROM loans_delivery), 0) - 1000;"
        )


def fan_out(now: datetime | None = None, *, batch: int = BATCH) -> int:
    """Make the deliveries for the next `batch` steps of history; returns how many it read, 0 while another run does so."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        OutboxCursor.objects.bulk_create([OutboxCursor(pk=_CURSOR)], ignore_conflicts=True)
        # The lock comes by a statement of its own, so that the reading one sees all that was committed before it.
        cursor.execute(_LOCK_CURSOR, [_CURSOR])
        reached = cursor.fetchone()
        if not reached:
            return 0
        txid, transition_id, ahead = reached
        if ahead:
            raise HistoryMoved
        values: dict[str, Any] = {"cursor": _CURSOR, "txid": txid, "id": transition_id, "batch": batch, "now": now}
        values |= {"of_reservation": list(map(str, OF_RESERVATION)), "of_transfer": list(map(str, OF_TRANSFER))}
        cursor.execute(_FAN_OUT, values)
        (read,) = cursor.fetchone()
        return int(read)


# --- Claiming what is due -------------------------------------------------------------------------------------------------
# A claim pushes `next_attempt_at` beyond the attempt, so nobody else takes it meanwhile, and should we die, somebody
# does later. What waits behind an earlier delivery of the same reservation and target is not due. Each target has a
# lane with room for a few; of what the lanes offer, that goes first which has failed least.
_CLAIM = """
    WITH present AS (
        SELECT COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at
    ), lanes AS (
        SELECT target, %(slots_of_target)s - COALESCE(taken, 0) AS room
        FROM (SELECT id AS target FROM loans_webhookendpoint UNION ALL SELECT 0) AS targets
        LEFT JOIN unnest(%(targets)s::bigint[], %(taken)s::int[]) AS busy(target, taken) USING (target)
    ), due AS (
        SELECT offered.* FROM lanes, LATERAL (
            SELECT id, attempts, next_attempt_at FROM loans_delivery AS delivery
            WHERE COALESCE(endpoint_id, 0) = target AND status = 'waiting' AND next_attempt_at <= (SELECT at FROM present)
                AND NOT EXISTS (
                    SELECT FROM loans_delivery AS earlier
                    WHERE earlier.reservation_id = delivery.reservation_id AND earlier.status = 'waiting'
                        AND COALESCE(earlier.endpoint_id, 0) = target AND earlier.id < delivery.id
                )
            ORDER BY next_attempt_at, id LIMIT room
        ) AS offered
        ORDER BY attempts, next_attempt_at, id LIMIT %(slots)s
    ), free AS MATERIALIZED (
        SELECT id FROM loans_delivery
        WHERE id IN (SELECT id FROM due) AND status = 'waiting' AND next_attempt_at <= (SELECT at FROM present)
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
    UPDATE loans_delivery SET attempts = attempts + 1, next_attempt_at = (SELECT at FROM present) + %(lease)s
    FROM free WHERE loans_delivery.id = free.id RETURNING loans_delivery.id
"""


def take_due_deliveries(now: datetime | None = None, *, in_flight: Iterable[Delivery] = ()) -> list[Delivery]:
    """Take what is due and fits beside `in_flight`, with all that sending it needs to know, in order."""
    busy = Counter(delivery.target for delivery in in_flight)
    values: dict[str, Any] = {
        "now": now,
        "slots": SLOTS - busy.total(),
        "slots_of_target": SLOTS_OF_TARGET,
        "targets": list(busy.keys()),
        "taken": list(busy.values()),
        "lease": LEASE,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        ids = [row[0] for row in cursor.fetchall()]
    inbound = Transfer.objects.filter(direction=Direction.INBOUND, payment=1)
    related = ("transition__transfer", "reservation__loan", "reservation__investor__user", "endpoint")
    claimed = Delivery.objects.filter(pk__in=ids).select_related(*related)
    return list(claimed.prefetch_related(Prefetch("reservation__transfers", inbound)))


# --- Sending ------------------------------------------------------------------------------------------------------------
@dataclass
class Outcome:
    """What a run did."""

    sent: int = 0
    failed: int = 0
    given_up: int = 0


def deliver_due(now: datetime | None = None) -> Outcome:
    """Read history on and send what is due, until nothing is due or the run's time is over.

    What fails is tried again later, with growing waits; what has failed for three days is a review item for staff.
    """
    _read_on(now)
    outcome = Outcome()
    stop_at = time.monotonic() + RUN_SECONDS
    in_flight: dict[Future[None], Delivery] = {}
    with ThreadPoolExecutor(SLOTS) as pool:
        while True:
            if time.monotonic() < stop_at:
                in_flight |= {pool.submit(send, delivery): delivery for delivery in take_due_deliveries(now, in_flight=in_flight.values())}
            if not in_flight:
                return outcome
            for attempt in wait(in_flight, return_when=FIRST_COMPLETED).done:
                _record(in_flight.pop(attempt), attempt.exception(), outcome, now)


def _read_on(now: datetime | None) -> None:
    try:
        for _ in range(MOST_BATCHES):
            if not fan_out(now):
                break
    except HistoryMoved as problem:
        logger.error("%s", problem)
        open_review_item("job_failed", str(problem), at=database_now(now))


def send(delivery: Delivery) -> None:
    """Make one attempt, or raise whatever stood against it. Runs beside others, so it asks the database for nothing."""
    if delivery.endpoint is None:
        _send_email(delivery)
    elif not delivery.endpoint.enabled:
        raise safe_http.Refused("The endpoint is disabled.")
    else:
        webhooks.send(
            url=delivery.endpoint.url,
            secret=delivery.endpoint.secret,
            message_id=message_id(delivery.transition),
            body=body(delivery),
        )


def _record(delivery: Delivery, error: BaseException | None, outcome: Outcome, now: datetime | None) -> None:
    at = database_now(now)
    waiting = Delivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.WAITING)
    if error is None:
        outcome.sent += waiting.update(status=DeliveryStatus.SENT, next_attempt_at=None, ended_at=at, last_error="")
        return
    said = (str(error) or type(error).__name__)[:500]
    logger.info("Delivery %s to %s failed: %s", delivery.pk, delivery.endpoint or "a mailbox", said)
    # Where our lease ran out and somebody else has taken it since, what they find out counts.
    ours = waiting.filter(attempts=delivery.attempts)
    jitter = random.random()  # noqa: S311
    again_at = backoff.next_attempt(created_at=delivery.created_at, failed_at=at, attempts=delivery.attempts, jitter=jitter)
    if again_at:
        outcome.failed += ours.update(next_attempt_at=again_at, last_error=said)
        return
    with transaction.atomic():
        if ours.update(status=DeliveryStatus.GIVEN_UP, next_attempt_at=None, ended_at=at, last_error=said):
            outcome.given_up += 1
            where = f"to {delivery.endpoint}" if delivery.endpoint else "by e-mail"
            detail = f"{announcement(delivery.transition).type} could not be delivered {where} for three days. {said}"
            open_review_item(
                "delivery_given_up", detail, at=at, loan_id=delivery.reservation.loan_id, reservation_id=delivery.reservation_id
            )


def send_again(deliveries: Iterable[Delivery], now: datetime | None = None) -> int:
    """Have deliveries that were given up tried once more; returns how many."""
    again = Delivery.objects.filter(pk__in=[delivery.pk for delivery in deliveries], status=DeliveryStatus.GIVEN_UP)
    return again.update(status=DeliveryStatus.WAITING, next_attempt_at=database_now(now), ended_at=None)


# --- What is said -------------------------------------------------------------------------------------------------------
# All of it comes from the transition and from what never changes, so every attempt says the same.
def announcement(transition: Transition) -> Announcement:
    if transition.transfer_id:
        return OF_TRANSFER[TransferEvent(transition.event)]
    return OF_RESERVATION[Event(transition.event)]


def message_id(transition: Transition) -> str:
    """The message's own name, the same on every attempt and for every endpoint."""
    return f"msg_{uuid.uuid5(_NAMESPACE, str(transition.pk)).hex}"


def facts(delivery: Delivery) -> dict[str, Any]:
    """What a message tells of the step. `reference` is what stands on the payment that it is about, if any."""
    step, reservation = delivery.transition, delivery.reservation
    transfer = step.transfer
    if step.event == Event.TRANSFER_STARTED:
        transfer = next((inbound for inbound in reservation.transfers.all() if inbound.created_at == step.at), None)
    return {
        "reservation": reservation.pk,
        "loan": reservation.loan.reference,
        "event": step.event,
        "from": step.from_state or None,
        "to": step.to_state,
        "amount": step.amount,
        "expires_at": step.deadline,
        "reference": transfer.reference if transfer else None,
        "method": (transfer.method or None) if transfer else None,
        "at": step.at,
    }


def body(delivery: Delivery) -> str:
    """The JSON of a webhook."""
    said = announcement(delivery.transition)
    message = {"type": said.type, "timestamp": delivery.transition.at, "data": facts(delivery)}
    return as_json(message).decode()


def _send_email(delivery: Delivery) -> None:
    said, investor = announcement(delivery.transition), delivery.reservation.investor
    loan = delivery.reservation.loan
    words = facts(delivery) | {"why": said.why, "investor": investor.name, "title": loan.title}
    text = render_to_string(f"loans/email/{said.template}.txt", words)
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip(">")
    EmailMessage(
        subject=said.subject.format(loan=loan.reference),
        body=text,
        to=[investor.user.email],
        headers={"Message-ID": f"<{message_id(delivery.transition)}@{domain}>"},
    ).send()
