"""Define the forms of the staff actions. Each field is named as the argument of the service that takes its value."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from loans.domain.business_calendar import FIRST_YEAR, LAST_YEAR
from loans.domain.deadlines import one_banking_day_later
from loans.domain.dollars import CENT
from loans.domain.overbooking import OverbookingPolicy
from peerloans.admin.forms import ReasonForm
from peerloans.wording import deadline_text

NEW_YORK = "New York time."
WRONG_YEAR = f"Name a year from {FIRST_YEAR} to {LAST_YEAR}."


class InstantField(forms.DateTimeField):
    """A minute in New York time. Where clocks go back and a minute occurs twice, the first of the two is meant.

    A minute that clocks leave out when they go forward is refused.
    """

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def to_python(self, value: Any) -> datetime | None:
        try:
            instant = super().to_python(value)
        except ValidationError as error:
            if error.code != "ambiguous_timezone" or not error.params:
                raise
            first = timezone.make_aware(error.params["datetime"].replace(fold=0))
            instant = first.astimezone(UTC)  # Python compares an ambiguous minute as unequal to any in another zone
            if timezone.localtime(instant) != first:
                raise
        except OverflowError:
            raise ValidationError(WRONG_YEAR) from None
        if instant and not FIRST_YEAR <= instant.year <= LAST_YEAR:
            raise ValidationError(WRONG_YEAR)
        return instant


def this_minute() -> datetime:
    return timezone.now().replace(second=0, microsecond=0)


class ActionForm(ReasonForm):
    """A form that asks for the reason, below the fields of its subclass. `rows` are those that the action is taken on."""

    ABOUT_REASON = ("reason", "shows_reason")
    ASKED_LAST: tuple[str, ...] = ("reason",)  # what a preview does not need

    shows_reason = forms.BooleanField(
        required=False, label="Shown to the investor", help_text="Tick this if the investor may read the reason in the history."
    )

    def __init__(self, data: Any = None, *, rows: Sequence[Any] = ()) -> None:
        super().__init__(data)
        self.rows = rows
        self.order_fields([*(name for name in self.fields if name not in self.ABOUT_REASON), *self.ABOUT_REASON])

    def service_arguments(self) -> dict[str, Any] | None:
        """Return what the service takes besides the reason; None if a field is missing or wrong. Empty fields are left out."""
        if self.errors.keys() - {*self.ASKED_LAST}:
            return None
        not_arguments = {*self.ABOUT_REASON, *self.ASKED_LAST}
        return {name: value for name, value in self.cleaned_data.items() if name not in not_arguments and value is not None}


class NoteForm(ActionForm):
    """A form whose reason no investor ever sees."""

    shows_reason = None  # type: ignore[assignment]


class AnnouncementForm(ActionForm):
    opens_at = InstantField(label="Opens at", help_text=NEW_YORK)
    closes_at = InstantField(required=False, label="Closes at", help_text=f"{NEW_YORK} Empty: three weeks after the opening.")


class OpeningForm(ActionForm):
    closes_at = InstantField(
        required=False, label="Closes at", help_text=f"{NEW_YORK} Empty: as announced, or three weeks after the opening."
    )


class ExtensionForm(ActionForm):
    """A form that shows the present instant in the field `extended` of the rows, and offers one banking day more than the latest."""

    extended: ClassVar[str]

    def __init__(self, data: Any = None, *, rows: Sequence[Any] = ()) -> None:
        super().__init__(data, rows=rows)
        present = [instant for row in rows if (instant := getattr(row, self.extended))]
        if present:
            field = self.fields[self.extended]
            field.initial = one_banking_day_later(max(present))
            now = " and ".join(dict.fromkeys(map(deadline_text, sorted(present)))) if len(present) <= 3 else f"{len(present)} instants"
            field.help_text = f"At present: {now}. {NEW_YORK} Offered is one banking day more; midnight is the end of the day before."


class ClosingForm(ExtensionForm):
    extended = "closes_at"
    closes_at = InstantField(label="New closing", help_text=NEW_YORK)


class WithdrawalForm(ActionForm):
    """A form that makes sure that these loans are meant, since a withdrawal is final."""

    ASKED_LAST = ("reason", "typed_reference")

    typed_reference = forms.CharField(max_length=2000, label="Reference")

    def __init__(self, data: Any = None, *, rows: Sequence[Any] = ()) -> None:
        super().__init__(data, rows=rows)
        what = "the reference of the loan" if len(rows) == 1 else "the references of the loans, with blanks between them"
        self.fields["typed_reference"].help_text = f"Type {what}, to make sure that nothing else is withdrawn: {self.references}"

    @property
    def references(self) -> str:
        return " ".join(row.reference for row in self.rows)

    def clean_typed_reference(self) -> str:
        typed: str = self.cleaned_data["typed_reference"]
        if typed.upper().split() != self.references.upper().split():
            raise ValidationError(f"Type exactly this: {self.references}")
        return typed


class OverbookingForm(ActionForm):
    overbooking_policy = forms.ChoiceField(
        choices=[
            (OverbookingPolicy.FIXED, "Fixed: the rate below"),
            (OverbookingPolicy.EVIDENCE, "Evidence: from the shares that lapsed; now, at the opening, and each night"),
        ],
        initial=OverbookingPolicy.FIXED,
        label="Policy",
    )
    overbooking_rate = forms.DecimalField(
        required=False, min_value=0, max_digits=5, decimal_places=4, label="Rate", help_text="0.20 means 20 %. Empty: as it is."
    )
    overbooking_risk = forms.DecimalField(
        required=False,
        min_value=Decimal("0.001"),
        max_value=Decimal("0.999"),
        decimal_places=3,
        label="Risk",
        help_text="By evidence: how probably somebody may be turned away, as 0.05. Empty: as it is.",
    )
    overbooking_cap = forms.DecimalField(
        required=False,
        min_value=0,
        max_digits=5,
        decimal_places=4,
        label="Cap",
        help_text="By evidence: the largest rate. Empty: as it is.",
    )


class DeadlineForm(ExtensionForm):
    extended = "expires_at"
    expires_at = InstantField(label="New deadline", help_text=NEW_YORK)


class TransferForm(ActionForm):
    method = forms.ChoiceField(choices=[("ach", "ACH"), ("wire", "Wire")], initial="ach")


class BankNoticeForm(ActionForm):
    """What a bank event would say. The same `notice_id` is recorded once, so a double click has no effect."""

    notice_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)
    occurred_at = InstantField(label="Time at the bank", help_text=NEW_YORK, initial=this_minute)


class MoneyForm(BankNoticeForm):
    amount = forms.DecimalField(
        required=False,
        min_value=CENT,
        max_digits=14,
        decimal_places=2,
        help_text="Dollars that were received. Empty: the expected amount.",
    )

    def clean_amount(self) -> Decimal | None:
        amount: Decimal | None = self.cleaned_data["amount"]
        return amount and amount.quantize(CENT)


class ReturnForm(MoneyForm):
    def __init__(self, data: Any = None, *, rows: Sequence[Any] = ()) -> None:
        super().__init__(data, rows=rows)
        self.fields["amount"].help_text = "Dollars that the bank took back. Empty: all that was received."


class AssignForm(NoteForm):
    reference = forms.CharField(max_length=40, help_text="The reference of the transfer (T-…) or of the refund (R-…) that is meant.")


class InvestorLimitsForm(ActionForm):
    unfunded_limit = forms.DecimalField(
        required=False,
        min_value=0,
        max_digits=14,
        decimal_places=2,
        help_text="Dollars of live reservations over all loans whose money is not here. Empty: as before.",
    )
    let_go_limit = forms.IntegerField(
        required=False,
        min_value=0,
        label="Reservations let go within 24 hours",
        help_text="With so many canceled by the investor or expired, no new one is possible. Empty: as before.",
    )
