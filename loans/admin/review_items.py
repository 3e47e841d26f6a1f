"""Show the review items: what needs a person, the evidence, and what staff do about it as a rule."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Model, Q
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.actions import StaffAction, actions_on
from loans.admin.search import SearchAsPrinted, of_investor
from loans.admin.tables import RelatedTablesAdmin, Table, bank_events_table, history_table, transfers_table
from loans.models import BankEvent, ReviewItem, Transfer, Transition
from peerloans.admin.base import ReadOnlyAdmin

# By kind: what to do as a rule, and the actions that do it, by the field of the item that leads to their row.
NEXT_ACTS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "transfer_failed": (
        "Ask the investor whether another payment comes. Reinstate the reservation, or let it end.",
        {"reservation": ["reinstate"]},
    ),
    "amount_differs": ("Accept the amount that came, or wait for the rest until the deadline.", {"reservation": ["accept_amount"]}),
    "late_money": (
        "The money is refunded by itself. Reinstate the reservation if the investor still wants it and enough is available.",
        {"reservation": ["reinstate"]},
    ),
    "deadline_missed": ("The money had come in time. Reinstate the reservation if enough is available.", {"reservation": ["reinstate"]}),
    "second_payment": ("What is too much is refunded by itself. Tell the investor.", {}),
    "possible_duplicate": (
        "Ask the bank whether it is one payment or two, and say which. Nothing moves until then.",
        {"bank_event": ["same_payment", "another_payment"]},
    ),
    "unknown_reference": (
        "Find out for which reservation it is meant, and assign it. Or return it to its sender.",
        {"bank_event": ["assign"]},
    ),
    "event_differs": ("Ask the bank which of its two reports is right. The first one counts.", {}),
    "payment_returned": ("Ask the investor why. Reinstate the reservation if the money comes again.", {"reservation": ["reinstate"]}),
    "return_differs": ("Ask the bank: it returned more than it had brought. Nothing was booked.", {}),
    "loan_reopened": ("Look whether the loan closes late enough to be filled again. Extend its closing if not.", {"loan": ["extend"]}),
    "refund_bounced": ("Ask the investor for another account, and give it to the bank. The refund is due again.", {}),
    "refund_differs": ("Compare with the bank what it paid out, and to whom.", {}),
    "loss": ("The money was refunded before the bank took it back. Claim it from the investor.", {}),
    "drift": ("Redis showed another value and was mended. Look for its cause if it happens again.", {}),
    "breach": ("An invariant does not hold. Stop what changes these rows, and ask the engineers with this text.", {}),
    "job_failed": ("The job tries again by itself. Ask the engineers if it is listed anew after you resolve it.", {}),
    "delivery_given_up": ("Ask the investor to mend the endpoint or the mailbox, then send the deliveries again.", {}),
    "restored": ("Follow “After a restore” of the operator’s handbook, then resolve this.", {}),
    "approval_requested": ("Approve or reject the request, under Review, Approval requests.", {}),
}


@dataclass(frozen=True)
class NextAct:
    """A button that begins an action on a row that the item is about."""

    action: StaffAction
    row: Model

    @property
    def address(self) -> str:
        return reverse(f"admin:{self.row._meta.app_label}_{self.row._meta.model_name}_changelist")


@admin.register(ReviewItem)
class ReviewItemAdmin(SearchAsPrinted, RelatedTablesAdmin, ReadOnlyAdmin, StaffActionsAdmin):
    list_display = ["kind", "loan", "reservation", "detail", "opened_at", "resolved_at", "resolved_by", "note"]
    list_select_related = ["loan", "reservation__loan", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "kind", "opened_at"]
    search_fields = ["loan__reference__istartswith", "detail", *of_investor("reservation__investor")]
    search_help_text = "A loan's or a transfer's reference, a reservation such as PL-0010 #6, a part of the detail, or an investor"
    to_loan, to_reservation, to_transfer = "loan", "reservation__", "reservation__transfers__"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        if obj and not obj.resolved_at:
            advice, actions = NEXT_ACTS[obj.kind]
            acts = [act for field, names in actions.items() for act in self._next_acts(request, getattr(obj, field), names)]
            context |= {"advice": advice, "next_acts": acts, "too_late": bool(actions) and not acts}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _next_acts(self, request: HttpRequest, row: Model | None, names: list[str]) -> list[NextAct]:
        if row is None:
            return []
        possible = [action for action in actions_on(type(row)) if action.name in names and action.is_possible_for(row)]
        return [NextAct(action, row) for action in possible if request.user.has_perm(action.permission)]

    def related_tables(self, obj: ReviewItem) -> list[Table]:
        reservation, search = obj.reservation, str(obj.reservation or obj.loan or "")
        is_evidence = Q(pk=obj.bank_event_id)
        if reservation:
            is_evidence |= Q(transfer__reservation=reservation)
        return [
            bank_events_table(BankEvent.objects.filter(is_evidence), search),
            *([transfers_table(Transfer.objects.filter(reservation=reservation), search)] if reservation else []),
            *([history_table(Transition.objects.filter(reservation=reservation), search)] if reservation else []),
        ]

    def chart_context(self, obj: ReviewItem) -> dict[str, Any]:
        rows = (obj.loan, obj.reservation, obj.reservation and obj.reservation.investor, obj.bank_event)
        return {"about": [(row._meta.verbose_name, row, _page_address(row)) for row in rows if row]}


def _page_address(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
