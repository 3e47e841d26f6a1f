"""Register investors, until when each is accredited, and show their limits and everything about one person on one page."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.search import SearchAsPrinted
from loans.admin.tables import (
    Table,
    dollars_column,
    endpoints_of,
    messages_of,
    reservations_of,
    standing_orders_of,
    transfers_of,
    waiting_entries_of,
)
from loans.models import Delivery, Investor, Reservation, StandingOrder, Transfer, User, WaitingListEntry, WebhookEndpoint
from loans.selectors.investor_limits import unfunded_dollars
from loans.selectors.portfolio import investor_money, portfolio
from loans.selectors.search import ids_of_users_named
from loans.services.named_tokens import named_tokens_of
from peerloans.wording import dollars_text

# The tables of what belongs to an investor, by the model that their reader must be allowed to view.
TABLES: dict[type[Model], Callable[[Investor], Table]] = {
    Reservation: reservations_of,
    Transfer: transfers_of,
    WaitingListEntry: waiting_entries_of,
    StandingOrder: standing_orders_of,
    Delivery: messages_of,
    WebhookEndpoint: endpoints_of,
}
LIMITS = [dollars_column("unfunded_limit"), "unfunded_now", "let_go_limit"]


@admin.register(Investor)
class InvestorAdmin(SearchAsPrinted, StaffActionsAdmin):
    """Limits are changed by an action, with a reason."""

    list_display = ["name", "user", "accredited_until"]
    list_select_related = ["user"]
    list_filter = ["accredited_until"]
    search_fields = ["name"]
    search_help_text = "The beginning of a name, or of a user name or e-mail"
    to_investor = "pk"
    ordering = ["-pk"]
    autocomplete_fields = ["user"]

    def describe_found(self, investor: Investor) -> str:
        return f"{investor.user.username}, {investor.user.email or 'no e-mail'}"

    def row_named(self, queryset: QuerySet[Investor], text: str) -> Investor | None:
        """Return the investor whose whole user name or e-mail this is, unless it is that of several."""
        investors = list(queryset.filter(user__in=ids_of_users_named(text))[:2])
        return investors[0] if len(investors) == 1 else None

    def get_fields(self, request: HttpRequest, obj: Investor | None = None) -> Any:
        fields = ["user", "name", "accredited_until"]
        return [*fields, *LIMITS] if obj else fields

    def has_change_permission(self, request: HttpRequest, obj: Investor | None = None) -> bool:
        """Refuse staff a change of their own accreditation."""
        return super().has_change_permission(request, obj) and (obj is None or obj.user_id != request.user.pk)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["queryset"] = User.objects.exclude(username=request.user.get_username())  # staff do not make themselves investors
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Investor | None = None) -> list[Any]:
        return ["user", *LIMITS] if obj else []

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        """Show what the reader may view of what belongs to the investor."""
        if obj:
            may_view = {model for model in TABLES if request.user.has_perm(f"loans.view_{model._meta.model_name}")}
            context["tables"] = [table_of(obj) for model, table_of in TABLES.items() if model in may_view]
            if request.user.has_perm("knox.view_authtoken"):
                context["tokens"] = named_tokens_of(obj.user_id)
            if Reservation in may_view:
                context |= {"portfolio": portfolio(obj.pk), "money": investor_money(obj.pk)}
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description="of that, unfunded now")
    def unfunded_now(self, investor: Investor) -> str:
        return dollars_text(unfunded_dollars(investor.pk))
