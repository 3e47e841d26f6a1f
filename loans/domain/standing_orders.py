"""Decide which standing orders a loan's opening serves, with how many dollars each, and who moves to the end of the line.

A standing order reserves of each loan that matches its criteria, at the opening and before anybody else. All standing orders stand in
one line. Each loan keeps a share of its amount for them. Amounts are dollars with two places.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from loans.domain import loan_limits
from loans.domain.dollars import CENT, ZERO_DOLLARS

DEFAULT_AUTOMATED_SHARE = Decimal("0.5000")  # of a loan's amount, which its opening gives to standing orders at most
MOST_ORDERS = 10  # of one investor that have not ended, so that nobody fills the line alone


class Obstacle(StrEnum):
    """What stands between a standing order and a reservation, in the order in which it is looked at."""

    STATE = "state"
    METRO = "metro"
    RATE = "rate"
    LTV = "ltv"
    TERM = "term"
    MINIMUM = "minimum"  # The loan's least reservation is more than the order's dollars per loan.
    CAP = "cap"
    INVESTOR = "investor"  # Not active, not accredited, or at a limit of the investor.
    LINE = "line"  # The orders before it took the loan's share.


class LoanTerms(Protocol):
    """What criteria look at of a loan. Rate and loan to value are percents."""

    state: str
    market_cbsa: str
    annual_rate: Decimal
    ltv: Decimal
    term_months: int


class Criteria(Protocol):
    """The loans that an order wants. An empty list, or None, wants all. Metros are CBSA codes."""

    states: list[str]
    metros: list[str]
    least_rate: Decimal | None
    greatest_ltv: Decimal | None
    longest_term_months: int | None


def unmet_criterion(criteria: Criteria, loan: LoanTerms) -> Obstacle | None:
    """Return the first criterion that the loan does not meet; None if it meets all."""
    if criteria.states and loan.state not in criteria.states:
        return Obstacle.STATE
    if criteria.metros and loan.market_cbsa not in criteria.metros:
        return Obstacle.METRO
    if criteria.least_rate is not None and loan.annual_rate < criteria.least_rate:
        return Obstacle.RATE
    if criteria.greatest_ltv is not None and loan.ltv > criteria.greatest_ltv:
        return Obstacle.LTV
    if criteria.longest_term_months is not None and loan.term_months > criteria.longest_term_months:
        return Obstacle.TERM
    return None


def automated_dollars(amount: Decimal, automated_share: Decimal) -> Decimal:
    """Return how many dollars of a loan its opening gives to standing orders at most, rounded down to the cent."""
    return (amount * automated_share).quantize(CENT, ROUND_DOWN)


AnyOrder = TypeVar("AnyOrder")


@dataclass(frozen=True, slots=True)
class OrderInLine(Generic[AnyOrder]):
    """An active order that wants `amount` dollars of the loan, and takes no fewer than `at_least`.

    `unmet` is the criterion that the loan does not meet. `under_cap` are the dollars that the order may still reserve through all loans.
    """

    order: AnyOrder
    investor_id: int
    amount: Decimal
    at_least: Decimal
    under_cap: Decimal
    unmet: Obstacle | None = None


class Outcome(NamedTuple, Generic[AnyOrder]):
    """What an opening gave to an order: dollars, or else the first obstacle. `to_the_end`: it moves to the end of the line."""

    order: AnyOrder
    amount: Decimal
    obstacle: Obstacle | None
    to_the_end: bool = False


def outcomes(
    line: Iterable[OrderInLine[AnyOrder]], *, automated: Decimal, amount: Decimal, minimum: Decimal, may_reserve: Mapping[int, Decimal]
) -> list[Outcome[AnyOrder]]:
    """Return what the opening of a loan gives to each order. `line` and the result are in the order of the line.

    `automated` are the loan's dollars for standing orders, `amount` is all of it. `may_reserve` are the dollars that each investor may
    reserve of the loan; an investor that it does not have may reserve none.

    An order gets the least of its amount, what is left of `automated`, and what its cap and its investor's limits leave. Where that is
    below its `at_least`, or the loan does not accept it as a reservation, the order is passed over and keeps its place. If the orders
    together wanted more than those, those that were served move to the end of the line.
    """
    wanted, left, may_still_reserve = ZERO_DOLLARS, automated, dict(may_reserve)
    results: list[Outcome[AnyOrder]] = []
    for each in line:
        dollars = min(each.amount, each.under_cap, may_still_reserve.get(each.investor_id, ZERO_DOLLARS))
        given, obstacle = ZERO_DOLLARS, _obstacle(each, dollars, amount, minimum)
        if obstacle is None:
            wanted += dollars
            if _is_accepted(min(dollars, left), each, amount, minimum):
                given = min(dollars, left)
                left -= given
                may_still_reserve[each.investor_id] -= given
            else:
                obstacle = Obstacle.LINE
        results.append(Outcome(each.order, given, obstacle))
    if wanted > automated:
        results = [outcome._replace(to_the_end=bool(outcome.amount)) for outcome in results]
    return results


def _obstacle(each: OrderInLine[AnyOrder], dollars: Decimal, amount: Decimal, minimum: Decimal) -> Obstacle | None:
    """Return the first obstacle of an order that would get `dollars` if it were the first in the line."""
    if each.unmet:
        return each.unmet
    if not _is_accepted(each.amount, each, amount, minimum):
        return Obstacle.MINIMUM
    if not _is_accepted(min(each.amount, each.under_cap), each, amount, minimum):
        return Obstacle.CAP
    if not _is_accepted(dollars, each, amount, minimum):
        return Obstacle.INVESTOR
    return None


def _is_accepted(dollars: Decimal, each: OrderInLine[AnyOrder], amount: Decimal, minimum: Decimal) -> bool:
    return dollars >= each.at_least and loan_limits.meets_minimum(dollars, minimum, amount)
