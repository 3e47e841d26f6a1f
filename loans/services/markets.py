"""Keep each loan's market, the metropolitan area of its ZIP, in step with the ZIP data in use."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from cbsa.lookup import Market, keep_dataset_in_use, markets_of
from loans.domain.actors import SYSTEM
from loans.domain.errors import NotFound
from loans.domain.states import LoanEvent
from loans.models import Loan

NO_MARKET = Market("", "")
BATCH_LOANS = 50  # Enough to save round trips, few enough to hold their locks only for a short time.


class _MarketChange(NamedTuple):
    loan_id: int
    reference: str
    before: Market
    after: Market

    def __str__(self) -> str:
        return f"{self.reference}: {self.before.msa or 'no market'} becomes {self.after.msa or 'no market'}"


def preview_market_changes(dataset_id: int) -> list[str]:
    """Return a sentence for each loan whose market would change with the dataset, in order of references."""
    return sorted(map(str, _market_changes(dataset_id)))


def resolve_loan_markets(now: datetime | None = None, *, batch: int = BATCH_LOANS) -> int:
    """Set the market of each loan by the ZIP data in use, and return how many loans changed.

    Only loans that change are locked, `batch` loans in one transaction. A loan that another transaction holds is left for the next run.

    Raises:
        Busy: another dataset is just coming into use. The batches before this one stay changed.
    """
    loan_ids = sorted(change.loan_id for change in _market_changes())
    return sum(_resolve(loan_ids[start : start + batch], now) for start in range(0, len(loan_ids), batch))


def _market_changes(dataset_id: int | None = None) -> Iterator[_MarketChange]:
    """Yield a change for each loan whose market in the dataset is another one; None is the dataset in use."""
    loans = list(Loan.objects.values_list("id", "reference", "zip", "market_cbsa", "market_msa"))
    markets = markets_of({zip_code for _, _, zip_code, _, _ in loans}, dataset_id)
    for loan_id, reference, zip_code, cbsa, msa in loans:
        before, after = Market(cbsa, msa), markets.get(zip_code, NO_MARKET)
        if before != after:
            yield _MarketChange(loan_id, reference, before, after)


def _resolve(loan_ids: Sequence[int], now: datetime | None) -> int:
    # `import_cbsa` imports this module. Importing the unit of work takes 0.1 s, and most imports of ZIP data change the market of no loan.
    from loans.ledger.unit_of_work import unit_of_work

    changed = 0
    # NotFound: others hold all of these loans.
    with suppress(NotFound), unit_of_work(loan_ids=loan_ids, actor=SYSTEM, skip_locked=True, now=now) as work:
        # Look once more under lock: the ZIP, or the dataset in use, may be another one by now.
        keep_dataset_in_use()
        markets = markets_of([loan.zip for loan in work.loans.values()])
        for loan in work.loans.values():
            market = markets.get(loan.zip, NO_MARKET)
            if market != (loan.market_cbsa, loan.market_msa):
                work.change_loan(loan, LoanEvent.MARKET_FOUND, market_cbsa=market.cbsa, market_msa=market.msa)
                changed += 1
    return changed
