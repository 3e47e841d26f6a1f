"""Show staff how a loan would have been shared out under another settlement rule or overbooking rate."""

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse

from loans.domain.settlement_rules import RULES, RULES_IN_WORDS
from loans.models import Loan
from loans.selectors.what_if import WhatIf, what_if
from peerloans.errors import Problem

ROWS_SHOWN = 200
TOTALS = (
    ("settled", "Settled"),
    ("unfilled", "Unfilled"),
    ("turned_away", "Paid, and cut or turned away when the loan was sold out"),
    ("refunded", "Refunded for any reason"),
    ("refused", "Not admitted, although it was in fact"),
)


class WhatIfForm(forms.Form):
    rule = forms.ChoiceField(choices=[("", "the loan's own"), *((name, name) for name in RULES)], required=False, label="Settlement rule")
    overbooking_rate = forms.DecimalField(
        min_value=0,
        max_value=Decimal("9.9999"),
        decimal_places=4,
        required=False,
        help_text="A fraction, as 0.10 for 10 %. Empty: the loan's own, at each moment.",
    )


def what_if_page(request: HttpRequest, model_admin: Any, loan_id: int) -> HttpResponse:
    """Show the loan as it was and as it would be under the terms in the address."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    loan = get_object_or_404(Loan, pk=loan_id)
    form = WhatIfForm(request.GET)
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "title": f"What if: {loan.reference}",
        "opts": Loan._meta,
        "loan": loan,
        "form": form,
    }
    if form.is_valid():
        try:
            played = what_if(
                loan.reference,
                rule=form.cleaned_data["rule"] or None,
                overbooking_rate=form.cleaned_data["overbooking_rate"],
            )
            context |= _shown(played)
        except Problem as problem:
            form.add_error(None, problem.detail)
    return TemplateResponse(request, "admin/loans/what_if.html", context, status=200 if form.is_valid() else 400)


def _shown(played: WhatIf) -> dict[str, Any]:
    own, other = played.own_totals, played.other_totals
    changed = [change for change in played.changes if change.difference]
    return {
        "played": played,
        "own_rule": RULES_IN_WORDS[played.own.loan.rule],
        "other_rule": RULES_IN_WORDS[played.other.loan.rule],
        "totals": [(label, getattr(own, name), getattr(other, name), getattr(other, name) - getattr(own, name)) for name, label in TOTALS],
        "changed": changed[:ROWS_SHOWN],
        "changed_count": len(changed),
    }
