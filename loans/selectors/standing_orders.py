"""Read standing orders: the line, what the opening of a loan gives to it, what each order has live or settled, and which loans match.

`at` is the instant to read at.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections

from loans.domain.errors import NotFound
from loans.domain.investor_limits import LET_GO_WITHIN
from loans.domain.standing_orders import Criteria, Obstacle, OrderInLine, Outcome, automated_dollars, outcomes, unmet_criterion
from loans.domain.states import PUBLIC_STATUSES, StandingOrderEvent, StandingOrderState
from loans.models import Loan, StandingOrder, StandingOrderTransition
from loans.selectors.investor_limits import MAY_RESERVE

PREVIEWED = timedelta(days=180)
MOST_PREVIEWED = 500  # loans

# The dollars that are live or settled through each order.
_USED = """
    SELECT standing_order_id, sum(CASE WHEN state = 'settled' THEN settled_amount ELSE amount END) FROM loans_reservation
    WHERE standing_order_id = ANY(%(order_ids)s)
        AND (state = 'settled' OR (state IN ('reserved', 'pending') AND (expires_at IS NULL OR expires_at > %(at)s)))
    GROUP BY standing_order_id
"""
_MAY_RESERVE = f"""
    SELECT entry.investor_id, may_reserve.dollars
    FROM unnest(%(investor_ids)s::bigint[]) AS entry (investor_id), loans_loan AS loan, LATERAL ({MAY_RESERVE}) AS may_reserve
    WHERE loan.id = %(loan_id)s
"""
# How many active orders come before each of these, which are active too.
_POSITIONS = """
    SELECT own.id, 1 + (SELECT count(*) FROM loans_standingorder WHERE state = 'active' AND place < own.place)
    FROM loans_standingorder AS own WHERE own.id = ANY(%s) AND own.state = 'active'
"""


def line(loan: Loan, at: datetime) -> list[OrderInLine[StandingOrder]]:
    """Return the active orders in the order of the line, with what they want of the loan."""
    orders = list(StandingOrder.objects.filter(state=StandingOrderState.ACTIVE).order_by("place"))
    unmet = {order.pk: unmet_criterion(order, loan) for order in orders}
    used = used_dollars([order.pk for order in orders if not unmet[order.pk]], at)
    return [
        OrderInLine(order, order.investor_id, order.amount, order.at_least, order.cap - used.get(order.pk, Decimal(0)), unmet[order.pk])
        for order in orders
    ]


def matching_investors(line: Iterable[OrderInLine[StandingOrder]]) -> set[int]:
    """Return the ids of the investors whose orders want the loan."""
    return {each.investor_id for each in line if not each.unmet}


def opening_outcomes(loan: Loan, line: Collection[OrderInLine[StandingOrder]], at: datetime) -> list[Outcome[StandingOrder]]:
    """Return what the opening of the loan would give to each order of its line at that instant."""
    return outcomes(
        line,
        automated=automated_dollars(loan.amount, loan.automated_share),
        amount=loan.amount,
        minimum=loan.minimum,
        may_reserve=_may_reserve(loan.pk, matching_investors(line), at),
    )


def _may_reserve(loan_id: int, investor_ids: Collection[int], at: datetime) -> dict[int, Decimal]:
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"loan_id": loan_id, "investor_ids": sorted(investor_ids), "at": at, "let_go_within": LET_GO_WITHIN}
        cursor.execute(_MAY_RESERVE, values)
        return dict(cursor.fetchall())


def used_dollars(order_ids: Iterable[UUID], at: datetime, using: str = DEFAULT_DB_ALIAS) -> dict[UUID, Decimal]:
    """Return the dollars that are live or settled through each of these orders. An order without any is left out."""
    with connections[using].cursor() as cursor:
        cursor.execute(_USED, {"order_ids": list(order_ids), "at": at})
        return dict(cursor.fetchall())


def line_positions(order_ids: Iterable[UUID], using: str = DEFAULT_DB_ALIAS) -> dict[UUID, int]:
    """Return where those of these orders stand that are active; 1 is served first."""
    with connections[using].cursor() as cursor:
        cursor.execute(_POSITIONS, [list(order_ids)])
        return dict(cursor.fetchall())


def order_of_investor(investor_id: int, order_id: UUID) -> StandingOrder:
    """Return the order.

    Raises:
        NotFound: there is none, or it is another investor's.
    """
    order = StandingOrder.objects.filter(pk=order_id, investor_id=investor_id).first()
    if not order:
        raise NotFound(f"There is no standing order {order_id}.")
    return order


def recent_openings(order: StandingOrder, most: int, using: str = DEFAULT_DB_ALIAS) -> list[StandingOrderTransition]:
    """Return what the newest openings gave to the order, at most `most`, the newest first."""
    opened = StandingOrderTransition.objects.using(using).filter(
        order=order, event__in=[StandingOrderEvent.PLACED, StandingOrderEvent.PASSED_OVER]
    )
    return list(opened.select_related("loan").order_by("-id")[:most])


@dataclass(frozen=True)
class PreviewedLoan:
    """A loan that was announced or opened lately, and the first criterion that it does not meet; None where it matches."""

    loan: Loan
    unmet: Obstacle | None


def preview(criteria: Criteria, at: datetime, using: str = DEFAULT_DB_ALIAS) -> list[PreviewedLoan]:
    """Return the public loans of the last 180 days and whether they meet the criteria, the newest first, at most 500."""
    loans = Loan.objects.using(using).filter(status__in=PUBLIC_STATUSES, opens_at__gt=at - PREVIEWED).order_by("-opens_at", "-pk")
    return [PreviewedLoan(loan, unmet_criterion(criteria, loan)) for loan in loans[:MOST_PREVIEWED]]


@dataclass(frozen=True)
class OpeningForecast:
    """What standing orders would do at a loan's opening: how many want it, with how many dollars, and who is served. Dollars."""

    share: Decimal
    wanting: int
    wanted: Decimal
    served: int
    given: Decimal


def forecast_opening(loan: Loan, at: datetime) -> OpeningForecast:
    """Return what the line would get of the loan if it opened at that instant. Nothing is locked, so it can change until then."""
    orders = line(loan, at)
    results = opening_outcomes(loan, orders, at)
    wanting = [each for each, result in zip(orders, results, strict=True) if result.amount or result.obstacle == Obstacle.LINE]
    return OpeningForecast(
        share=automated_dollars(loan.amount, loan.automated_share),
        wanting=len(wanting),
        wanted=sum((min(each.amount, each.under_cap) for each in wanting), Decimal("0.00")),
        served=sum(1 for result in results if result.amount),
        given=sum((result.amount for result in results), Decimal("0.00")),
    )
