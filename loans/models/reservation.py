"""Store reservations. Only loans.ledger writes them; the constraints refuse a state and amounts that do not agree."""

from decimal import Decimal

from django.db import models
from django.db.models import F, Q

from loans.domain import refunds
from loans.domain.dollars import ZERO_DOLLARS
from loans.domain.states import LETTING_GO, LIVE, ReservationState
from loans.models.fields import choices, dollars, uuid7
from loans.models.investor import Investor
from loans.models.loan import Loan


class Reservation(models.Model):
    """An investor's hold on `amount` dollars of a loan. Its `number` says where it stands in the loan's queue, and never changes.

    Amounts are dollars with two decimal places, instants UTC.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    loan = models.ForeignKey(Loan, models.PROTECT, related_name="reservations", db_index=False)
    investor = models.ForeignKey(Investor, models.PROTECT, related_name="reservations", db_index=False)
    number = models.PositiveBigIntegerField()
    standing_order = models.ForeignKey(
        "loans.StandingOrder", models.PROTECT, null=True, related_name="reservations", db_index=False, help_text="What reserved it, if any."
    )
    amount = dollars()
    settled_amount = dollars(default=ZERO_DOLLARS)
    state = models.CharField(max_length=10, choices=choices(ReservationState))
    cause = models.CharField(max_length=30, blank=True, help_text="The event that canceled it.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, help_text="Null when it cannot expire.")
    funded_at = models.DateTimeField(null=True, help_text="When its money had been received in full.")
    let_go_at = models.DateTimeField(null=True, help_text="When its investor canceled it, or its deadline passed.")
    received = dollars(default=ZERO_DOLLARS, help_text="Inbound money that cleared.")
    refunded = dollars(default=ZERO_DOLLARS, help_text="Refunds due or paid.")
    lost = dollars(default=ZERO_DOLLARS, help_text="Refunds that were paid before the bank took the refunded payment back.")

    class Meta:
        ordering = ["-created_at", "-id"]
        permissions = [
            ("cancel_reservation", "Can cancel a reservation"),
            ("extend_reservation", "Can extend a reservation's time to live"),
            ("reinstate_reservation", "Can reinstate a canceled reservation"),
            ("settle_reservation", "Can settle a reservation ahead of its turn"),
            ("reverse_reservation", "Can reverse a payment"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["loan", "number"], name="reservation_number_unique"),
            models.CheckConstraint(name="reservation_amount_positive", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="reservation_state_agrees",
                condition=Q(state=ReservationState.RESERVED, cause="", settled_amount=0, expires_at__isnull=False, funded_at__isnull=True)
                | Q(state=ReservationState.PENDING, cause="", settled_amount=0, expires_at__isnull=False, funded_at__isnull=True)
                | Q(state=ReservationState.PENDING, cause="", settled_amount=0, expires_at__isnull=True, funded_at__isnull=False)
                | Q(state=ReservationState.SETTLED, cause="", settled_amount__gt=0, expires_at__isnull=True, funded_at__isnull=False)
                | (Q(state=ReservationState.CANCELED, settled_amount=0, expires_at__isnull=True, funded_at__isnull=True) & ~Q(cause="")),
            ),
            models.CheckConstraint(
                name="reservation_let_go_agrees",
                condition=Q(cause__in=LETTING_GO, let_go_at__isnull=False) | (~Q(cause__in=LETTING_GO) & Q(let_go_at__isnull=True)),
            ),
            models.CheckConstraint(name="reservation_settled_within_amount", condition=Q(settled_amount__lte=F("amount"))),
            models.CheckConstraint(
                name="reservation_money_adds_up",
                condition=Q(received__gte=0, refunded__gte=0, lost__gte=0)
                & Q(received__gte=F("settled_amount") + F("refunded") - F("lost"))
                & (
                    Q(funded_at__isnull=True) | Q(state=ReservationState.SETTLED) | Q(received__gte=F("amount") + F("refunded") - F("lost"))
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["loan", "expires_at"], name="reservation_live", condition=Q(state__in=LIVE)),
            models.Index(fields=["expires_at", "id"], name="reservation_due", condition=Q(expires_at__isnull=False)),
            models.Index(fields=["loan"], name="reservation_funded", condition=Q(state=ReservationState.PENDING, expires_at__isnull=True)),
            models.Index(fields=["investor", "-created_at", "-id"], name="reservation_of_investor"),
            models.Index(fields=["-created_at", "-id"], name="reservation_newest"),
            # What counts in an investor's limits.
            models.Index(fields=["investor", "expires_at"], name="reservation_unfunded", condition=Q(expires_at__isnull=False)),
            models.Index(fields=["investor", "let_go_at"], name="reservation_let_go", condition=Q(let_go_at__isnull=False)),
            models.Index(fields=["standing_order"], name="reservation_of_order", condition=Q(standing_order__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.loan.reference} #{self.number}"

    @property
    def loan_reference(self) -> str:
        return self.loan.reference

    @property
    def waiting_money(self) -> Decimal:
        """Money that was received and is neither settled nor refunded, in dollars."""
        return refunds.waiting_money(received=self.received, lost=self.lost, refunded=self.refunded, settled_amount=self.settled_amount)
