"""Show the line of standing orders, and what openings gave to each order. Only investors change their orders."""

from typing import Any

from django.contrib import admin

from loans.admin.investor_filter import investor_filter
from loans.admin.search import of_investor
from loans.admin.tables import RelatedTablesAdmin, Table, dollars_column, standing_orders_table, state_column
from loans.models import StandingOrder, StandingOrderTransition
from peerloans.admin.base import ReadOnlyAdmin


@admin.register(StandingOrder)
class StandingOrderAdmin(RelatedTablesAdmin, ReadOnlyAdmin):
    list_display = [
        "place",
        "investor",
        dollars_column("amount"),
        dollars_column("at_least"),
        dollars_column("cap"),
        "criteria",
        state_column("state"),
        "created_at",
    ]
    list_display_links = ["place"]
    list_select_related = ["investor"]
    list_filter = [investor_filter("investor"), "state", "created_at"]
    search_fields = ["id__exact", *of_investor("investor")]
    search_help_text = "An order's id, or an investor's name, user name or e-mail"
    ordering = ["place"]

    @admin.display(description="wants")
    def criteria(self, order: StandingOrder) -> str:
        wants = [
            ", ".join([*order.states, *order.metros]),
            f"rate from {order.least_rate} %" if order.least_rate is not None else "",
            f"LTV to {order.greatest_ltv} %" if order.greatest_ltv is not None else "",
            f"term to {order.longest_term_months} months" if order.longest_term_months is not None else "",
        ]
        return "; ".join(filter(None, wants)) or "every loan"

    def related_tables(self, obj: StandingOrder) -> list[Table]:
        return [standing_orders_table("History, newest first", StandingOrderTransition.objects.filter(order=obj), str(obj.pk))]

    def chart_context(self, obj: StandingOrder) -> dict[str, Any]:
        return {}


@admin.register(StandingOrderTransition)
class StandingOrderTransitionAdmin(ReadOnlyAdmin):
    list_display = ["at", "event", "order", "place", "loan", dollars_column("amount"), "obstacle", "actor", "user"]
    list_select_related = ["order__investor", "loan", "user"]
    list_filter = ["event", "obstacle", "at"]
    search_fields = ["order__id__exact", "loan__reference__iexact"]
    search_help_text = "An order's id, or a loan's whole reference"
    ordering = ["-id"]
