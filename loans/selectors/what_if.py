"""Read the history of a loan, and play it again under its own settlement rule and overbooking rate and under others."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from loans.domain.errors import Invalid
from loans.domain.what_if import OWN_TERMS, Change, HistoryRow, Play, PlayTerms, Script, Totals, changes, totals
from loans.models import Loan, Transition
from loans.selectors.offers import loan_offer

MOST_TRANSITIONS = 100_000  # A play of so many takes about ten seconds.


@dataclass(frozen=True)
class WhatIf:
    """A loan as it was, and as it would be under other terms.

    `changes` has each reservation in the order of the numbers. `differences` are the numbers of reservations for which playing the
    history under the loan's own terms does not give what happened; there should be none.
    """

    loan: Loan
    at: datetime
    terms: PlayTerms
    own: Play
    other: Play
    changes: list[Change]
    differences: list[int]

    @property
    def own_totals(self) -> Totals:
        """The sums of the loan as it was."""
        return totals(self.own.loan)

    @property
    def other_totals(self) -> Totals:
        """The sums of the loan under the other terms."""
        return totals(self.other.loan)

    @property
    def gain(self) -> list[Change]:
        """The reservations that would have got more."""
        return [change for change in self.changes if change.difference > 0]

    @property
    def lose(self) -> list[Change]:
        """The reservations that would have got less."""
        return [change for change in self.changes if change.difference < 0]


def what_if(reference: str, *, rule: str | None = None, overbooking_rate: Decimal | None = None, now: datetime | None = None) -> WhatIf:
    """Return the loan as it was up to `now`, and as it would be under this rule and rate; None leaves the loan's own.

    Raises:
        NotFound: no loan has this reference.
        Invalid: its history is too long to be played.
    """
    offer = loan_offer(reference, now)
    loan = offer.loan
    script = Script(_history(loan, offer.at), offer.at, loan.lottery_seed or f"what if {reference}")
    terms = PlayTerms(rule, overbooking_rate)
    own = script.play(OWN_TERMS)
    other = script.play(terms)
    differences = [change.number for change in changes(script.fact, own.loan) if change.difference]
    return WhatIf(loan, offer.at, terms, own, other, list(changes(script.fact, other.loan)), differences)


def _history(loan: Loan, at: datetime) -> list[HistoryRow]:
    fields = ("at", "reservation_id", "transfer_id", "event", "from_state", "to_state", "amount", "deadline", "rule", "actor", "facts")
    rows = Transition.objects.filter(loan=loan, at__lte=at, waiting_entry=None).order_by("id").values_list(*fields)[: MOST_TRANSITIONS + 1]
    history = list(map(HistoryRow._make, rows))
    if len(history) > MOST_TRANSITIONS:
        raise Invalid(f"The history of {loan.reference} has more than {MOST_TRANSITIONS} transitions, which is too long to be played.")
    return history
