"""Which metropolitan area is each loan in, by the ZIP data in use?"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from cbsa.lookup import Market, markets_of
from loans.domain.actors import SYSTEM
from loans.domain.states import LoanEvent
from loans.ledger import locks
from loans.ledger.unit_of_work import unit_of_work
from loans.models import Loan

NO_MARKET = Market("", "")


class _Change(NamedTuple):
    loan_id: int
    reference: str
    before: Market
    after: Market


def preview_market_changes(dataset_id: int) -> list[str]:
    """Which loans' markets the dataset would change, in words, by reference."""
    changes = sorted(_changes(dataset_id), key=lambda change: change.reference)
    return [f"{reference}: {before.msa or 'no market'} becomes {after.msa or 'no market'}" for _, reference, before, after in changes]


def resolve_loan_markets(now: datetime | None = None, *, batch: int = 500) -> int:
    """Find each loan's market anew, as after an import of ZIP data; returns how many changed."""
    changed = 0
    loan_ids = sorted(change.loan_id for change in _changes())
    for start in range(0, len(loan_ids), batch):
        changed += _resolve(loan_ids[start : start + batch], now)
    return changed


def _changes(dataset_id: int | None = None) -> Iterator[_Change]:
    """The loans whose market the dataset, or the one in use, changes."""
    loans = list(Loan.objects.values_list("id", "reference", "zip", "market_cbsa", "market_msa"))
    markets = markets_of({zip_code for _, _, zip_code, _, _ in loans}, dataset_id)
    for loan_id, reference, zip_code, cbsa, msa in loans:
        after = markets.get(zip_code, NO_MARKET)
        if (cbsa, msa) != after:
            yield _Change(loan_id, reference, Market(cbsa, msa), after)


def _resolve(loan_ids: Sequence[int], now: datetime | None) -> int:
    """The same for some loans under lock, whose ZIP somebody may have changed meanwhile."""
    changed = 0
    with locks.short_transaction(), unit_of_work(locks.by_id(loan_ids, now), actor=SYSTEM) as work:
        markets = markets_of([loan.zip for loan in work.loans.values()])
        for loan in work.loans.values():
            market = markets.get(loan.zip, NO_MARKET)
            if (loan.market_cbsa, loan.market_msa) != market:
                work.move_loan(loan, LoanEvent.MARKET_FOUND, market_cbsa=market.cbsa, market_msa=market.msa)
                changed += 1
    return changed
