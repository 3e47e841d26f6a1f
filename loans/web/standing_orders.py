"""Serve the pages on which an investor keeps standing orders, sees what openings gave to them, and pauses, resumes or ends them."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from loans.domain.errors import NotFound
from loans.models import Investor, StandingOrder
from loans.selectors.loans import loan_markets
from loans.selectors.standing_orders import line_positions, order_of_investor, preview, recent_openings, used_dollars
from loans.services.standing_orders import create_standing_order, end_standing_order, pause_standing_order, resume_standing_order
from loans.web.account import READS, account_page
from loans.web.forms import StandingOrderForm
from peerloans.api.error_statuses import STATUSES
from peerloans.database import replica
from peerloans.database.clock import database_now
from peerloans.errors import Problem

ORDERS_SHOWN = 100  # the newest
OPENINGS_SHOWN = 20
PREVIEW_SHOWN = 12

# What stood against an order, as a sentence after "It got nothing of this loan:".
OBSTACLES_IN_WORDS = {
    "state": "the property lies in another state.",
    "metro": "the property lies in another metro area.",
    "rate": "its rate is lower than you want.",
    "ltv": "its loan to value is higher than you want.",
    "term": "its term is longer than you want.",
    "minimum": "its least reservation is more than the order's dollars per loan.",
    "cap": "the order's cap left too little.",
    "investor": "you could not reserve so much: see your accreditation and your limits.",
    "line": "what the loan keeps for standing orders went to the orders before yours, or was too little.",
}


@dataclass(frozen=True)
class OrderRow:
    """An order as the pages show it; `position` is None where it is not active. `used` is in dollars."""

    order: StandingOrder
    position: int | None
    used: Decimal
    markets: list[str]


def _rows(orders: list[StandingOrder]) -> list[OrderRow]:
    ids = [order.pk for order in orders]
    positions, used = line_positions(ids), used_dollars(ids, database_now(None))
    names = dict(loan_markets())
    return [
        OrderRow(order, positions.get(order.pk), used.get(order.pk, Decimal(0)), [names.get(cbsa, cbsa) for cbsa in order.metros])
        for order in orders
    ]


@account_page(*READS)
def standing_orders(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the investor's orders, newest first."""
    orders = StandingOrder.objects.filter(investor=investor).order_by("-created_at", "-pk")[:ORDERS_SHOWN]
    return render(request, "loans/account/standing_orders.html", {"section": "orders", "rows": _rows(list(orders))})


@account_page(*READS, "POST")
def standing_order_new(request: HttpRequest, investor: Investor) -> HttpResponse:
    """Show which loans would have matched what is filled in, and keep the order once that is confirmed."""
    form = StandingOrderForm(request.POST or None)
    context: dict[str, Any] = {"section": "orders", "form": form}
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            if "keep" in request.POST:
                try:
                    order = create_standing_order(investor=investor, **form.cleaned_data)
                    replica.mark_write(investor.user_id)
                    return redirect("loans:standing-order", order.pk)
                except Problem as problem:
                    context["problem"], status = problem, STATUSES.get(problem.code, 409)
            else:
                status = 200
                loans = preview(StandingOrder(**form.criteria), database_now(None))
                matching = [each.loan for each in loans if each.unmet is None]
                context["preview"] = {"loans": matching[:PREVIEW_SHOWN], "matching": len(matching), "of": len(loans)}
    return render(request, "loans/account/standing_order_new.html", context, status=status)


@account_page(*READS)
def standing_order(request: HttpRequest, investor: Investor, order_id: UUID) -> HttpResponse:
    """Show one order, and what the newest openings gave to it."""
    return _order_page(request, order_of_investor(investor.pk, order_id))


def _order_page(request: HttpRequest, order: StandingOrder, problem: str = "", status: int = 200) -> HttpResponse:
    (row,) = _rows([order])
    openings = [(opening, OBSTACLES_IN_WORDS.get(opening.obstacle, "")) for opening in recent_openings(order, OPENINGS_SHOWN)]
    context = {"section": "orders", "row": row, "openings": openings, "problem": problem}
    return render(request, "loans/account/standing_order.html", context, status=status)


CHANGES: dict[str, Callable[..., StandingOrder]] = {
    "pause": pause_standing_order,
    "resume": resume_standing_order,
    "end": end_standing_order,
}


@account_page("POST")
def standing_order_change(request: HttpRequest, investor: Investor, order_id: UUID, change: str) -> HttpResponse:
    """Pause, resume or end an order. The same again changes nothing."""
    try:
        CHANGES[change](order_id=order_id, investor=investor)
    except NotFound:
        raise
    except Problem as problem:
        return _order_page(request, order_of_investor(investor.pk, order_id), problem.detail, STATUSES.get(problem.code, 409))
    replica.mark_write(investor.user_id)
    return redirect("loans:standing-order", order_id)
