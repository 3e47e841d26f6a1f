"""List the staff actions: on which model, with which permission, by which service, and what the form asks for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model
from django.utils.text import Truncator
from django_celery_beat.models import PeriodicTask

from loans.admin.action_forms import (
    ActionForm,
    AnnouncementForm,
    AssignForm,
    BankNoticeForm,
    ClosingForm,
    DeadlineForm,
    InvestorLimitsForm,
    MoneyForm,
    NoteForm,
    OpeningForm,
    OverbookingForm,
    ReturnForm,
    TransferForm,
    WithdrawalForm,
)
from loans.domain.states import (
    LOAN_TRANSITIONS,
    RESERVATION_TRANSITIONS,
    TRANSFER_TRANSITIONS,
    WAITING_LIST_TRANSITIONS,
    LoanEvent,
    ReservationEvent,
    TransferEvent,
    WaitingListEvent,
    possible_events,
)
from loans.models import ApprovalRequest, BankEvent, Investor, Loan, Reservation, ReviewItem, Transfer, WaitingListEntry
from loans.services.approvals import approve, reject
from loans.services.bank_events import answer_another_payment, answer_same_payment, assign_bank_event
from loans.services.investor_limits import change_investor_limits
from loans.services.loans import announce_loan, close_loan_at_settled, extend_loan, open_loan, withdraw_loan
from loans.services.overbooking import set_overbooking
from loans.services.refunds import mark_refund_bounced, mark_refund_paid
from loans.services.reservations import start_transfer
from loans.services.review_items import resolve_review_item
from loans.services.run_job_now import run_scheduled_job
from loans.services.settlement import settle_ahead_of_turn
from loans.services.staff_overrides import (
    accept_amount,
    cancel_by_staff,
    extend_reservation,
    record_money,
    reinstate_reservation,
    reverse_payment,
)
from loans.services.waiting_list import remove_from_waiting_list


@dataclass(frozen=True)
class Target:
    """A model that staff act on."""

    model: type[Model]
    argument: str  # the keyword argument by which the services take the row
    compared_fields: tuple[str, ...]  # a confirmation is refused if one of these changed after the preview
    argument_field: str = "pk"  # the row's field that is passed as this argument
    row_order: tuple[str, ...] = ("pk",)  # in which several rows are acted on
    loan_field: str = ""  # leads from a row to its loan; empty for rows that the lock of a loan does not guard
    state_field: str = ""
    state_table: Mapping[Any, Any] = field(default_factory=dict)  # which event is possible in which state


LOAN = Target(
    Loan,
    argument="reference",
    argument_field="reference",
    compared_fields=("status", "amount", "opens_at", "closes_at", "overbooking_policy", "overbooking_rate"),
    loan_field="pk",
    state_field="status",
    state_table=LOAN_TRANSITIONS,
)
RESERVATION = Target(
    Reservation,
    argument="reservation_id",
    compared_fields=("state", "amount", "settled_amount", "expires_at", "funded_at", "received", "refunded", "lost"),
    row_order=("loan_id", "number"),
    loan_field="loan_id",
    state_field="state",
    state_table=RESERVATION_TRANSITIONS,
)
WAITING_LIST_ENTRY = Target(
    WaitingListEntry,
    argument="entry_id",
    compared_fields=("state",),
    row_order=("loan_id", "number"),
    loan_field="loan_id",
    state_field="state",
    state_table=WAITING_LIST_TRANSITIONS,
)
TRANSFER = Target(
    Transfer,
    argument="transfer_id",
    compared_fields=("status", "amount", "moved"),
    row_order=("created_at", "pk"),
    loan_field="reservation__loan_id",
    state_field="status",
    state_table=TRANSFER_TRANSITIONS,
)
APPROVAL = Target(ApprovalRequest, argument="request_id", compared_fields=("state",), loan_field="loan_id", state_field="state")
BANK_EVENT = Target(
    BankEvent,
    argument="bank_event_id",
    compared_fields=("outcome", "answer", "transfer_id"),
    row_order=("recorded_at", "pk"),
    loan_field="transfer__reservation__loan_id",
)
REVIEW_ITEM = Target(ReviewItem, argument="review_item_id", compared_fields=("resolved_at",))
INVESTOR = Target(Investor, argument="investor_id", compared_fields=("unfunded_limit", "let_go_limit"))
JOB = Target(PeriodicTask, argument="job_id", compared_fields=("task", "args", "kwargs"))


LONGEST_NAME = 40  # characters of a row in a button


@dataclass(frozen=True)
class StaffAction:
    """Something that staff who have the permission can do to a row."""

    name: str
    label: str
    target: Target
    permission: str
    service: Callable[..., object]
    form: type[ActionForm]
    description: str
    event: str = ""  # which the row's state must allow, or that state itself; empty if only the service can tell
    ends_row: bool = False  # the row needs nothing more, so staff go back to the list
    deed: str = ""  # what its button says, with {} for the rows; by default the label and the rows
    is_final: bool = False  # no other action undoes it
    in_total: tuple[str, str] | None = None  # what a preview says of one row and of several, where the loan's history does not

    @property
    def model(self) -> type[Model]:
        return self.target.model

    def button(self, rows: Sequence[Model]) -> str:
        """Return what the button says that does the action: the deed and the rows, such as "Cancel reservation PL-0010 #11"."""
        return (self.deed or f"{self.label} {{}}").format(self.names(rows))

    def names(self, rows: Sequence[Model]) -> str:
        """Return what the rows are called together, such as "reservation PL-0010 #11" or "2 reservations"."""
        kind = self.model._meta
        if len(rows) == 1:
            return f"{kind.verbose_name} {Truncator(rows[0]).chars(LONGEST_NAME)}"
        return f"{len(rows)} {kind.verbose_name_plural}"

    def why_not(self, row: Model) -> str:
        """Return why the row's state does not allow the action; empty if it does."""
        if self.is_possible_for(row):
            return ""
        states = [str(state) for state, event in self.target.state_table if event == self.event]
        return f"possible only while it is {' or '.join(states)}" if states else "there is nothing to decide"

    def is_possible_for(self, row: Model) -> bool:
        """Return whether the row's state allows the action. The service may still refuse it for another reason."""
        if isinstance(row, BankEvent):
            return row.outcome == self.event and not row.answer
        if isinstance(row, ApprovalRequest):
            return row.state == self.event
        if isinstance(row, ReviewItem):
            return row.resolved_at is None and not row.asks_for_approval
        return not self.event or self.event in possible_events(self.target.state_table, getattr(row, self.target.state_field))


ACTIONS = [
    StaffAction(
        "announce",
        "Announce",
        LOAN,
        "loans.announce_loan",
        announce_loan,
        AnnouncementForm,
        "Everybody sees the loan, and it opens by itself at the opening. Until then its opening can be moved; its terms are fixed.",
        LoanEvent.ANNOUNCED,
    ),
    StaffAction(
        "open",
        "Open",
        LOAN,
        "loans.open_loan",
        open_loan,
        OpeningForm,
        "The loan opens, standing orders are served first, and it takes reservations until it closes.",
        LoanEvent.OPENED,
    ),
    StaffAction(
        "extend",
        "Extend closing",
        LOAN,
        "loans.extend_loan",
        extend_loan,
        ClosingForm,
        "The open loan takes reservations until the new closing.",
        LoanEvent.EXTENDED,
        deed="Extend the closing of {}",
    ),
    StaffAction(
        "set_overbooking",
        "Set overbooking",
        LOAN,
        "loans.set_overbooking_loan",
        set_overbooking,
        OverbookingForm,
        "The loan takes reservations up to the new limit. A lower one cancels nothing.",
        LoanEvent.OVERBOOKING_SET,
        deed="Set the overbooking of {}",
    ),
    StaffAction(
        "withdraw",
        "Withdraw",
        LOAN,
        "loans.withdraw_loan",
        withdraw_loan,
        WithdrawalForm,
        "Every live or settled reservation is canceled, and the money received for it is refunded. This is final.",
        LoanEvent.WITHDRAWN,
        is_final=True,
    ),
    StaffAction(
        "close_at_settled",
        "Close at settled",
        LOAN,
        "loans.close_loan",
        close_loan_at_settled,
        ActionForm,
        "The settled dollars become the loan's amount, and the loan is funded. Live reservations are canceled and refunded.",
        LoanEvent.CLOSED_AT_SETTLED,
        deed="Close {} at what has settled",
        is_final=True,
    ),
    StaffAction(
        "remove",
        "Remove from the waiting list",
        WAITING_LIST_ENTRY,
        "loans.remove_waitinglistentry",
        remove_from_waiting_list,
        ActionForm,
        "The entry ends. Its dollars are available to those behind it.",
        WaitingListEvent.REMOVED,
        deed="Remove {}",
        is_final=True,
    ),
    StaffAction(
        "cancel",
        "Cancel",
        RESERVATION,
        "loans.cancel_reservation",
        cancel_by_staff,
        ActionForm,
        "The live reservation is canceled, and the money received for it is refunded.",
        ReservationEvent.CANCELED_BY_STAFF,
        is_final=True,
    ),
    StaffAction(
        "reinstate",
        "Reinstate",
        RESERVATION,
        "loans.reinstate_reservation",
        reinstate_reservation,
        ActionForm,
        "The canceled reservation becomes live again, with its old position in the queue.",
        ReservationEvent.REINSTATED_RESERVED,
    ),
    StaffAction(
        "extend",
        "Extend time to live",
        RESERVATION,
        "loans.extend_reservation",
        extend_reservation,
        DeadlineForm,
        "The live reservation gets a later deadline.",
        ReservationEvent.EXTENDED,
        deed="Extend the deadline of {}",
    ),
    StaffAction(
        "record_transfer",
        "Record a transfer",
        RESERVATION,
        "loans.record_transfer",
        start_transfer,
        TransferForm,
        "The reservation becomes pending, as if its investor had started the transfer.",
        ReservationEvent.TRANSFER_STARTED,
        deed="Record a transfer for {}",
    ),
    StaffAction(
        "record_money",
        "Record cleared money",
        RESERVATION,
        "loans.record_transfer",
        record_money,
        MoneyForm,
        "The money is recorded as received, as if the bank had reported it.",
        deed="Record money for {}",
    ),
    StaffAction(
        "accept_amount",
        "Accept a smaller amount",
        RESERVATION,
        "loans.accept_transfer",
        accept_amount,
        ActionForm,
        "The reservation's amount becomes the amount that was received.",
        ReservationEvent.AMOUNT_ACCEPTED,
        deed="Accept the smaller amount of {}",
    ),
    StaffAction(
        "settle_ahead",
        "Settle ahead of turn",
        RESERVATION,
        "loans.settle_reservation",
        settle_ahead_of_turn,
        ActionForm,
        "The funded reservation is settled now, up to what remains of the loan.",
        ReservationEvent.SETTLED,
        deed="Settle {} ahead of turn",
        is_final=True,
    ),
    StaffAction(
        "reverse",
        "Reverse (payment returned)",
        RESERVATION,
        "loans.reverse_reservation",
        reverse_payment,
        ReturnForm,
        "The bank took the payment back, or a part of it. The reservation keeps what is left, or is canceled.",
        deed="Reverse the payment of {}",
        is_final=True,
    ),
    StaffAction(
        "mark_paid",
        "Mark refund paid",
        TRANSFER,
        "loans.pay_refund",
        mark_refund_paid,
        BankNoticeForm,
        "The refund is recorded as paid, as if the bank had reported it.",
        TransferEvent.PAID,
        deed="Mark {} paid",
    ),
    StaffAction(
        "mark_bounced",
        "Record that it bounced",
        TRANSFER,
        "loans.pay_refund",
        mark_refund_bounced,
        BankNoticeForm,
        "The refund came back from the investor's bank. It is due again.",
        TransferEvent.BOUNCED,
        deed="Record that {} bounced",
    ),
    StaffAction(
        "assign",
        "Assign",
        BANK_EVENT,
        "loans.assign_bankevent",
        assign_bank_event,
        AssignForm,
        "The report, which names no transfer of ours, is booked under the transfer or refund that you name.",
        "unknown_reference",
    ),
    StaffAction(
        "same_payment",
        "Same payment",
        BANK_EVENT,
        "loans.assign_bankevent",
        answer_same_payment,
        NoteForm,
        "The possible duplicate is the payment that is recorded already. No money moves.",
        "possible_duplicate",
        in_total=("{count} report is taken as known already", "{count} reports are taken as known already"),
        deed="Answer that {} is the same payment",
    ),
    StaffAction(
        "another_payment",
        "Another payment",
        BANK_EVENT,
        "loans.assign_bankevent",
        answer_another_payment,
        NoteForm,
        "The possible duplicate is a payment of its own, and is booked as one.",
        "possible_duplicate",
        deed="Answer that {} is another payment",
    ),
    StaffAction(
        "approve",
        "Approve",
        APPROVAL,
        "loans.decide_approvalrequest",
        approve,
        NoteForm,
        "What your colleague requested is done now. History names both of you.",
        "waiting",
        ends_row=True,
        in_total=("{count} request is approved", "{count} requests are approved"),
    ),
    StaffAction(
        "reject",
        "Reject",
        APPROVAL,
        "loans.decide_approvalrequest",
        reject,
        NoteForm,
        "What your colleague requested is not done.",
        "waiting",
        ends_row=True,
        in_total=("{count} request is rejected", "{count} requests are rejected"),
    ),
    StaffAction(
        "resolve",
        "Resolve",
        REVIEW_ITEM,
        "loans.resolve_reviewitem",
        resolve_review_item,
        NoteForm,
        "The review item is resolved. The reason is stored as its note.",
        ends_row=True,
        in_total=("{count} review item is resolved", "{count} review items are resolved"),
    ),
    StaffAction(
        "limit",
        "Change limits",
        INVESTOR,
        "loans.limit_investor",
        change_investor_limits,
        InvestorLimitsForm,
        "The investor gets other limits from now on. Reservations that exceed them stay. The log of the investor keeps the reason.",
        in_total=("{count} investor gets these limits", "{count} investors get these limits"),
        deed="Change the limits of {}",
    ),
    StaffAction(
        "run",
        "Run now",
        JOB,
        "django_celery_beat.run_periodictask",
        run_scheduled_job,
        NoteForm,
        "The job is sent to the workers at once. Its schedule does not change.",
        in_total=("{count} job is sent to the workers", "{count} jobs are sent to the workers"),
        deed="Run {} now",
    ),
]


def actions_on(model: type[Model]) -> list[StaffAction]:
    return [action for action in ACTIONS if action.model is model]
