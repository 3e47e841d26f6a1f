"""Store the history of loans, reservations and transfers, which can only be added to."""

from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Func, Q

from loans.domain.actors import ACTOR_KINDS
from loans.domain.overbooking import KEPT, LAPSED
from loans.domain.states import LIVE, ReservationEvent, TransferEvent
from loans.models.append_only import AppendOnly
from loans.models.fields import TransactionId, dollars
from loans.models.loan import Loan
from loans.models.reservation import Reservation
from loans.models.transfer import Transfer
from loans.models.waiting_list import WaitingListEntry

COMMON_EVENTS = sorted(
    [
        ReservationEvent.RESERVED,
        ReservationEvent.TRANSFER_STARTED,
        ReservationEvent.FUNDED,
        ReservationEvent.SETTLED,
        ReservationEvent.EXPIRED,
        TransferEvent.INITIATED,
        TransferEvent.CLEARED,
    ]
)


class Transition(models.Model):
    """One change of a loan, a reservation, a transfer or an entry of a waiting list. Amounts are dollars, instants UTC."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    loan = models.ForeignKey(Loan, models.PROTECT, related_name="transitions", db_index=False)
    reservation = models.ForeignKey(Reservation, models.PROTECT, null=True, related_name="transitions", db_index=False)
    transfer = models.ForeignKey(Transfer, models.PROTECT, null=True, related_name="transitions", db_index=False)
    waiting_entry = models.ForeignKey(WaitingListEntry, models.PROTECT, null=True, related_name="transitions", db_index=False)
    event = models.CharField(max_length=30)
    from_state = models.CharField(max_length=10, blank=True)
    to_state = models.CharField(max_length=10)
    amount = dollars(null=True, help_text="The dollars that the event is about.")
    deadline = models.DateTimeField(null=True, help_text="expires_at or closes_at from here on.")
    rule = models.CharField(max_length=30, blank=True, help_text="The settlement rule that decided, or staff.")
    facts = models.JSONField(
        null=True,
        help_text="Fields of a loan that changed, with new values as text, and the evidence; the standing order.",
    )
    actor = models.CharField(max_length=10)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, db_index=False)
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+", db_index=False, help_text="Who approved the user's request."
    )
    reason = models.TextField(blank=True)
    reason_shown = models.BooleanField(db_default=False, help_text="The investor may read the reason.")
    txid = TransactionId(
        db_default=Func(function="pg_current_xact_id"),
        editable=False,
        help_text="The transaction that wrote it. The outbox and the event feed read in this order.",
    )

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["loan", "id"], name="transition_of_loan"),
            models.Index(fields=["txid", "id"], name="transition_in_order"),
            models.Index(fields=["reservation", "txid", "id"], name="transition_of_reservation"),
            models.Index(
                fields=["waiting_entry", "txid", "id"], condition=Q(waiting_entry__isnull=False), name="transition_of_waiting_entry"
            ),
            # For the search: one of rare events, and one of what staff did. The newest of a common event are found from the end of history.
            models.Index(fields=["event", "id"], condition=~Q(event__in=COMMON_EVENTS), name="transition_of_rare_event"),
            models.Index(fields=["user", "id"], condition=Q(actor="staff"), name="transition_by_staff"),
            BrinIndex(fields=["at"], name="transition_at", autosummarize=True),
            # How reservations left reserved, and pending until their money was here. Lapse shares are counted from it alone.
            models.Index(
                fields=["event", "at"],
                include=["loan", "from_state"],
                condition=Q(event__in=sorted(KEPT | LAPSED), from_state__in=LIVE),
                name="transition_phase_end",
            ),
        ]
        constraints = [
            models.CheckConstraint(name="transition_actor_known", condition=Q(actor__in=ACTOR_KINDS)),
            AppendOnly(name="append_only"),
        ]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.event}"


class HistoryBlock(models.Model):
    """A run of transitions, sealed by hash together with the blocks before it. Blocks are numbered from 1 without a gap.

    A block has all transitions whose ids lie above the last id of the block before, up to its own last id. Hashes are SHA-256 in
    hexadecimal; `loans/audit/history_chain.py` says of what.
    """

    number = models.BigIntegerField(primary_key=True)
    previous_sha256 = models.CharField(max_length=64, blank=True, help_text="Of the block before; empty in the first.")
    transitions_sha256 = models.CharField(max_length=64)
    transitions = models.PositiveIntegerField(help_text="How many.")
    last_id = models.BigIntegerField(help_text="The id of its last transition.")
    at = models.DateTimeField()
    sha256 = models.CharField(max_length=64, help_text="Of all of the above.")

    class Meta:
        ordering = ["number"]
        constraints = [AppendOnly(name="blocks_append_only")]

    def __str__(self) -> str:
        return f"block {self.number}"
