"""What must staff write down before they act? A reason, in a few words."""

from django import forms
from django.core.exceptions import ValidationError

LEAST_REASON = 10
LEAST_WORDS = 2


class ReasonForm(forms.Form):
    """A reason; forms with more to fill in add their fields."""

    reason = forms.CharField(
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
        help_text=f"History keeps it. At least {LEAST_REASON} characters, in words.",
    )

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if len(reason) < LEAST_REASON or len(reason.split()) < LEAST_WORDS:
            raise ValidationError(f"Say why in a few words, at least {LEAST_REASON} characters.")
        return reason
