"""Register the webhook endpoints of investors, and show the deliveries of e-mails and webhooks."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from loans.admin.investor_filter import investor_filter
from loans.admin.search import SearchAsPrinted
from loans.models import Delivery, WebhookEndpoint
from loans.models.notification import DeliveryStatus
from loans.notifications import webhooks
from loans.notifications.deliveries import retry_given_up
from loans.selectors.search import investor_ids
from peerloans import safe_http
from peerloans.admin.base import NoDeleteAdmin, ReadOnlyAdmin

SECRET_CHARACTERS_SHOWN = len("whsec_") + 4


class WebhookEndpointForm(forms.ModelForm):
    def clean_url(self) -> str:
        """Refuse a URL that webhooks are never sent to."""
        url: str = self.cleaned_data["url"]
        try:
            webhooks.check_url(url)
        except safe_http.Refused as refusal:
            raise ValidationError(str(refusal)) from None
        return url


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(NoDeleteAdmin):
    """The signing secret is generated here and shown once, when the endpoint is registered."""

    form = WebhookEndpointForm
    csv_exclude = ("secret",)
    list_display = ["url", "investor", "enabled", "created_at"]
    list_select_related = ["investor"]
    list_filter = [investor_filter("investor"), "enabled"]
    search_fields = ["url", "investor__name"]
    autocomplete_fields = ["investor"]

    def get_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        return ["investor", "url", "enabled", "secret_start", "created_at"] if obj else ["investor", "url"]

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> list[str]:
        return ["investor", "secret_start", "created_at"] if obj else []

    @admin.display(description="secret")
    def secret_start(self, endpoint: WebhookEndpoint) -> str:
        return endpoint.secret[:SECRET_CHARACTERS_SHOWN] + "…"

    def save_model(self, request: HttpRequest, obj: WebhookEndpoint, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            text = f"Webhooks to this endpoint are signed with {obj.secret}. Give it to the investor now: it is not shown again."
            self.message_user(request, text, messages.WARNING)


class FailingFilter(admin.SimpleListFilter):
    """Find the messages that wait for another attempt, since one has failed."""

    title = parameter_name = "failing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Failed, and to be tried again")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=DeliveryStatus.WAITING, attempts__gt=0) if self.value() else queryset


@admin.register(Delivery)
class DeliveryAdmin(SearchAsPrinted, ReadOnlyAdmin):
    """E-mails and webhooks: sent, waiting, or given up."""

    list_display = [
        "id",
        "transition",
        "reservation",
        "waiting_entry",
        "watch_notice",
        "recipient",
        "status",
        "attempts",
        "next_attempt_at",
        "ended_at",
        "last_error",
    ]
    list_select_related = [
        "investor__user",
        "transition",
        "reservation__loan",
        "waiting_entry__loan",
        "watch_notice__watch__loan",
        "endpoint",
    ]
    list_filter = [investor_filter("investor"), FailingFilter, "status"]
    search_fields = ["investor__name"]  # only shows the field: SearchAsPrinted searches
    search_help_text = "A loan's reference, a reservation such as PL-0010 #6, or an investor's name, user name or e-mail"
    to_loan, to_investor, to_reservation = "transition__loan", "investor", "transition__reservation__"
    ordering = ["-id"]
    actions = ["send_again"]

    def rows_of_loan(self, loan_id: int) -> Q:
        """Return the condition of the messages about the loan: of its history, and to its watchers. An index finds each of the two."""
        ids = Delivery.objects.order_by().values_list("pk", flat=True)
        return Q(pk__in=ids.filter(transition__loan=loan_id).union(ids.filter(watch_notice__watch__loan=loan_id)))

    def rows_with(self, word: str) -> Q:
        """Return the condition of the rows whose investor the word begins to name. Loans are found by their whole reference."""
        return Q(investor__in=investor_ids(word))

    @admin.display(description="to")
    def recipient(self, delivery: Delivery) -> str:
        return str(delivery.endpoint or delivery.investor.user.email)

    @admin.action(description="Send again the deliveries that were given up", permissions=["resend"])
    def send_again(self, request: HttpRequest, deliveries: QuerySet[Delivery]) -> None:
        count = retry_given_up(deliveries)
        self.message_user(request, f"{count} deliveries are sent again within a minute. The others had not been given up.")

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("loans.resend_delivery")
