"""Change loans, reservations, transfers and waiting lists under lock, and write all changes together with their history.

Only this module, by `bulk_write`, and `admission` and `expiry` write states, totals and history. Standing orders have a history of their
own (loans/ledger/standing_orders.py). Amounts are dollars.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import current_app
from django.core.cache import cache
from django.db import transaction
from psycopg.types.json import Jsonb

from loans import remaining_cache
from loans.domain import refunds
from loans.domain.actors import SYSTEM, Actor
from loans.domain.deadlines import start_deadline
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.errors import Busy, NotFound, NotPermitted
from loans.domain.payment_reference import refund_reference, transfer_reference
from loans.domain.states import (
    ENDED_LOAN_STATUSES,
    LETTING_GO,
    LIVE,
    LOAN_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    WAITING_LIST_TRANSITIONS,
    Direction,
    LoanEvent,
    LoanStatus,
    ReservationEvent,
    ReservationState,
    TransferEvent,
    TransferStatus,
    WaitingListEvent,
    WaitingListState,
    state_after,
)
from loans.ledger import locks
from loans.ledger.bulk_write import TransitionRow, refuse_extra_decimals, write_changes
from loans.ledger.expiry import expire_lapsed
from loans.ledger.jobs import SERVE_TASK, send_after_commit
from loans.ledger.lottery_seed import changes_drawing_a_seed
from loans.ledger.review_items import open_review_item
from loans.ledger.standing_orders import due_outcomes, record_outcomes
from loans.ledger.waiting_list import due_placements, investors_to_serve
from loans.models import OPEN_STATUSES, BankEvent, Investor, Loan, Reservation, StandingOrder, Transfer, Transition, WaitingListEntry
from peerloans.wording import deadline_text, dollars_text

logger = logging.getLogger(__name__)

DELIVER_TASK = "loans.tasks.deliver"
# After these events more counts in the limits of the reservation's investor: its dollars, or one more reservation that was let go. One that
# lapses counts without an event, by its deadline.
ADDING_TO_LIMITS = {
    ReservationEvent.CANCELED_BY_INVESTOR,
    ReservationEvent.REINSTATED_RESERVED,
    ReservationEvent.REINSTATED_PENDING,
    ReservationEvent.REVIVED,
    ReservationEvent.UNFUNDED,
}

# By which multiple of an event's dollars the moved dollars of its transfer change.
_MOVED_BY = {
    TransferEvent.CLEARED: 1,
    TransferEvent.RETURNED_IN_PART: -1,
    TransferEvent.RETURNED: -1,
    TransferEvent.PAID_IN_PART: 1,
    TransferEvent.PAID: 1,
    TransferEvent.BOUNCED_IN_PART: -1,
    TransferEvent.BOUNCED: -1,
}


def insert_draft(loan: Loan, *, actor: Actor, at: datetime) -> Loan:
    """Insert a new draft with the first row of its history, and return it. The caller has a transaction open.

    Raises:
        django.db.IntegrityError: a constraint does not hold; for example, the reference is already used.
        django.db.DataError: a value is too long or too large for its column.
    """
    loan.created_at = at
    loan.save(force_insert=True)
    Transition.objects.create(
        at=at,
        loan=loan,
        event=LoanEvent.CREATED,
        to_state=loan.status,
        amount=loan.amount,
        facts=_facts(vars(loan)),
        actor=actor.kind,
        user_id=actor.user_id,
    )
    return loan


@contextmanager
def unit_of_work(
    *,
    loan_ids: Sequence[int] | None = None,
    reference: str | None = None,
    reservation_id: UUID | None = None,
    actor: Actor,
    reason: str = "",
    skip_locked: bool = False,
    now: datetime | None = None,
) -> Iterator["UnitOfWork"]:
    """Lock loans, cancel their lapsed reservations, and write what the block has changed when it ends; in one transaction.

    Then serve the standing orders of a loan that has been opened, and the waiting lists of the loans from what is available now.

    Pass the ids of loans, the reference of one, or one reservation's id. With `skip_locked`, loans that another transaction holds are
    left out. `actor` and `reason` go into history with each change. An exception in the block undoes everything, also the cancellation
    of lapsed reservations.

    Raises:
        NotFound: there is no such loan or reservation, or all loans are left out.
        Busy: a lock did not come in time.
    """
    with locks.short_transaction():
        loans, at = locks.lock_loans(
            loan_ids=loan_ids, reference=reference, reservation_id=reservation_id, skip_locked=skip_locked, now=now
        )
        work = UnitOfWork(loans, at, actor=actor, reason=reason, expired=expire_lapsed(loans, at))
        yield work
        work.write()
        for loan in work.opened:
            serve_standing_orders(loan, at)
        serve_lists_of(loans, at, added_to_limits=work.added_to_limits)


def serve_standing_orders(loan: Loan, at: datetime) -> None:
    """Make the reservations of the standing orders that the loan's opening serves. The caller holds the loan's lock.

    Raises:
        OperationalError: the lock of the line, or of an investor, does not come in time.
    """
    results = due_outcomes(loan, at)
    serving = UnitOfWork([loan], at, actor=SYSTEM, reason="", expired=0)
    for result in results:
        if result.amount:
            serving.reserve_for_order(result.order, loan, result.amount)
    serving.write()
    locks.add_to_limits(serving.added_to_limits)
    record_outcomes(loan, results, at)


def serve_lists_of(loans: Sequence[Loan], at: datetime, *, added_to_limits: Mapping[int, Decimal]) -> None:
    """Make reservations for those who wait for the loans, as far as dollars are available. The caller holds the loans' locks.

    The investors to serve are locked together with those in whose limits the caller's changes count more (`added_to_limits`), in the order
    of their ids. So the caller's additions are written here, before the lists are served. If a lock of one to serve does not come in time,
    a job serves the lists later, so that the caller's change is not undone.

    Raises:
        OperationalError: a lock of an investor in `added_to_limits` does not come in time.
    """
    investor_ids = investors_to_serve(loans, at)
    if investor_ids:
        try:
            # A savepoint: a lock that is late undoes only this. The locks last until the caller's transaction ends.
            with locks.short_transaction():
                locks.lock_investors(investor_ids | added_to_limits.keys())
        except Busy:
            logger.warning("The waiting lists are left to the job: an investor is locked.")
            investor_ids = set()
            for loan in loans:
                send_after_commit(SERVE_TASK, loan.pk)
    locks.add_to_limits(added_to_limits)
    if not investor_ids:
        return
    for loan in loans:
        serving = UnitOfWork([loan], at, actor=SYSTEM, reason="", expired=0)
        for entry, amount in due_placements(loan, at, investor_ids):
            serving.reserve_for_entry(entry, amount)
        serving.write()
        locks.add_to_limits(serving.added_to_limits)


class UnitOfWork:
    """Loans under lock, without lapsed reservations, and the changes decided on them at the instant `at`.

    Its methods change the objects that are passed to them and note the changes with their history; `write` writes all. `loans` are the
    locked loans by id. `expired` is how many lapsed reservations were canceled at the beginning. `opened` are the loans that it opens.
    """

    def __init__(self, loans: Sequence[Loan], at: datetime, *, actor: Actor, reason: str, expired: int) -> None:
        self.loans = {loan.pk: loan for loan in loans}
        self.at = at
        self.actor = actor
        self.reason = reason
        self.expired = expired
        self._changed_loans: dict[int, Loan] = {}
        self._changed_facts: set[str] = set()
        self._changed_reservations: dict[UUID, Reservation] = {}
        self._changed_transfers: dict[UUID, Transfer] = {}
        self._changed_entries: dict[UUID, WaitingListEntry] = {}
        self._new_reservations: list[Reservation] = []
        self.opened: list[Loan] = []
        self.added_to_limits: dict[int, Decimal] = {}
        self._transitions: list[TransitionRow] = []

    @property
    def loan(self) -> Loan:
        """The only loan. With several, this raises ValueError."""
        (loan,) = self.loans.values()
        return loan

    def read_reservation(self, reservation_id: UUID, investor_id: int | None = None) -> Reservation:
        """Read a reservation from the database, each time as a new object. It must be of a locked loan, which is not checked.

        Call it once for each reservation: changes of two objects of the same row would overwrite each other. With `investor_id`, it
        must be that investor's. Its `loan` is a copy that no change reaches: use `self.loans`.

        Raises:
            NotFound: there is none, or it is another investor's.
        """
        reservation = Reservation.objects.select_related("loan").filter(pk=reservation_id).first()
        if not reservation or (investor_id is not None and reservation.investor_id != investor_id):
            raise NotFound(f"There is no reservation {reservation_id}.")
        return reservation

    def change_loan(self, loan: Loan, event: LoanEvent, *, evidence: Mapping[str, str] | None = None, **changes: Any) -> None:
        """Apply `event` to a loan. `changes` are the new values of its amount, opens_at, closes_at or facts (`Loan.FACTS`), or
        its lottery_secret, which history does not record.

        `evidence` are the numbers that decided, which history keeps beside the new values.

        Raises:
            IllegalTransition: the state of the loan does not allow it.
        """
        from_state = LoanStatus(loan.status)
        loan.status = state_after(LOAN_TRANSITIONS, from_state, event)
        for field, value in changes.items():
            setattr(loan, field, value)
        self._changed_loans[loan.pk] = loan
        self._changed_facts |= changes.keys()
        facts = _facts(changes) | ({"evidence": dict(evidence)} if evidence else {})
        if event == LoanEvent.ANNOUNCED:
            facts["opens_at"] = loan.opens_at.isoformat() if loan.opens_at else None
        elif event == LoanEvent.OPENED:
            self.opened.append(loan)
        self._record(loan, event, from_state, loan.status, loan.amount, deadline=loan.closes_at, facts=Jsonb(facts) if facts else None)
        if loan.status in ENDED_LOAN_STATUSES and loan.waiting_entries:
            for entry in WaitingListEntry.objects.filter(loan=loan, state=WaitingListState.WAITING).order_by("number"):
                self.end_waiting(entry, WaitingListEvent.ENDED)

    def change_reservation(self, reservation: Reservation, event: ReservationEvent, *, rule: str = "", **changes: Any) -> None:
        """Apply `event` to a reservation, and do what follows from it:

        - the loan's claimed and settled dollars change with the reservation's;
        - a funded loan of which something remains again is reopened;
        - money that the reservation does not keep is refunded; refunds of money that it keeps again, or that the bank took
          back, are voided, and what was already paid of them is lost.

        `changes` are the new values of its amount, settled_amount, expires_at or funded_at. A canceled reservation has none of the
        last three. `rule` names the settlement rule that decided, for history.

        Raises:
            IllegalTransition: the state of the reservation does not allow it.
        """
        loan = self.loans[reservation.loan_id]
        from_state, settled_before = ReservationState(reservation.state), reservation.settled_amount
        to_state = state_after(RESERVATION_TRANSITIONS, from_state, event)
        canceled = to_state == ReservationState.CANCELED
        if canceled:
            changes |= {"settled_amount": ZERO_DOLLARS, "expires_at": None, "funded_at": None}

        _count_in_totals(reservation, loan, sign=-1)
        reservation.state, reservation.cause = to_state, event if canceled else ""
        reservation.let_go_at = self.at if event in LETTING_GO else None
        for field, value in changes.items():
            setattr(reservation, field, value)
        _count_in_totals(reservation, loan, sign=1)
        if event in ADDING_TO_LIMITS:
            unfunded = reservation.amount if reservation.expires_at else ZERO_DOLLARS
            self._add_to_limits(reservation.investor_id, unfunded)
        self._changed_loans[loan.pk] = loan

        # The glossary says what the amount of a transition is. Closing values and the replay of history rely on it.
        amount = reservation.settled_amount or settled_before or reservation.amount
        self._record_reservation(reservation, event, from_state, amount, rule=rule)
        if loan.status == LoanStatus.FUNDED and loan.remaining:
            self.change_loan(loan, LoanEvent.REOPENED, **changes_drawing_a_seed(loan))
            closing = f"It closes at {deadline_text(loan.closes_at)}." if loan.closes_at else ""
            detail = f"{loan.reference} is open again: {dollars_text(loan.remaining)} of it remains. {closing}"
            open_review_item("loan_reopened", detail, at=self.at, loan_id=loan.pk)
        self.adjust_refunds(reservation)

    def adjust_refunds(self, reservation: Reservation) -> None:
        """Refund the money that the reservation does not keep, or void refunds of money that it keeps or that the bank took back.

        Then void due refunds of as many dollars as were lost, since that money stays with us: so many dollars are recovered.
        """
        adjustment = refunds.refund_adjustment(
            reservation.state, funded=reservation.funded_at is not None, amount=reservation.amount, waiting=reservation.waiting_money
        )
        if adjustment > 0:
            self.refund(reservation, adjustment)
        elif adjustment < 0:
            self.void_refunds_or_lose(reservation, -adjustment)
        if reservation.lost and (recovered := min(reservation.lost, self.dollars_of_due_refunds(reservation))):
            self.recover(reservation, recovered)
            self.void_refunds(reservation, recovered)

    def refund(self, reservation: Reservation, amount: Decimal) -> None:
        """Add a refund of `amount` dollars, which is due until the bank reports it as paid. From now on it counts in `refunded`."""
        refund = Transfer(reservation=reservation, direction=Direction.REFUND, status=TransferStatus.DUE, amount=amount)
        refund.reference = refund_reference(refund.pk)
        reservation.refunded += amount
        self._add_transfer(refund, TransferEvent.DUE)

    def void_refunds_or_lose(self, reservation: Reservation, amount: Decimal) -> None:
        """Void due refunds of `amount` dollars. If all of them together are too small, the rest has been sent or paid: it is lost."""
        missing = self.void_refunds(reservation, amount)
        if missing:
            self.lose(reservation, missing)

    def dollars_of_due_refunds(self, reservation: Reservation) -> Decimal:
        """Return the dollars of the reservation's refunds that can still be voided."""
        return sum((refund.outstanding for refund in self._due_refunds(reservation)), ZERO_DOLLARS)

    def void_refunds(self, reservation: Reservation, amount: Decimal) -> Decimal:
        """Void due refunds, the newest first, until `amount` dollars are covered. Return the dollars that they do not cover.

        If the last one is larger than needed, add a refund of the excess.
        """
        for refund in self._due_refunds(reservation):
            if amount <= 0:
                break
            amount -= refund.outstanding
            self.change_transfer(refund, TransferEvent.VOIDED_IN_PART if refund.moved else TransferEvent.VOIDED, refund.outstanding)
        if amount < 0:
            excess, amount = -amount, ZERO_DOLLARS
            self.refund(reservation, excess)
        return amount

    def _due_refunds(self, reservation: Reservation) -> list[Transfer]:
        """Return the reservation's due refunds as they are in this unit of work, the newest first."""
        stored = Transfer.objects.filter(reservation=reservation, direction=Direction.REFUND, status=TransferStatus.DUE)
        by_id = {refund.pk: refund for refund in stored} | {
            pk: transfer for pk, transfer in self._changed_transfers.items() if transfer.reservation_id == reservation.pk
        }
        for refund in by_id.values():
            refund.reservation = reservation
        due = [refund for refund in by_id.values() if refund.status == TransferStatus.DUE]
        return sorted(due, key=lambda refund: (refund.created_at, refund.pk), reverse=True)

    def lose(self, reservation: Reservation, amount: Decimal) -> None:
        """Count dollars that were paid out and are not there any more, and open a review item."""
        reservation.lost += amount
        self._record_reservation(reservation, ReservationEvent.LOST, reservation.state, amount)
        detail = f"{dollars_text(amount)} is lost: the payment was taken back after it had been refunded, or a refund was paid twice."
        self.add_review_item("loss", detail, reservation)

    def recover(self, reservation: Reservation, amount: Decimal) -> None:
        """Count lost dollars that came back."""
        reservation.lost -= amount
        self._record_reservation(reservation, ReservationEvent.RECOVERED, reservation.state, amount)

    def start_transfer(self, reservation: Reservation, method: str) -> None:
        """Add the inbound transfer by which the reservation's money is expected, with a new reference. `method` is ach or wire."""
        transfer = Transfer(
            reservation=reservation,
            direction=Direction.INBOUND,
            method=method,
            status=TransferStatus.INITIATED,
            amount=reservation.amount,
        )
        transfer.reference = transfer_reference(transfer.pk)
        self._add_transfer(transfer, TransferEvent.INITIATED)

    def change_transfer(self, transfer: Transfer, event: TransferEvent, dollars: Decimal, *, occurred_at: datetime | None = None) -> None:
        """Apply `event` to a transfer; `dollars` are those that it is about, and `occurred_at` is the bank's time.

        The reservation's `received` changes by what was received or returned, and its `refunded` by as much as the refund counts more or
        less than before (`Transfer.refunded`).

        Raises:
            IllegalTransition: the status of the transfer does not allow it.
        """
        reservation = transfer.reservation
        from_status, refunded_before = TransferStatus(transfer.status), transfer.refunded
        transfer.status = state_after(TRANSFER_TRANSITIONS, from_status, event)
        transfer.moved += _MOVED_BY.get(event, 0) * dollars
        if event == TransferEvent.ACCEPTED:
            transfer.amount = dollars
        elif event == TransferEvent.VOIDED_IN_PART or (event == TransferEvent.PAID and from_status == TransferStatus.VOID):
            transfer.amount = transfer.moved  # A void refund that the bank has paid all the same becomes a refund of what was paid.
        transfer.occurred_at = occurred_at or transfer.occurred_at
        transfer.cleared_at = self.at if event == TransferEvent.CLEARED else transfer.cleared_at
        transfer.ended_at = None if transfer.status in OPEN_STATUSES else self.at
        if transfer.direction == Direction.INBOUND:
            reservation.received += _MOVED_BY.get(event, 0) * dollars
        else:
            reservation.refunded += transfer.refunded - refunded_before
        self._record_transfer(transfer, event, from_status, dollars)

    def add_review_item(self, kind: str, detail: str, reservation: Reservation, bank_event: BankEvent | None = None) -> None:
        """Open a review item about a reservation, at once in this transaction; `bank_event` is the one that staff have to decide on."""
        open_review_item(kind, detail, at=self.at, loan_id=reservation.loan_id, reservation_id=reservation.pk, bank_event=bank_event)

    def _add_transfer(self, transfer: Transfer, event: TransferEvent) -> None:
        transfer.created_at = self.at
        self._record_transfer(transfer, event, "", transfer.amount)

    # --- The waiting list, and standing orders ----------------------------------------------------------------------------
    def join_waiting_list(self, loan: Loan, investor_id: int, amount: Decimal, at_least: Decimal) -> WaitingListEntry:
        """Add an investor to the end of a loan's waiting list, and return the entry.

        Raises:
            ValueError: an amount has fractions of a cent.
        """
        last = WaitingListEntry.objects.filter(loan=loan).order_by("-number").values_list("number", flat=True).first()
        entry = WaitingListEntry(
            loan=loan,
            investor_id=investor_id,
            number=(last or 0) + 1,
            amount=refuse_extra_decimals(amount),
            at_least=refuse_extra_decimals(at_least),
            state=WaitingListState.WAITING,
            joined_at=self.at,
        )
        facts = {"at_least": str(at_least), "list_position": loan.waiting_entries + 1, "dollars_before": str(loan.waiting_dollars)}
        loan.waiting_entries += 1
        loan.waiting_dollars += amount
        self._record_entry(entry, WaitingListEvent.JOINED, "", amount, facts=Jsonb(facts))
        return entry

    def reserve_for_entry(self, entry: WaitingListEntry, amount: Decimal) -> None:
        """Make a reservation of `amount` dollars for an entry that waits. The caller holds the lock of its investor."""
        reservation = self._reserve(self.loans[entry.loan_id], entry.investor_id, amount)
        self.end_waiting(entry, WaitingListEvent.PLACED, reservation)

    def reserve_for_order(self, order: StandingOrder, loan: Loan, amount: Decimal) -> None:
        """Make a reservation of `amount` dollars for a standing order. The caller holds the lock of its investor."""
        self._reserve(loan, order.investor_id, amount, order)

    def _reserve(self, loan: Loan, investor_id: int, amount: Decimal, order: StandingOrder | None = None) -> Reservation:
        loan.last_number += 1
        loan.claimed += amount
        reservation = Reservation(
            loan=loan,
            investor_id=investor_id,
            number=loan.last_number,
            standing_order=order,
            amount=amount,
            state=ReservationState.RESERVED,
            created_at=self.at,
            expires_at=start_deadline(self.at),
        )
        self._changed_loans[loan.pk] = loan
        self._new_reservations.append(reservation)
        self._add_to_limits(investor_id, amount)
        by_order = Jsonb({"standing_order": str(order.pk)}) if order else None
        self._record(
            loan,
            ReservationEvent.RESERVED,
            "",
            reservation.state,
            amount,
            reservation_id=reservation.pk,
            deadline=reservation.expires_at,
            facts=by_order,
        )
        return reservation

    def end_waiting(self, entry: WaitingListEntry, event: WaitingListEvent, reservation: Reservation | None = None) -> None:
        """Apply `event` to an entry, which ends it; `reservation` is what it became.

        Raises:
            IllegalTransition: it has ended before.
        """
        loan = self.loans[entry.loan_id]
        from_state = WaitingListState(entry.state)
        entry.state = state_after(WAITING_LIST_TRANSITIONS, from_state, event)
        entry.ended_at, entry.reservation = self.at, reservation
        loan.waiting_entries -= 1
        loan.waiting_dollars -= entry.amount
        amount, facts = (reservation.amount, Jsonb({"reservation": str(reservation.pk)})) if reservation else (entry.amount, None)
        self._record_entry(entry, event, from_state, amount, facts=facts)

    def _record_entry(self, entry: WaitingListEntry, event: WaitingListEvent, from_state: str, amount: Decimal, *, facts: Any) -> None:
        loan = self.loans[entry.loan_id]
        self._changed_loans[loan.pk] = loan
        self._changed_entries[entry.pk] = entry
        self._record(loan, event, from_state, entry.state, amount, waiting_entry_id=entry.pk, facts=facts)

    def _add_to_limits(self, investor_id: int, unfunded: Decimal) -> None:
        self.added_to_limits[investor_id] = self.added_to_limits.get(investor_id, ZERO_DOLLARS) + unfunded

    # --- History: each changed row is noted together with its transition ------------------------------------------------
    def _record_reservation(
        self, reservation: Reservation, event: ReservationEvent, from_state: str, amount: Decimal, *, rule: str = ""
    ) -> None:
        self._changed_reservations[reservation.pk] = reservation
        loan, to_state = self.loans[reservation.loan_id], reservation.state
        self._record(loan, event, from_state, to_state, amount, reservation_id=reservation.pk, deadline=reservation.expires_at, rule=rule)

    def _record_transfer(self, transfer: Transfer, event: TransferEvent, from_status: str, amount: Decimal) -> None:
        reservation = transfer.reservation
        self._changed_transfers[transfer.pk] = transfer
        self._changed_reservations[reservation.pk] = reservation
        loan = self.loans[reservation.loan_id]
        self._record(loan, event, from_status, transfer.status, amount, reservation_id=reservation.pk, transfer_id=transfer.pk)

    def _record(self, loan: Loan, event: str, from_state: str, to_state: str, amount: Decimal, **more: Any) -> None:
        self._transitions.append(
            TransitionRow(
                at=self.at,
                loan_id=loan.pk,
                event=event,
                from_state=from_state,
                to_state=to_state,
                amount=amount,
                actor=self.actor.kind,
                user_id=self.actor.user_id,
                approved_by_id=self.actor.approver_id,
                reason=self.reason,
                reason_shown=self.actor.shows_reason,
                **more,
            )
        )

    # --- Writing ---------------------------------------------------------------------------------------------------------
    def write(self) -> None:
        """Write all changes. After the commit, update the remaining cache and send the notification job.

        The caller then adds `added_to_limits` to the investors' unfunded dollars (`serve_lists_of`).
        """
        if not self._transitions:
            return
        self._refuse_own_matter()
        loans = list(self._changed_loans.values())
        if self._changed_entries:
            # Their reservations are inserted below. The foreign key is checked at the commit.
            WaitingListEntry.objects.bulk_create(
                self._changed_entries.values(),
                update_conflicts=True,
                unique_fields=["id"],
                update_fields=["state", "reservation", "ended_at"],
            )
        changed_reservations, changed_transfers = list(self._changed_reservations.values()), list(self._changed_transfers.values())
        write_changes(
            loans, self._new_reservations, changed_reservations, changed_transfers, self._transitions, changed_facts=self._changed_facts
        )
        for loan in loans:
            loan.version += 1  # The statement has done the same in the database.
        transaction.on_commit(self._publish_remaining, robust=True)
        transaction.on_commit(_notify_soon, robust=True)

    def _refuse_own_matter(self) -> None:
        """Refuse staff who would change a reservation of their own, or approve it.

        Raises:
            NotPermitted.
        """
        if self.actor.kind == "staff" and self.actor.user_id is not None:
            changed = {reservation.investor_id for reservation in self._changed_reservations.values()}
            changed |= {entry.investor_id for entry in self._changed_entries.values()}
            users = {self.actor.user_id, self.actor.approver_id} - {None}
            if Investor.objects.filter(pk__in=changed, user__in=users).exists():
                raise NotPermitted("A reservation of your own would change. Ask another member of staff.")

    def _publish_remaining(self) -> None:
        loans = self._changed_loans.values()
        remaining_cache.publish({loan.pk: remaining_cache.Remaining(loan.remaining, self.at, loan.version) for loan in loans})


def _count_in_totals(reservation: Reservation, loan: Loan, *, sign: int) -> None:
    if reservation.state in LIVE:
        loan.claimed += sign * reservation.amount
    loan.settled += sign * reservation.settled_amount


def _facts(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: str(changes[name]) for name in Loan.FACTS if name in changes}


def _notify_soon() -> None:
    """Send the job that notifies investors, to run in a second, once for all commits of that second.

    The schedule sends it each minute anyway. A reservation that `admission` has made waits for that, since sending a job would slow it.
    """
    if cache.add("deliver_soon", 1, timeout=1):
        current_app.send_task(DELIVER_TASK, countdown=1)
