"""Define the forms of an investor's account."""

import re
from decimal import Decimal
from typing import Any

from django import forms

from loans.domain.dollars import CENT
from loans.domain.loan_terms import MAX_ANNUAL_RATE, MAX_LTV, MAX_TERM_MONTHS
from loans.domain.scopes import Scope
from loans.selectors.loans import loan_markets
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


class StatesField(forms.CharField):
    """Two-letter states as people write them: with commas or spaces between them, in any case."""

    def clean(self, value: Any) -> list[str]:
        names = re.split(r"[\s,;]+", (super().clean(value) or "").upper().strip(" ,;"))
        if wrong := [name for name in names if name and not re.fullmatch(r"[A-Z]{2}", name)]:
            raise forms.ValidationError(f"Write states with two letters, as CA, WA. This is none: {wrong[0][:20]}.")
        return [name for name in names if name]


class StandingOrderForm(forms.Form):
    """The loans that an order wants, and the dollars. What is left empty wants all."""

    CRITERIA = ("states", "metros", "least_rate", "greatest_ltv", "longest_term_months")

    states = StatesField(
        required=False, max_length=400, label="States", help_text="Two letters each, as CA, WA. Leave it empty for every state."
    )
    metros = forms.MultipleChoiceField(
        required=False,
        label="Metro areas",
        widget=forms.CheckboxSelectMultiple,
        help_text="Those in which we have offered loans. Choose none for all of them.",
    )
    least_rate = forms.DecimalField(
        required=False, min_value=0, max_value=MAX_ANNUAL_RATE, max_digits=5, decimal_places=2, label="Rate at least, % a year"
    )
    greatest_ltv = forms.DecimalField(
        required=False, min_value=0, max_value=MAX_LTV, max_digits=5, decimal_places=2, label="Loan to value at most, %"
    )
    longest_term_months = forms.IntegerField(required=False, min_value=1, max_value=MAX_TERM_MONTHS, label="Term at most, months")
    amount = DollarsField(max_length=40, label="Dollars per loan", error_messages={"required": "Enter an amount of dollars."})
    at_least = DollarsField(
        max_length=40, required=False, label="The least to take of a loan", help_text="Leave it empty to take the whole amount or nothing."
    )
    cap = DollarsField(
        max_length=40,
        label="Cap over all loans",
        help_text="The most that may be reserved or bought through this order together.",
        error_messages={"required": "Enter an amount of dollars."},
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        metros = self.fields["metros"]
        assert isinstance(metros, forms.MultipleChoiceField)  # noqa: S101 - for mypy
        metros.choices = loan_markets()

    @property
    def criteria(self) -> dict[str, Any]:
        """The criteria among what was filled in, without the dollars."""
        return {name: self.cleaned_data[name] for name in self.CRITERIA}


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
