"""Change loans: create, edit, announce, open, extend, withdraw, and close at what has settled; and open announced loans on time."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet

from cbsa.lookup import keep_dataset_in_use, market_of
from loans.domain.actors import SYSTEM, Actor
from loans.domain.errors import IllegalTransition, Invalid
from loans.domain.overbooking import OverbookingPolicy
from loans.domain.states import LIVE, LOAN_TRANSITIONS, LoanEvent, LoanStatus, ReservationEvent, ReservationState, state_after
from loans.ledger import locks
from loans.ledger.jobs import skip_loan_on_failure
from loans.ledger.lottery_seed import changes_drawing_a_seed, changes_revealing_the_seed
from loans.ledger.review_items import open_review_item
from loans.ledger.unit_of_work import UnitOfWork, insert_draft, unit_of_work
from loans.models import Loan, Reservation
from loans.selectors.lapse_shares import warm_lapse_shares
from loans.selectors.loans import loans_due_to_open
from loans.selectors.queue import reservations_in_queue
from loans.services.overbooking import follow_evidence
from loans.services.settlement import apply_rule, cancel_live_reservations
from peerloans.database.clock import database_now
from peerloans.wording import deadline_text

TIME_OPEN = timedelta(weeks=3)


def create_loan(loan: Loan, *, actor: Actor, now: datetime | None = None) -> Loan:
    """Insert a new draft, with the market of its ZIP, and return it.

    Raises:
        Busy; and IntegrityError and DataError, as insert_draft does.
    """
    with locks.short_transaction():
        loan.market_cbsa, loan.market_msa = _market(loan.zip)
        return insert_draft(loan, actor=actor, at=database_now(now))


def edit_loan(*, reference: str, facts: Mapping[str, Any], actor: Actor, now: datetime | None = None) -> Loan:
    """Change the amount of a draft and what else is written about it (`Loan.FACTS`). Values that stay the same are not recorded.

    Raises:
        Invalid: `facts` names another field.
        IllegalTransition: the loan is not a draft any more.
        NotFound, Busy.
    """
    with unit_of_work(reference=reference, actor=actor, now=now) as work:
        loan = work.loan
        if unknown := facts.keys() - {"amount", *Loan.FACTS}:
            raise Invalid(f"These are not facts of a loan: {', '.join(sorted(unknown))}.")
        changes = {name: value for name, value in facts.items() if getattr(loan, name) != value}
        if "zip" in changes:
            changes["market_cbsa"], changes["market_msa"] = _market(changes["zip"])
        if changes:
            work.change_loan(loan, LoanEvent.EDITED, **changes)
        return loan


def _market(zip_code: str) -> tuple[str, str]:
    keep_dataset_in_use()  # Else a dataset that is just coming into use might miss this loan.
    return market_of(zip_code) or ("", "")


def announce_loan(
    *,
    reference: str,
    opens_at: datetime,
    actor: Actor,
    closes_at: datetime | None = None,
    reason: str = "",
    now: datetime | None = None,
) -> Loan:
    """Show a draft to everybody, and let a job open it at `opens_at`; or move the opening of an upcoming loan. A repeat changes nothing.

    It then takes reservations until `closes_at`, by default for three weeks.

    Raises:
        Invalid: `opens_at` has passed, or `closes_at` is not later.
        NotFound, IllegalTransition, Busy.
    """
    closes_at = closes_at or opens_at + TIME_OPEN
    with unit_of_work(reference=reference, actor=actor, reason=reason, now=now) as work:
        loan = work.loan
        if loan.status != LoanStatus.UPCOMING or (loan.opens_at, loan.closes_at) != (opens_at, closes_at):
            # The change comes first, because it refuses a loan that has opened. If a time is refused next, nothing is written.
            work.change_loan(loan, LoanEvent.ANNOUNCED, opens_at=opens_at, closes_at=closes_at)
            if opens_at <= work.at:
                raise Invalid(f"Choose an opening after {deadline_text(work.at)}, or open the loan now.")
            _refuse_unless_after(closes_at, opens_at)
        return loan


def open_announced_loans(now: datetime | None = None) -> int:
    """Open each announced loan whose opening has come, the earliest first, and return how many were opened.

    Each loan is a transaction of its own. One that fails does not stop the others; see `skip_loan_on_failure`. One whose closing has come
    too, since no job ran in time, is not opened: a review item asks staff to announce it again.
    """
    return sum([_open_announced(loan_id, now) for loan_id in loans_due_to_open(database_now(now))])


def _open_announced(loan_id: int, now: datetime | None) -> bool:
    with skip_loan_on_failure(loan_id, "It could not be opened", now):
        _warm_where_evidence_decides(Loan.objects.filter(pk=loan_id), now)
        with unit_of_work(loan_ids=[loan_id], actor=SYSTEM, now=now) as work:
            loan = work.loan
            if loan.status != LoanStatus.UPCOMING or not loan.opens_at or loan.opens_at > work.at:
                return False  # Meanwhile it has been opened, or its opening was moved.
            if loan.closes_at and loan.closes_at <= work.at:
                detail = f"No job ran between its opening and its closing, {deadline_text(loan.closes_at)}. Announce it again."
                open_review_item("opening_missed", detail, at=work.at, loan_id=loan.pk)
                return False
            _open(work, loan, loan.closes_at or work.at + TIME_OPEN)
            return True
    return False  # `skip_loan_on_failure` has reported why.


def _warm_where_evidence_decides(loans: QuerySet[Loan], now: datetime | None) -> None:
    """Read the lapse shares while no lock is held, if the rate of one of the loans follows them."""
    if loans.filter(overbooking_policy=OverbookingPolicy.EVIDENCE).exists():
        warm_lapse_shares(now)


def _open(work: UnitOfWork, loan: Loan, closes_at: datetime) -> None:
    work.change_loan(loan, LoanEvent.OPENED, opens_at=work.at, closes_at=closes_at, **changes_drawing_a_seed(loan))
    follow_evidence(work, loan)


def open_loan(*, reference: str, actor: Actor, closes_at: datetime | None = None, reason: str = "", now: datetime | None = None) -> Loan:
    """Open a draft or an upcoming loan for reservations until `closes_at`. If the loan is open already, change nothing.

    Without `closes_at` it closes as announced, or else after three weeks. Where its overbooking policy is `evidence`, its rate is set at
    once to what the evidence recommends. In the same transaction the standing orders are served that match
    (`loans/ledger/unit_of_work.py`).

    Raises:
        Invalid: `closes_at` has passed.
        NotFound, IllegalTransition, Busy.
    """
    _warm_where_evidence_decides(Loan.objects.filter(reference=reference), now)
    with unit_of_work(reference=reference, actor=actor, reason=reason, now=now) as work:
        loan = work.loan
        if loan.status != LoanStatus.OPEN:
            closes_at = closes_at or (loan.closes_at if loan.status == LoanStatus.UPCOMING else None) or work.at + TIME_OPEN
            _refuse_unless_after(closes_at, work.at)
            _open(work, loan, closes_at)
        return loan


def extend_loan(*, reference: str, closes_at: datetime, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Let an open loan take reservations until `closes_at`, even if it has closed before. A repeat changes nothing.

    Raises:
        Invalid: `closes_at` has passed, or is not later than the former one.
        NotFound, IllegalTransition, Busy.
    """
    with unit_of_work(reference=reference, actor=actor, reason=reason, now=now) as work:
        loan = work.loan
        former = loan.closes_at
        if loan.status != LoanStatus.OPEN or former != closes_at:
            # The change comes first, because it refuses a loan that is not open. If the time is refused next, nothing is written.
            work.change_loan(loan, LoanEvent.EXTENDED, closes_at=closes_at)
            _refuse_unless_after(closes_at, max(work.at, former or work.at))
        return loan


def _refuse_unless_after(closes_at: datetime, at: datetime) -> None:
    if closes_at <= at:
        raise Invalid(f"Choose a closing time after {deadline_text(at)}.")


def withdraw_loan(*, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Withdraw a loan that is not funded: cancel its live and settled reservations and refund their money. A repeat changes nothing.

    Raises:
        NotFound, IllegalTransition, Busy.
    """
    with unit_of_work(reference=reference, actor=actor, reason=reason, now=now) as work:
        loan = work.loan
        if loan.status != LoanStatus.WITHDRAWN:
            # A loan that never opened has no opening.
            never_opened = {"opens_at": None} if loan.status == LoanStatus.UPCOMING else {}
            work.change_loan(loan, LoanEvent.WITHDRAWN, **never_opened)
            for reservation in Reservation.objects.filter(loan=loan, state__in=[*LIVE, ReservationState.SETTLED]).order_by("number"):
                work.change_reservation(reservation, ReservationEvent.LOAN_WITHDRAWN)
        return loan


def close_loan_at_settled(*, reference: str, actor: Actor, reason: str, now: datetime | None = None) -> Loan:
    """Make an open loan funded after its closing, by lowering its amount to what has settled.

    First apply the settlement rule once more. Then cancel the reservations that are still live, and refund their money. A repeat
    changes nothing.

    Raises:
        IllegalTransition: the closing has not passed, nothing has settled, or the loan is not open.
        NotFound, Busy.
    """
    with unit_of_work(reference=reference, actor=actor, reason=reason, now=now) as work:
        loan = work.loan
        if loan.status == LoanStatus.FUNDED:
            return loan
        state_after(LOAN_TRANSITIONS, LoanStatus(loan.status), LoanEvent.CLOSED_AT_SETTLED)  # refuses a loan that is not open
        if loan.closes_at and work.at < loan.closes_at:
            raise IllegalTransition(f"{loan.reference} still takes reservations, until {deadline_text(loan.closes_at)}.", state=loan.status)
        queue = list(reservations_in_queue([loan.pk]))
        apply_rule(work, loan, queue)
        if not loan.remaining:  # The rule has funded it just now.
            return loan
        if not loan.settled:
            raise IllegalTransition(f"Nothing of {loan.reference} has settled; withdraw it instead.", state=loan.status)
        work.change_loan(loan, LoanEvent.CLOSED_AT_SETTLED, amount=loan.settled, **changes_revealing_the_seed(loan))
        cancel_live_reservations(work, queue, ReservationEvent.LOAN_FUNDED)
        return loan
