"""What must staff write down before they act? A reason always, and whatever the action needs to know."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from loans.domain.limits import CENT
from peerloans.admin.forms import ReasonForm

NEW_YORK = "New York time."


class Instant(forms.DateTimeField):
    """A minute in New York. One that occurs twice, because clocks go back, means the first of the two."""

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")

    def to_python(self, value: Any) -> datetime | None:
        try:
            return super().to_python(value)
        except ValidationError as error:
            if error.code != "ambiguous_timezone" or not error.params:
                raise
            at = timezone.make_aware(error.params["datetime"].replace(fold=0))
            instant = at.astimezone(UTC)  # a repeated minute of another zone equals nothing in Python
            if timezone.localtime(instant) != at:  # clocks go forward over it
                raise
            return instant


def this_minute() -> datetime:
    return timezone.now().replace(second=0, microsecond=0)


class ActionForm(ReasonForm):
    """A reason. Each further field is named as the service names what it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.order_fields([*(name for name in self.fields if name != "reason"), "reason"])

    def given(self) -> dict[str, Any] | None:
        """What the service is told beside the reason; None while something of it is missing or wrong."""
        if self.errors.keys() - {"reason"}:
            return None
        return {name: value for name, value in self.cleaned_data.items() if name != "reason" and value is not None}


class OpeningForm(ActionForm):
    closes_at = Instant(required=False, label="Closes at", help_text=f"{NEW_YORK} Empty: three weeks after the opening.")


class ClosingForm(ActionForm):
    closes_at = Instant(label="New closing", help_text=NEW_YORK)


class DeadlineForm(ActionForm):
    expires_at = Instant(label="Lives until", help_text=NEW_YORK)


class TransferForm(ActionForm):
    method = forms.ChoiceField(choices=[("ach", "ACH"), ("wire", "Wire")], initial="ach")


class NoticeForm(ActionForm):
    """What the bank would have told. `notice_id` makes a second click harmless."""

    notice_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)
    occurred_at = Instant(label="When, by the bank", help_text=NEW_YORK, initial=this_minute)


class MoneyForm(NoticeForm):
    amount = forms.DecimalField(
        required=False, min_value=CENT, max_digits=14, decimal_places=2, help_text="Dollars that came. Empty: all that was expected."
    )

    def clean_amount(self) -> Decimal | None:
        amount: Decimal | None = self.cleaned_data["amount"]
        return amount and amount.quantize(CENT)
