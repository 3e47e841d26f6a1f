"""Derive from the bank's reports about one transfer or refund how much money has moved, in whatever order the reports arrive.

The bank's own time of each report decides, not the order of arrival: both functions sort the reports before they read them. At equal
times a failure counts as later than the clearing. So the result depends only on the set of reports. Amounts are dollars.

An example, with 5,000 expected: a clearing of 5,000 at noon and a failure at 11 mean that the first attempt failed and the second
succeeded. The same failure at 13 means that the bank took the money back.

loans/services/transfers.py does what follows for the reservation, and loans/domain/refunds.py decides what is refunded.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from loans.domain.dollars import ZERO_DOLLARS


class Answer(StrEnum):
    """What staff say of a possible duplicate: it is the same payment as another report, or another payment."""

    SAME = "same"
    ANOTHER = "another"


@dataclass(frozen=True)
class Report:
    """What the bank, or a member of staff in its place, reports: `amount` dollars moved; with `is_failure`, did not move or came back.

    `is_another_payment`: staff have confirmed that it is no duplicate.
    """

    id: str
    is_failure: bool
    amount: Decimal
    occurred_at: datetime
    is_another_payment: bool = False


class Effect(StrEnum):
    """What one report does to the money, given all others."""

    COUNTS = "counts"
    SUPERSEDED = "superseded"  # A failed attempt, and a later attempt succeeded.
    NO_MONEY = "no_money"  # A failure where no money was left that could be returned: it has been reported before.
    TOO_LARGE = "too_large"  # A failure of more than had moved; no money could have come back.
    DOUBTFUL = "doubtful"  # It looks like a payment that is reported already; staff decide.


class PaymentState(StrEnum):
    """How far an inbound payment is."""

    EXPECTED = "expected"  # Nothing has been reported.
    SHORT = "short"  # Less than the expected amount was received.
    FUNDED = "funded"
    FAILED = "failed"  # No money was ever received.
    RETURNED = "returned"  # Too little is left of what was received.


@dataclass(frozen=True)
class InboundPosition:
    """The money of one inbound transfer.

    `received` is what cleared and was not taken back. `left` is that, less what the bank paid out again by refunds that were void.
    `amount` is how much its reservation is for: the expected amount, or less where a part of it was returned.
    """

    state: PaymentState
    received: Decimal
    left: Decimal
    amount: Decimal
    effects: Mapping[str, Effect]


@dataclass(frozen=True)
class RefundPosition:
    """The money of one refund. `paid` is what left and did not come back. `bounced`: the newest report that counts is a failure."""

    paid: Decimal
    bounced: bool
    effects: Mapping[str, Effect]


def inbound_position(
    reports: Iterable[Report], *, expected: Decimal, minimum: Decimal, paid_out: Decimal = ZERO_DOLLARS
) -> InboundPosition:
    """Return the position of an inbound transfer.

    `expected` is the amount of its reservation before returns. All that cleared counts together, and a return lowers what was received.
    If less than its amount is left of a funded payment, what is left becomes the amount, provided that it is at least `minimum`;
    otherwise the payment is returned. `paid_out`, what the bank paid by refunds that were void, counts as a return after all others.
    """
    state, received, amount = PaymentState.EXPECTED, ZERO_DOLLARS, expected
    effects: dict[str, Effect] = {}
    failed_attempts: list[str] = []
    for report, is_repeated in _in_order_of_the_bank(reports):
        effects[report.id] = Effect.COUNTS
        if not report.is_failure:
            if is_repeated:
                effects[report.id] = Effect.DOUBTFUL
                continue
            received += report.amount
            if state != PaymentState.FUNDED:
                state = PaymentState.FUNDED if received >= amount else PaymentState.SHORT
            effects |= dict.fromkeys(failed_attempts, Effect.SUPERSEDED)
        elif not received:
            if state == PaymentState.EXPECTED:
                state = PaymentState.FAILED
                failed_attempts.append(report.id)
            else:
                effects[report.id] = Effect.NO_MONEY
        elif report.amount > received:
            effects[report.id] = Effect.TOO_LARGE
        else:
            received -= report.amount
            state, amount = _after_return(state, received, amount, expected=expected, minimum=minimum)
    left = received - paid_out
    if received and paid_out:
        state, amount = _after_return(state, left, amount, expected=expected, minimum=minimum)
    return InboundPosition(state, received, left, amount, effects)


def _after_return(
    state: PaymentState, left: Decimal, amount: Decimal, *, expected: Decimal, minimum: Decimal
) -> tuple[PaymentState, Decimal]:
    """Return the state and the amount after a return that leaves `left` dollars."""
    if state == PaymentState.FUNDED and minimum <= left < amount:
        return state, left
    if left <= 0 or (state == PaymentState.FUNDED and left < amount):
        return PaymentState.RETURNED, expected
    return state, amount


def refund_position(reports: Iterable[Report]) -> RefundPosition:
    """Return the position of a refund.

    A payment counts whatever its amount. A failure takes back what was paid; it also counts where nothing was reported as paid, since the
    bank could not deliver what we sent, unless a later attempt succeeded.
    """
    paid, bounced = ZERO_DOLLARS, False
    effects: dict[str, Effect] = {}
    failed_attempts: list[str] = []
    for report, is_repeated in _in_order_of_the_bank(reports):
        effects[report.id] = Effect.COUNTS
        if not report.is_failure:
            if is_repeated:
                effects[report.id] = Effect.DOUBTFUL
            else:
                paid, bounced = paid + report.amount, False
                effects |= dict.fromkeys(failed_attempts, Effect.SUPERSEDED)
        elif report.amount > paid > 0:
            effects[report.id] = Effect.TOO_LARGE
        else:
            if not paid:
                failed_attempts.append(report.id)
            paid, bounced = max(ZERO_DOLLARS, paid - report.amount), True
    return RefundPosition(paid, bounced, effects)


def _in_order_of_the_bank(reports: Iterable[Report]) -> Iterator[tuple[Report, bool]]:
    """Yield the reports, and whether each has the amount and the time of one before, so that it may be the same payment."""
    fingerprints: set[tuple[Decimal, datetime]] = set()
    # Reports that are equal in all of this stay in the order in which they were recorded; which one of them counts makes no difference.
    for report in sorted(reports, key=lambda report: (report.occurred_at, report.is_failure, report.is_another_payment, report.amount)):
        fingerprint = (report.amount, report.occurred_at)
        yield report, fingerprint in fingerprints and not report.is_failure and not report.is_another_payment
        if not report.is_failure:
            fingerprints.add(fingerprint)
