"""Write standing orders with their history, and find what the opening of a loan gives to each, under the lock of the line.

Only the ledger's unit of work makes their reservations.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Max

from loans.domain.actors import SYSTEM, Actor
from loans.domain.standing_orders import Outcome
from loans.domain.states import STANDING_ORDER_TRANSITIONS, StandingOrderEvent, StandingOrderState, state_after
from loans.ledger import locks
from loans.models import Loan, StandingOrder, StandingOrderTransition
from loans.selectors.standing_orders import line, matching_investors, opening_outcomes

_RECORD_OUTCOMES = """
    WITH outcome AS (
        SELECT * FROM unnest(%(order_ids)s::uuid[], %(amounts)s::numeric[], %(obstacles)s::text[], %(to_the_end)s::bool[])
            WITH ORDINALITY AS outcome (order_id, amount, obstacle, to_the_end, number)
    ), moved AS (
        -- Those that move get the next places, in their order.
        UPDATE loans_standingorder SET place = last.place + moving.number
        FROM (SELECT order_id, row_number() OVER (ORDER BY number) AS number FROM outcome WHERE to_the_end) AS moving,
            (SELECT max(place) AS place FROM loans_standingorder) AS last
        WHERE loans_standingorder.id = moving.order_id
        RETURNING loans_standingorder.id, loans_standingorder.place
    )
    INSERT INTO loans_standingordertransition
        (at, order_id, event, from_state, to_state, place, loan_id, amount, obstacle, actor)
    SELECT %(at)s, order_id, CASE WHEN outcome.amount > 0 THEN 'placed' ELSE 'passed_over' END, 'active', 'active',
        COALESCE(moved.place, own.place), %(loan_id)s, NULLIF(outcome.amount, 0), obstacle, %(actor)s
    FROM outcome JOIN loans_standingorder AS own ON own.id = order_id LEFT JOIN moved ON moved.id = order_id
    ORDER BY number
"""


def insert_order(order: StandingOrder, *, actor: Actor, at: datetime) -> None:
    """Insert a new standing order at the end of the line. The caller holds the lock of the line."""
    last = StandingOrder.objects.aggregate(last=Max("place"))["last"]
    order.state, order.place, order.created_at = StandingOrderState.ACTIVE, (last or 0) + 1, at
    order.save(force_insert=True)
    _record(order, StandingOrderEvent.CREATED, "", actor, at)


def change_order(order: StandingOrder, event: StandingOrderEvent, *, actor: Actor, at: datetime) -> None:
    """Pause, resume or end a standing order. The caller has read it under the lock of the line.

    Raises:
        IllegalTransition: the state of the order does not allow it.
    """
    from_state = StandingOrderState(order.state)
    order.state = state_after(STANDING_ORDER_TRANSITIONS, from_state, event)
    order.ended_at = at if order.state == StandingOrderState.ENDED else None
    order.save(update_fields=["state", "ended_at"])
    _record(order, event, from_state, actor, at)


def _record(order: StandingOrder, event: StandingOrderEvent, from_state: str, actor: Actor, at: datetime) -> None:
    StandingOrderTransition.objects.create(
        at=at,
        order=order,
        event=event,
        from_state=from_state,
        to_state=order.state,
        place=order.place,
        actor=actor.kind,
        user_id=actor.user_id,
    )


def record_outcomes(loan: Loan, outcomes: Sequence[Outcome[StandingOrder]], at: datetime) -> None:
    """Record what the loan's opening gave to each order, and move those to the end of the line that have to go there."""
    if not outcomes:
        return
    values: dict[str, Any] = {
        "order_ids": [outcome.order.pk for outcome in outcomes],
        "amounts": [outcome.amount for outcome in outcomes],
        "obstacles": [outcome.obstacle or "" for outcome in outcomes],
        "to_the_end": [outcome.to_the_end for outcome in outcomes],
        "at": at,
        "loan_id": loan.pk,
        "actor": SYSTEM.kind,
    }
    with connection.cursor() as cursor:
        cursor.execute(_RECORD_OUTCOMES, values)


def due_outcomes(loan: Loan, at: datetime) -> list[Outcome[StandingOrder]]:
    """Return what the loan's opening gives to each active order. Until the end of the transaction, the line and the investors are locked.

    The caller holds the lock of the loan.

    Raises:
        OperationalError: a lock does not come in time; `locks.short_transaction` translates it to Busy.
    """
    locks.lock_standing_orders()
    orders = line(loan, at)
    if investor_ids := matching_investors(orders):
        locks.lock_investors(investor_ids)
    return opening_outcomes(loan, orders, at)
