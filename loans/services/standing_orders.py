"""Let an investor keep standing orders: create, pause, resume and end them. The opening of a loan serves them.

The unit of work that opens a loan serves the line in the same transaction (`loans/ledger/unit_of_work.py`).
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from loans.domain.actors import Actor
from loans.domain.errors import BelowMinimum, Invalid
from loans.domain.loan_limits import LEAST_MINIMUM
from loans.domain.standing_orders import MOST_ORDERS
from loans.domain.states import StandingOrderEvent, StandingOrderState
from loans.ledger import locks
from loans.ledger.bulk_write import refuse_extra_decimals
from loans.ledger.standing_orders import change_order, insert_order
from loans.models import Investor, StandingOrder
from loans.selectors.offers import may_buy
from loans.selectors.standing_orders import order_of_investor
from loans.services.refusal_wording import refuse_more_than_asked, refuse_unless_accredited
from peerloans.database.clock import database_now
from peerloans.wording import dollars_text


def create_standing_order(
    *,
    investor: Investor,
    amount: Decimal,
    cap: Decimal,
    at_least: Decimal | None = None,
    states: Sequence[str] = (),
    metros: Sequence[str] = (),
    least_rate: Decimal | None = None,
    greatest_ltv: Decimal | None = None,
    longest_term_months: int | None = None,
    now: datetime | None = None,
) -> StandingOrder:
    """Keep a new standing order at the end of the line, and return it.

    It reserves `amount` dollars of each loan that opens and meets the criteria, and no fewer than `at_least`, by default all of `amount`.
    What is live or settled through it is at most `cap` dollars.

    Raises:
        Invalid: `at_least` is more than `amount` or `cap`, or the investor has 10 orders that have not ended.
        BelowMinimum: `at_least` is below $1,000, which no loan accepts.
        NotAccredited, Busy; ValueError: an amount has fractions of a cent.
    """
    least = amount if at_least is None else at_least
    refuse_more_than_asked(least, amount)
    if least < LEAST_MINIMUM:
        raise BelowMinimum(f"Take at least {dollars_text(LEAST_MINIMUM)} of a loan.", minimum=LEAST_MINIMUM)
    if cap < least:
        raise Invalid(f"The cap of {dollars_text(cap)} is less than {dollars_text(least)}, the least to take of a loan.")
    order = StandingOrder(
        investor=investor,
        states=sorted(set(states)),
        metros=sorted(set(metros)),
        least_rate=least_rate,
        greatest_ltv=greatest_ltv,
        longest_term_months=longest_term_months,
        amount=refuse_extra_decimals(amount),
        at_least=refuse_extra_decimals(least),
        cap=refuse_extra_decimals(cap),
    )
    with locks.short_transaction():
        locks.lock_standing_orders()
        at = database_now(now)
        refuse_unless_accredited(may_buy(investor.pk, at))
        if StandingOrder.objects.filter(investor=investor).exclude(state=StandingOrderState.ENDED).count() >= MOST_ORDERS:
            raise Invalid(f"You keep {MOST_ORDERS} standing orders already. End one first.")
        insert_order(order, actor=Actor("investor", investor.user_id), at=at)
    return order


def pause_standing_order(*, order_id: UUID, investor: Investor, now: datetime | None = None) -> StandingOrder:
    """Let an order reserve nothing until it is resumed. It keeps its place in the line. A repeat changes nothing.

    Raises:
        NotFound: there is no such order, or it is another investor's.
        IllegalTransition: it has ended.
        Busy.
    """
    return _change(order_id, investor, StandingOrderEvent.PAUSED, StandingOrderState.PAUSED, now)


def resume_standing_order(*, order_id: UUID, investor: Investor, now: datetime | None = None) -> StandingOrder:
    """Let a paused order reserve again. A repeat changes nothing.

    Raises:
        NotFound: there is no such order, or it is another investor's.
        IllegalTransition: it has ended.
        Busy.
    """
    return _change(order_id, investor, StandingOrderEvent.RESUMED, StandingOrderState.ACTIVE, now)


def end_standing_order(*, order_id: UUID, investor: Investor, now: datetime | None = None) -> StandingOrder:
    """End an order for good. Its reservations stay as they are. A repeat changes nothing.

    Raises:
        NotFound: there is no such order, or it is another investor's.
        Busy.
    """
    return _change(order_id, investor, StandingOrderEvent.ENDED, StandingOrderState.ENDED, now)


def _change(
    order_id: UUID, investor: Investor, event: StandingOrderEvent, state: StandingOrderState, now: datetime | None
) -> StandingOrder:
    with locks.short_transaction():
        locks.lock_standing_orders()
        order = order_of_investor(investor.pk, order_id)
        if order.state != state:
            change_order(order, event, actor=Actor("investor", investor.user_id), at=database_now(now))
    return order
