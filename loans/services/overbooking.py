"""Set how far loans are overbooked: by staff, and by the evidence for loans whose policy asks for it."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from loans.domain.actors import SYSTEM, Actor
from loans.domain.dollars import MAX_DOLLARS
from loans.domain.errors import Invalid
from loans.domain.overbooking import OverbookingPolicy
from loans.domain.states import ENDED_LOAN_STATUSES, LoanEvent
from loans.ledger.jobs import skip_loan_on_failure
from loans.ledger.unit_of_work import UnitOfWork, unit_of_work
from loans.models import Loan
from loans.selectors.lapse_shares import warm_lapse_shares
from loans.selectors.loans import open_loans_by_evidence
from loans.selectors.overbooking import evidence_under_lock
from peerloans.wording import dollars_text


def set_overbooking(
    *,
    reference: str,
    overbooking_policy: str,
    actor: Actor,
    reason: str,
    overbooking_rate: Decimal | None = None,
    overbooking_risk: Decimal | None = None,
    overbooking_cap: Decimal | None = None,
    now: datetime | None = None,
) -> Loan:
    """Set the policy and the rate of a loan that is not funded or withdrawn: a `fixed` rate as it is given, else at once by evidence.

    All are fractions; None leaves a value as it is. A rate below what is reserved already cancels nothing. A repeat changes nothing.

    Raises:
        Invalid: a value is out of range, or a rate is given though the evidence is to set it.
        NotFound, IllegalTransition, Busy.
    """
    wanted: dict[str, Any] = {
        "overbooking_policy": overbooking_policy,
        "overbooking_rate": overbooking_rate,
        "overbooking_risk": overbooking_risk,
        "overbooking_cap": overbooking_cap,
    }
    if overbooking_policy == OverbookingPolicy.EVIDENCE:
        if overbooking_rate is not None:
            raise Invalid("Leave the rate empty: the evidence sets it.")
        warm_lapse_shares(now)  # while no lock is held
    with unit_of_work(reference=reference, actor=actor, reason=reason, now=now) as work:
        loan = work.loan
        changes = {name: value for name, value in wanted.items() if value is not None and getattr(loan, name) != value}
        if changes:
            work.change_loan(loan, LoanEvent.OVERBOOKING_SET, **changes)
            _refuse_out_of_range(loan)
        if overbooking_policy == OverbookingPolicy.EVIDENCE:
            follow_evidence(work, loan)
        return loan


def _refuse_out_of_range(loan: Loan) -> None:
    if loan.overbooking_policy not in list(OverbookingPolicy):
        raise Invalid(f"The policy is one of {', '.join(OverbookingPolicy)}.")
    if not 0 < loan.overbooking_risk < 1:
        raise Invalid("The risk is a fraction between 0 and 1, as 0.05.")
    if min(loan.overbooking_rate, loan.overbooking_cap) < 0:
        raise Invalid("A rate is at least 0.")
    if loan.amount * (1 + max(loan.overbooking_rate, loan.overbooking_cap)) > MAX_DOLLARS:
        raise Invalid(f"With its overbooking, a loan has at most {dollars_text(MAX_DOLLARS)}.")


def follow_evidence(work: UnitOfWork, loan: Loan) -> bool:
    """Set the rate that the evidence recommends, up to the loan's cap, and return whether it is another one.

    Changes nothing unless the policy is `evidence` and the loan is a draft, upcoming or open.
    """
    if loan.overbooking_policy != OverbookingPolicy.EVIDENCE or loan.status in ENDED_LOAN_STATUSES:
        return False
    evidence = evidence_under_lock(loan, work.at)
    rate = min(evidence.recommended_rate, loan.overbooking_cap)
    if rate == loan.overbooking_rate:
        return False
    work.change_loan(loan, LoanEvent.OVERBOOKING_SET, evidence=evidence.numbers(rate), overbooking_rate=rate)
    return True


def set_overbooking_by_evidence(now: datetime | None = None) -> int:
    """Let each open loan whose policy is `evidence` follow it, and return how many rates changed.

    Each loan is a transaction of its own. One that is busy, or has closed meanwhile, keeps its rate until the next run; any other
    error opens a review item.

    Raises:
        SoftTimeLimitExceeded: the job has run too long; no loan is the cause.
    """
    return sum([_set_one_by_evidence(loan_id, now) for loan_id in open_loans_by_evidence()])


def _set_one_by_evidence(loan_id: int, now: datetime | None) -> bool:
    with skip_loan_on_failure(loan_id, "Its overbooking could not be set", now):
        warm_lapse_shares(now)
        with unit_of_work(loan_ids=[loan_id], actor=SYSTEM, reason="Nightly, by evidence.", now=now) as work:
            return follow_evidence(work, work.loan)
    return False  # `skip_loan_on_failure` has reported why.
