"""What do staff see, and what may they write down? States and totals change only through the services, for superusers too."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from loans.admin import users
from loans.admin.action_pages import Acting
from loans.charts import closing_values_chart, fill_curve_chart, funding_bar
from loans.domain.actors import Actor
from loans.domain.limits import CENT, LEAST_MINIMUM
from loans.domain.settlement_rules import RULES
from loans.domain.states import CAUSES, LoanStatus
from loans.models import BankEvent, ClosingValue, Delivery, Investor, Loan, Reservation, ReviewItem, Transfer, Transition, WebhookEndpoint
from loans.notifications import outbox, webhooks
from loans.selectors.closing_values import closing_values
from loans.selectors.loans import loan_fill_curve
from loans.selectors.offers import loan_offer
from loans.selectors.queue import loan_funding, loan_queue
from loans.selectors.reservations import explain_deadline
from loans.services.loans import create_loan, edit_loan
from peerloans import safe_http
from peerloans.admin.base import KeptAdmin, ReadOnlyAdmin
from peerloans.errors import Problem

ROWS_SHOWN = 50  # of a queue, of transfers, of history; the lists have them all
STEPS_SHOWN = 200  # of a reservation's life, the latest
SHOWN_OF_SECRET = len("whsec_") + 4


def dollars(name: str) -> Any:
    """A column of money, as people write it."""

    @admin.display(description=name.replace("_", " "), ordering=None if name == "remaining" else name)
    def column(shown: Any) -> str:
        value = getattr(shown, name)
        return "" if value is None else f"{value:,.2f}"

    column.__name__ = name
    return column


def labeled(name: str) -> Any:
    """A column of states, each a label with its colour."""

    @admin.display(description=name, ordering=name)
    def column(shown: Any) -> str:
        value = getattr(shown, name)
        return format_html('<span class="status {}">{}</span>', value, value)

    column.__name__ = name
    return column


class CauseFilter(admin.SimpleListFilter):
    """Its choices are known without reading the table."""

    title = parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(cause), str(cause).replace("_", " ")) for cause in CAUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(cause=self.value()) if self.value() else queryset


@dataclass(frozen=True)
class Row:
    address: str
    cells: list[object]


@dataclass(frozen=True)
class Table:
    """Rows that belong to what a page shows. `more` leads to all of them, where not all are here."""

    title: str
    columns: list[str]
    rows: list[Row]
    more: str | None


def _cell(value: object) -> object:
    return f"{value:,.2f}" if isinstance(value, Decimal) else value


def table(title: str, found: QuerySet[Any], columns: Sequence[str], search: str) -> Table:
    name = found.model._meta.model_name
    objects = list(found[: ROWS_SHOWN + 1])
    rows = [
        Row(reverse(f"admin:loans_{name}_change", args=[found.pk]), [_cell(getattr(found, column)) for column in columns])
        for found in objects[:ROWS_SHOWN]
    ]
    more = f"{reverse(f'admin:loans_{name}_changelist')}?{urlencode({'q': search})}" if len(objects) > ROWS_SHOWN else None
    return Table(title, [column.replace("_", " ") for column in columns], rows, more)


def transfers(found: QuerySet[Transfer], search: str) -> Table:
    columns = ("reference", "reservation", "direction", "method", "amount", "status", "created_at", "cleared_at", "ended_at")
    return table("Transfers, newest first", found.select_related("reservation__loan").order_by("-created_at", "-id"), columns, search)


def history(found: QuerySet[Transition], search: str) -> Table:
    columns = ("at", "event", "reservation", "transfer", "from_state", "to_state", "amount", "rule", "actor", "user", "reason")
    related = found.select_related("reservation__loan", "transfer", "user")
    return table("History, newest first", related.order_by("-id"), columns, search)


class WithTables(admin.ModelAdmin):
    """A page that shows, below its fields, what belongs to it."""

    def tables(self, shown: Any) -> list[Table]:
        raise NotImplementedError

    def pictures(self, shown: Any) -> dict[str, Any]:
        """What the page's template shows beside its fields and tables."""
        raise NotImplementedError

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        context |= {"tables": self.tables(obj), **self.pictures(obj)} if obj else {}
        return super().render_change_form(request, context, add, change, form_url, obj)


# --- Loans ------------------------------------------------------------------------------------------------------------
class LoanForm(forms.ModelForm):
    state = forms.RegexField(r"^[A-Z]{2}$", error_messages={"invalid": "Two capital letters, such as CA."})
    zip = forms.RegexField(r"^[0-9]{5}$", label="ZIP", error_messages={"invalid": "Five digits, such as 90266."})
    settlement_rule = forms.ChoiceField(choices=[(name, name) for name in RULES])

    LEAST = {
        "amount": CENT,
        "minimum": LEAST_MINIMUM,
        "overbooking_rate": Decimal(0),
        "annual_rate": Decimal(0),
        "ltv": Decimal(0),
        "term_months": 1,
    }

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for name, least in self.LEAST.items():
            if name in given and given[name] < least:
                self.add_error(name, f"At least {least}.")
        return given


@admin.register(Loan)
class LoanAdmin(WithTables, Acting):
    """Drafts can be written and rewritten; from its opening on, a loan is only to be read here."""

    form = LoanForm
    list_display = [
        "reference",
        "closes_at",
        labeled("status"),
        "title",
        "city",
        *map(dollars, ("amount", "settled", "claimed", "remaining")),
    ]
    list_filter = ["status", "state", "settlement_rule", "closes_at"]
    search_fields = ["reference__istartswith", "title", "city", "zip__startswith", "market_msa"]
    search_help_text = "A reference, part of a title, city or market, or the first digits of a ZIP"
    offered = ["reference", "title", ("address", "city"), ("state", "zip")]
    terms = ["amount", ("annual_rate", "term_months", "ltv"), ("minimum", "overbooking_rate"), "settlement_rule"]
    course = [
        "status",
        ("settled", "remaining", "claimed"),
        "market_msa",
        ("opens_at", "closes_at"),
        "created_at",
        ("last_number", "version"),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Loan | None = None) -> Any:
        written = [(None, {"fields": self.offered}), ("Terms", {"fields": self.terms})]
        return [*written, ("Course", {"fields": self.course})] if obj else written

    def get_readonly_fields(self, request: HttpRequest, obj: Loan | None = None) -> list[str]:
        kept = ["status", "settled", "remaining", "claimed", "market_msa", "opens_at", "closes_at", "created_at", "last_number", "version"]
        return [*kept, "reference"] if obj else kept

    def has_change_permission(self, request: HttpRequest, obj: Loan | None = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or obj.status == LoanStatus.DRAFT)

    def tables(self, shown: Loan) -> list[Table]:
        return [
            transfers(Transfer.objects.filter(reservation__loan=shown), shown.reference),
            history(Transition.objects.filter(loan=shown), shown.reference),
        ]

    def pictures(self, shown: Loan) -> dict[str, Any]:
        offer = loan_offer(shown.reference)
        queue = loan_queue(offer)
        more = f"{reverse('admin:loans_reservation_changelist')}?{urlencode({'q': shown.reference})}"
        return {
            "offer": offer,
            "funding": funding_bar(loan_funding(offer, queue)),
            "curve": fill_curve_chart(shown, loan_fill_curve(offer)) if shown.opens_at else "",
            "closing_values": closing_values_chart(shown, closing_values(shown)),
            "queue": queue[:ROWS_SHOWN],
            "queue_length": len(queue),
            "queue_more": more if len(queue) > ROWS_SHOWN else None,
        }

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except Problem as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Loan, form: Any, change: bool) -> None:
        actor = Actor("staff", request.user.pk)
        if change:
            facts = {name: form.cleaned_data[name] for name in form.changed_data}
            edit_loan(reference=obj.reference, facts=facts, actor=actor)
        else:
            create_loan(obj, actor=actor)


# --- What belongs to loans ----------------------------------------------------------------------------------------------
@admin.register(Reservation)
class ReservationAdmin(WithTables, ReadOnlyAdmin, Acting):
    list_display = [
        "__str__",
        "investor",
        dollars("amount"),
        dollars("settled_amount"),
        labeled("state"),
        "created_at",
        "expires_at",
        "funded_at",
    ]
    list_select_related = ["loan", "investor"]
    list_filter = ["state", CauseFilter, "created_at", "expires_at"]
    search_fields = ["id__exact", "loan__reference__exact", "investor__name", "transfers__reference__exact"]
    search_help_text = "A reservation's id, a loan's or a transfer's whole reference, or part of an investor's name"
    ordering = ["-created_at", "-id"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reservation]:
        return super().get_queryset(request).select_related("loan", "investor")

    def tables(self, shown: Reservation) -> list[Table]:
        return [transfers(Transfer.objects.filter(reservation=shown), shown.loan.reference)]

    def pictures(self, shown: Reservation) -> dict[str, Any]:
        found = Transition.objects.filter(reservation=shown).select_related("transfer", "user").order_by("-id")
        steps = list(found[:STEPS_SHOWN])[::-1]
        return {"steps": steps, "deadline": explain_deadline(shown, steps)}


@admin.register(Transfer)
class TransferAdmin(ReadOnlyAdmin, Acting):
    list_display = [
        "reference",
        "payment",
        "reservation",
        "direction",
        "method",
        dollars("amount"),
        labeled("status"),
        "created_at",
        "cleared_at",
        "ended_at",
    ]
    list_select_related = ["reservation__loan"]
    list_filter = ["direction", "status", "method", "created_at"]
    ordering = ["-created_at", "-id"]
    search_fields = ["reference__exact", "reservation__loan__reference__exact", "reservation__investor__name"]
    search_help_text = "A transfer's or a loan's whole reference, or part of an investor's name"


@admin.register(Transition)
class TransitionAdmin(ReadOnlyAdmin):
    list_display = [
        "at",
        "loan",
        "reservation",
        "transfer",
        "event",
        "from_state",
        "to_state",
        dollars("amount"),
        "rule",
        "actor",
        "user",
        "reason",
    ]
    list_select_related = ["loan", "reservation__loan", "transfer", "user"]
    list_filter = ["at"]
    search_fields = ["loan__reference__exact", "transfer__reference__exact", "event__exact", "actor__exact", "user__username__exact"]
    search_help_text = "A loan's or a transfer's whole reference, an event such as canceled_by_staff, an actor such as bank, or a user"
    ordering = ["-id"]


@admin.register(BankEvent)
class BankEventAdmin(ReadOnlyAdmin):
    list_display = ["id", "type", "reference", dollars("amount"), "occurred_at", "recorded_at", "outcome"]
    list_filter = ["recorded_at"]
    search_fields = ["id__exact", "reference__exact", "outcome__exact"]
    search_help_text = "The bank's id, a transfer's whole reference, or an outcome such as late_money"


@admin.register(ReviewItem)
class CaseAdmin(ReadOnlyAdmin, Acting):
    list_display = ["kind", "loan", "reservation", "detail", "opened_at", "resolved_at", "resolved_by", "note"]
    list_select_related = ["loan", "reservation__loan", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "kind", "opened_at"]
    search_fields = ["loan__reference__exact", "detail"]


@admin.register(ClosingValue)
class ClosingValueAdmin(ReadOnlyAdmin):
    list_display = ["loan", "day", *map(dollars, ("remaining", "settled", "claimed"))]
    list_select_related = ["loan"]
    list_filter = ["day"]
    search_fields = ["loan__reference__exact"]
    ordering = ["-day", "loan"]


@admin.register(Investor)
class InvestorAdmin(KeptAdmin):
    list_display = ["name", "user", "accredited_until"]
    list_select_related = ["user"]
    list_filter = ["accredited_until"]
    search_fields = ["name", "user__username__exact", "user__email__exact"]
    autocomplete_fields = ["user"]

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[str]:
        return ["user"] if obj else []


# --- Messages to investors ----------------------------------------------------------------------------------------------
class WebhookEndpointForm(forms.ModelForm):
    def clean_url(self) -> str:
        """Refuse at once what could never be delivered to. That a host is not found may be so for now only."""
        url: str = self.cleaned_data["url"]
        try:
            address = webhooks.checked(url)
            webhooks.addresses_of(address.hostname or "", address.port or 443)
        except safe_http.Refused as refusal:
            raise ValidationError(str(refusal)) from None
        except safe_http.Failed:
            pass
        return url


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(KeptAdmin):
    """The signing secret is made here and told once, when the endpoint is registered."""

    form = WebhookEndpointForm
    not_taken_out = ("secret",)
    list_display = ["url", "investor", "enabled", "created_at"]
    list_select_related = ["investor"]
    list_filter = ["enabled"]
    search_fields = ["url", "investor__name"]
    autocomplete_fields = ["investor"]

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return ["investor", "url", "enabled", "secret_begins", "created_at"] if obj else ["investor", "url"]

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> list[str]:
        return ["investor", "secret_begins", "created_at"] if obj else []

    @admin.display(description="secret")
    def secret_begins(self, endpoint: WebhookEndpoint) -> str:
        return endpoint.secret[:SHOWN_OF_SECRET] + "…"

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            words = f"Messages to it are signed with {obj.secret} — give it to the investor now, it is not shown again."
            self.message_user(request, words, messages.WARNING)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """What was sent, waits, or was given up."""

    list_display = ["id", "transition", "reservation", "target_name", "status", "attempts", "next_attempt_at", "ended_at", "last_error"]
    list_select_related = ["transition", "reservation__loan", "reservation__investor__user", "endpoint"]
    list_filter = ["status"]
    search_fields = ["reservation__loan__reference__istartswith", "reservation__investor__name", "endpoint__url"]
    ordering = ["-id"]
    actions = ["send_again"]

    @admin.display(description="to")
    def target_name(self, delivery: Delivery) -> str:
        return str(delivery.endpoint or delivery.reservation.investor.user.email)

    @admin.action(description="Send again what was given up", permissions=["resend"])
    def send_again(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        count = outbox.send_again(deliveries)
        self.message_user(request, f"{count} deliveries are sent again within a minute; those not given up stay as they are.")

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("loans.resend_delivery")


# --- Accounts -----------------------------------------------------------------------------------------------------------
users.register()


# --- Jobs -----------------------------------------------------------------------------------------------------------------
admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class JobAdmin(PeriodicTaskAdmin, Acting):
    """Schedules are edited here; a job run by hand needs its own permission and leaves a line in the log."""

    actions = []
