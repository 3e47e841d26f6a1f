"""Ask staff for the reason of what they do."""

from django import forms
from django.core.exceptions import ValidationError

REASON_MIN_CHARACTERS = 10
REASON_MIN_WORDS = 2


class ReasonForm(forms.Form):
    """A form with a reason. Subclasses add the fields of their action."""

    reason = forms.CharField(
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
        help_text=f"Stored in the history. At least {REASON_MIN_WORDS} words and {REASON_MIN_CHARACTERS} characters.",
    )

    def clean_reason(self) -> str:
        reason: str = self.cleaned_data["reason"]
        if len(reason) < REASON_MIN_CHARACTERS or len(reason.split()) < REASON_MIN_WORDS:
            raise ValidationError(f"Give a reason of at least {REASON_MIN_WORDS} words and {REASON_MIN_CHARACTERS} characters.")
        return reason
