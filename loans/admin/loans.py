"""Write drafts of loans, and show each loan with its funding, queue, transfers and history."""

from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten
from django.core.exceptions import PermissionDenied
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from loans.admin import loan_documents
from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.search import SearchAsPrinted
from loans.admin.tables import (
    ROWS_SHOWN,
    RelatedTablesAdmin,
    Table,
    dollars_column,
    history_table,
    list_url,
    standing_orders_table,
    state_column,
    transfers_table,
    waiting_list_table,
)
from loans.admin.what_if import what_if_page
from loans.charts import closing_values_chart, fill_curve_chart, funding_bar, overbooking_chart
from loans.domain.actors import Actor
from loans.domain.dollars import CENT, MAX_DOLLARS
from loans.domain.loan_limits import LEAST_MINIMUM
from loans.domain.loan_terms import MAX_ANNUAL_RATE, MAX_LIEN_POSITION, MAX_LTV, MAX_TERM_MONTHS
from loans.domain.settlement_rules import RULES
from loans.domain.states import ENDED_LOAN_STATUSES, PUBLIC_STATUSES, LoanStatus, WaitingListState
from loans.models import Loan, StandingOrderTransition, Transfer, Transition, WaitingListEntry
from loans.selectors.closing_values import closing_values
from loans.selectors.loan_documents import documents_of
from loans.selectors.loans import next_reference
from loans.selectors.offers import loan_offer
from loans.selectors.overbooking import open_loans_overbooking, overbooking_changes, overbooking_evidence
from loans.selectors.queue import loan_funding, loan_queue
from loans.selectors.reservation_outlook import queue_outlooks
from loans.selectors.standing_orders import forecast_opening
from loans.services.loans import create_loan, edit_loan
from peerloans.database.clock import database_now
from peerloans.errors import Problem

CLONE = "clone"  # the parameter of the form of a new loan that names the loan whose facts it has
PROPERTY_FIELDS: list[Any] = ["reference", "title", "description", ("address", "city"), ("state", "zip")]
OVERBOOKING_FIELDS = ("overbooking_rate", "overbooking_policy", "overbooking_risk", "overbooking_cap")
TERMS_FIELDS: list[Any] = [
    "amount",
    ("annual_rate", "term_months", "ltv"),
    ("borrower_type", "lien_position"),
    ("minimum", "investor_share", "automated_share"),
    OVERBOOKING_FIELDS,
    "settlement_rule",
]
CLONED_FIELDS = [name for name in flatten([*PROPERTY_FIELDS, *TERMS_FIELDS]) if name != "reference"]
PROGRESS_FIELDS: list[Any] = [
    "status",
    ("settled", "remaining", "claimed"),
    ("waiting_entries", "waiting_dollars"),
    "market_msa",
    ("opens_at", "closes_at"),
    "created_at",
    ("lottery_commitment", "lottery_seed"),
    ("last_number", "version"),
]


class LoanForm(forms.ModelForm):
    state = forms.RegexField(r"^[A-Z]{2}$", error_messages={"invalid": "Two capital letters, such as CA."})
    zip = forms.RegexField(r"^[0-9]{5}$", label="ZIP", error_messages={"invalid": "Five digits, such as 90266."})
    settlement_rule = forms.ChoiceField(choices=[(name, name) for name in RULES])

    class Meta:
        widgets: ClassVar[dict[str, forms.Widget]] = {"description": forms.Textarea(attrs={"rows": 8, "cols": 80})}

    MINIMUMS = {
        "amount": CENT,
        "minimum": LEAST_MINIMUM,
        "overbooking_rate": Decimal(0),
        "overbooking_risk": Decimal("0.001"),
        "overbooking_cap": Decimal(0),
        "investor_share": Decimal("0.0001"),
        "automated_share": Decimal(0),
        "annual_rate": Decimal(0),
        "ltv": Decimal(0),
        "term_months": 1,
        "lien_position": 1,
    }
    MAXIMUMS = {
        "investor_share": 1,
        "automated_share": 1,
        "annual_rate": MAX_ANNUAL_RATE,
        "ltv": MAX_LTV,
        "term_months": MAX_TERM_MONTHS,
        "lien_position": MAX_LIEN_POSITION,
    }

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        for name, minimum in self.MINIMUMS.items():
            if name in cleaned and cleaned[name] < minimum:
                self.add_error(name, f"At least {minimum}.")
        for name, maximum in self.MAXIMUMS.items():
            if name in cleaned and cleaned[name] > maximum:
                self.add_error(name, f"At most {maximum}.")
        if not self.errors and cleaned["amount"] * (1 + max(cleaned["overbooking_rate"], cleaned["overbooking_cap"])) > MAX_DOLLARS:
            self.add_error("amount", f"With its overbooking, at most {MAX_DOLLARS}.")
        return cleaned


@admin.register(Loan)
class LoanAdmin(SearchAsPrinted, RelatedTablesAdmin, StaffActionsAdmin):
    """Drafts are created and edited in the form. Once a loan has opened, its page is read-only."""

    form = LoanForm
    list_display = [
        "reference",
        "closes_at",
        state_column("status"),
        "title",
        "city",
        *map(dollars_column, ("amount", "settled", "claimed", "remaining")),
    ]
    list_filter = ["status", "state", "settlement_rule", "closes_at"]
    csv_exclude = ("lottery_secret",)
    to_loan = "pk"
    search_fields = ["reference__istartswith", "title", "city", "zip__startswith", "market_msa"]
    search_help_text = "A reference, part of a title, city or market, or the first digits of a ZIP"

    def describe_found(self, loan: Loan) -> str:
        return f"{loan.title}, {loan.city}, {loan.status}"

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(lambda request, loan_id: what_if_page(request, self, loan_id))
        overbooking = self.admin_site.admin_view(self.overbooking_page)
        document_add = self.admin_site.admin_view(lambda request, **ids: loan_documents.add_page(request, self, **ids))
        document_remove = self.admin_site.admin_view(lambda request, **ids: loan_documents.remove_page(request, self, **ids))
        return [
            path("<int:loan_id>/what-if/", page, name="loans_loan_what_if"),
            path("<int:loan_id>/documents/add/", document_add, name="loans_loan_document_add"),
            path("<int:loan_id>/documents/<int:document_id>/remove/", document_remove, name="loans_loan_document_remove"),
            path("overbooking/", overbooking, name="loans_loan_overbooking"),
            *super().get_urls(),
        ]

    def overbooking_page(self, request: HttpRequest) -> HttpResponse:
        """Show what the evidence says of the overbooking of all open loans."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self.admin_site.each_context(request) | {
            "title": "Overbooking of the open loans, by evidence",
            "overbooking": open_loans_overbooking(database_now(None)),
        }
        return TemplateResponse(request, "admin/loans/open_loans_overbooking.html", context)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if CLONE not in request.GET:
            return super().add_view(request, form_url, extra_context)
        loan = self._cloned_loan(request)
        if loan is None and self.has_add_permission(request):
            self.message_user(request, "There is no such loan to clone. This form is empty.", messages.ERROR)
            return HttpResponseRedirect(request.path)
        return super().add_view(request, form_url, (extra_context or {}) | {"title": f"Add loan: a clone of {loan}"})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        loan = self._cloned_loan(request)
        facts = {name: getattr(loan, name) for name in CLONED_FIELDS} if loan else {}
        return {"reference": next_reference(), **facts, **super().get_changeform_initial_data(request)}

    def _cloned_loan(self, request: HttpRequest) -> Loan | None:
        """Return the loan that the address names for the form of a new one; None where it names none that the user may view."""
        text = request.GET.get(CLONE, "")
        if not (text.isascii() and text.isdecimal() and self.has_view_permission(request)):
            return None
        return Loan.objects.filter(pk=text).first()

    def get_fieldsets(self, request: HttpRequest, obj: Loan | None = None) -> Any:
        written = [(None, {"fields": PROPERTY_FIELDS}), ("Terms", {"fields": TERMS_FIELDS})]
        return [*written, ("Progress", {"fields": PROGRESS_FIELDS})] if obj else written

    def get_readonly_fields(self, request: HttpRequest, obj: Loan | None = None) -> list[str]:
        progress: list[str] = flatten(PROGRESS_FIELDS)
        return [*progress, "reference"] if obj else progress

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse filters on the secret of a lottery in the address, which would let staff guess it digit by digit."""
        return "lottery_secret" not in lookup and super().lookup_allowed(lookup, value, request)

    def has_change_permission(self, request: HttpRequest, obj: Loan | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.status == LoanStatus.DRAFT)

    def related_tables(self, obj: Loan) -> list[Table]:
        waiting_list = WaitingListEntry.objects.filter(loan=obj, state=WaitingListState.WAITING)
        outcomes = StandingOrderTransition.objects.filter(loan=obj)
        return [
            *([waiting_list_table(waiting_list, obj.reference)] if obj.waiting_entries else []),
            *([standing_orders_table("Standing orders at its opening", outcomes, obj.reference)] if outcomes.exists() else []),
            transfers_table(Transfer.objects.filter(reservation__loan=obj), obj.reference),
            history_table(Transition.objects.filter(loan=obj), obj.reference),
        ]

    def chart_context(self, obj: Loan) -> dict[str, Any]:
        offer = loan_offer(obj.reference)
        queue = loan_queue(offer)
        shown = queue[:ROWS_SHOWN]
        prefetch_related_objects([entry.reservation for entry in shown], "investor")
        outlooks = queue_outlooks(offer, ROWS_SHOWN) if queue else {}
        (overbooking,) = overbooking_evidence([offer]) if offer.loan.status not in ENDED_LOAN_STATUSES else (None,)
        not_opened = offer.loan.status in {LoanStatus.DRAFT, LoanStatus.UPCOMING}
        return {
            "forecast": forecast_opening(offer.loan, offer.at) if not_opened else None,
            "offer": offer,
            "public_page": self._public_page(offer.loan),
            "documents": list(documents_of(obj.pk)),
            "documents_addable": offer.loan.status != LoanStatus.WITHDRAWN,
            "funding": funding_bar(loan_funding(offer, queue)),
            "curve": fill_curve_chart(offer) if obj.opens_at else "",
            "closing_values": closing_values_chart(obj, closing_values(obj)),
            "overbooking": overbooking,
            "overbooking_chart": overbooking_chart(overbooking) if overbooking else "",
            "overbooking_changes": overbooking_changes(obj),
            "queue": [(entry, outlooks.get(entry.reservation.number)) for entry in shown],
            "queue_length": len(queue),
            "queue_more_url": list_url("reservation", obj.reference) if len(queue) > ROWS_SHOWN else None,
        }

    def _public_page(self, loan: Loan) -> str:
        """Return the address of the page that everybody sees, or that a draft would have; empty for a withdrawn loan, which has none."""
        if loan.status == LoanStatus.DRAFT:
            return reverse("loans:loan-preview", args=[loan.pk])
        return reverse("loans:loan-detail", args=[loan.reference]) if loan.status in PUBLIC_STATUSES else ""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Problem as problem:
            self.message_user(request, problem.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Loan, form: Any, change: bool) -> None:
        actor = Actor("staff", request.user.pk)
        if change:
            facts = {name: form.cleaned_data[name] for name in form.changed_data}
            saved = edit_loan(reference=obj.reference, facts=facts, actor=actor)
        else:
            saved = create_loan(obj, actor=actor)
        if "zip" in form.changed_data and not saved.market_cbsa:
            text = f"ZIP {obj.zip} is not in the ZIP data in use, so the loan has no market. Check it, or import newer data."
            self.message_user(request, text, messages.WARNING)
