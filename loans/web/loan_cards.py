"""Compute the figures and the funding bar of a loan for the public pages. templates/loans/parts/loan_card.html shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from django.template.defaultfilters import floatformat

from loans import remaining_cache
from loans.domain import loan_limits
from loans.domain.payment_schedule import Payment, payment_schedule, total_interest
from loans.domain.standing_orders import automated_dollars
from loans.models import Loan
from loans.selectors.offers import LoanOffer, loan_offers
from peerloans.wording import dollars_text

EXAMPLE_DOLLARS = Decimal(5000)


@dataclass(frozen=True)
class Earnings:
    """What an example's dollars earn with a loan whose borrower pays on time, and the last payment of the schedule."""

    amount: Decimal
    monthly: Decimal
    in_all: Decimal
    last: Payment

    @classmethod
    def of(cls, loan: Loan) -> "Earnings":
        """Return those of $5,000, or of the loan's minimum where that is more."""
        amount = max(EXAMPLE_DOLLARS, loan.minimum)
        *_, last = payment_schedule(amount, loan.annual_rate, loan.term_months)
        return cls(amount, last.interest, total_interest(amount, loan.annual_rate, loan.term_months), last)


@dataclass(frozen=True)
class LoanCard:
    """The figures of one loan as the pages show them.

    `remaining` is in dollars. In lists it comes from Redis, on the loan's own page from the database.
    """

    offer: LoanOffer
    remaining: Decimal

    @property
    def loan(self) -> Loan:
        return self.offer.loan

    @property
    def settled(self) -> Decimal:
        return max(Decimal(0), self.loan.amount - self.remaining)

    @property
    def limit(self) -> Decimal:
        return loan_limits.limit(self.remaining, self.loan.overbooking_rate)

    @property
    def description(self) -> str:
        """The loan in two sentences, for search engines and for pages that link to it."""
        loan = self.loan
        terms = f"{floatformat(loan.annual_rate, -2)} % a year for {loan.term_months} months, {floatformat(loan.ltv, -1)} % loan to value."
        return f"{terms} {dollars_text(loan.amount)} in {loan.city}, {loan.state}, in parts of {dollars_text(loan.minimum)} or more."

    @property
    def settled_percent(self) -> int:
        """Whole percents of the loan, rounded down, so that 100 means all of it."""
        return int(100 * self.settled / self.loan.amount)

    @property
    def overbooking_percent(self) -> Decimal:
        return 100 * self.loan.overbooking_rate

    @property
    def automated(self) -> Decimal:
        """The dollars of the loan that its opening gives to standing orders at most."""
        return automated_dollars(self.loan.amount, self.loan.automated_share)

    @property
    def bar(self) -> dict[str, str]:
        """The lengths in the funding bar, in percents of its width. The whole bar is the loan, and what is overbooked beyond it."""
        width = max(self.loan.amount, self.settled + max(self.limit, self.offer.claimed))
        dollars = {"settled": self.settled, "live": self.offer.claimed, "amount": self.loan.amount, "beyond": width - self.loan.amount}
        return {name: f"{100 * value / width:.2f}%" for name, value in dollars.items()}

    @property
    def overbooked(self) -> Decimal:
        """By how many dollars the live reservations may exceed what remains."""
        return self.limit - self.remaining

    @property
    def least(self) -> Decimal:
        """The smallest amount that can be reserved: the loan's minimum, or all that remains where that is less."""
        return min(self.loan.minimum, self.remaining)

    @property
    def minimum_parts(self) -> int:
        """How many parts of the loan's minimum fit in what remains."""
        return int(self.remaining // self.loan.minimum)

    @property
    def last_part(self) -> Decimal:
        """What remains beside these parts, in dollars. Once it is all that remains, it can be reserved as a whole."""
        return self.remaining % self.loan.minimum


def loan_cards(loan_ids: Sequence[int]) -> list[LoanCard]:
    """Return a card for each loan, in the order of the ids, with what remains by Redis."""
    offers = loan_offers(loan_ids)
    values = remaining_cache.read([offer.loan for offer in offers], offers[0].at) if offers else {}
    return [LoanCard(offer, values[offer.loan.pk].amount) for offer in offers]
