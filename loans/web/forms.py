"""Define the forms of an investor's account."""

import re
from decimal import Decimal
from typing import Any

from django import forms

from loans.domain.limits import CENT
from loans.domain.scopes import Scope
from loans.services.named_tokens import DAYS, MOST_DAYS

DOLLARS = re.compile(r"\$?\s*([0-9]{1,12}(?:\.[0-9]{1,2})?)")
METHODS = (("ach", "ACH transfer"), ("wire", "Wire transfer"))
SCOPES = (
    (Scope.READ, "Read: your reservations, portfolio and events"),
    (Scope.RESERVE, "Reserve: also start transfers and cancel"),
)


class DollarsField(forms.CharField):
    """An amount of dollars as people write it: with or without its sign and its separators."""

    def clean(self, value: Any) -> Decimal | None:
        text = super().clean(value)
        if not text:
            return None
        dollars = DOLLARS.fullmatch(text.replace(",", ""))
        if not dollars or not Decimal(dollars[1]):
            raise forms.ValidationError("Enter an amount of dollars, such as 25,000 or 25,000.50.")
        return Decimal(dollars[1]).quantize(CENT)


class ReserveForm(forms.Form):
    """The amount, and a key that is new for each form that is shown, so that a form that is sent twice reserves once."""

    amount = DollarsField(max_length=40, error_messages={"required": "Enter an amount of dollars."})
    key = forms.UUIDField(widget=forms.HiddenInput)


class WaitForm(forms.Form):
    """The amount to wait for, and the least to take instead."""

    amount = DollarsField(max_length=40, error_messages={"required": "Enter an amount of dollars."})
    at_least = DollarsField(max_length=40, required=False)


class TransferForm(forms.Form):
    """How the money is sent."""

    method = forms.ChoiceField(choices=METHODS, error_messages={"required": "Choose how you send the money."})


class TokenForm(forms.Form):
    """The name of a token, what its holder may do, and for how long."""

    name = forms.CharField(max_length=100, error_messages={"required": "Give the token a name, to tell it from the others."})
    scopes = forms.MultipleChoiceField(choices=SCOPES, error_messages={"required": "Choose at least one."})
    days = forms.IntegerField(min_value=1, max_value=MOST_DAYS, initial=DAYS)


class WebhookEndpointForm(forms.Form):
    """The URL of an endpoint. The service says whether webhooks may be sent to it."""

    url = forms.CharField(max_length=500, error_messages={"required": "Enter the URL of your endpoint."})
