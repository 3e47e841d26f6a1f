"""Show the review items: what needs a person, the evidence, and what staff do about it as a rule."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.timesince import timesince

from loans.admin.action_pages import StaffActionsAdmin
from loans.admin.actions import StaffAction, actions_on
from loans.admin.search import SearchAsPrinted
from loans.admin.tables import RelatedTablesAdmin, Table, bank_events_table, history_table, transfers_table
from loans.domain.actors import Actor
from loans.domain.states import Direction
from loans.models import BankEvent, Delivery, DeliveryStatus, PaymentFile, ReviewItem, Transfer, Transition
from loans.services import review_items
from peerloans.admin.base import ReadOnlyAdmin
from peerloans.errors import Problem
from peerloans.web.wording_filters import dollars, instant, unbroken

TAKE = "loans.take_reviewitem"

# By kind: what to do as a rule, and the actions that do it, by the field of the item that leads to their row. Resolving always follows.
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
    "loan_reopened": (
        "Look whether the loan closes late enough to be filled again. Extend its closing if not.",
        {"loan": ["extend", "close_at_settled"]},
    ),
    "opening_missed": ("Announce the loan for another time, or open it with a later closing.", {"loan": ["announce", "open"]}),
    "refund_bounced": ("Ask the investor for another account, and give it to the bank. The refund is due again.", {}),
    "refund_differs": ("Compare with the bank what it paid out, and to whom.", {}),
    "loss": ("The money was refunded before the bank took it back. Claim it from the investor.", {}),
    "drift": ("Redis showed another value and was mended. Look for its cause if it happens again.", {}),
    "breach": ("An invariant does not hold. Stop what changes these rows, and ask the engineers with this text.", {}),
    "job_failed": ("The job tries again by itself. Ask the engineers if it is listed anew after you resolve it.", {}),
    "delivery_given_up": ("Ask the investor to mend the endpoint or the mailbox, then send the deliveries again.", {}),
    "restored": ("Follow “After a restore” of the operator’s handbook, then resolve this.", {}),
    "approval_requested": ("Approve or reject what your colleague requested.", {"approvalrequest": ["approve", "reject"]}),
}
# By kind: the page that does it where no action on a row does, the words of its link, and the permission that it needs.
NEXT_PAGES: dict[str, tuple[type[Model], str, str, str, str]] = {
    "refund_bounced": (PaymentFile, "add", "", "Send refunds…", "loans.send_refund"),
    "delivery_given_up": (
        Delivery,
        "changelist",
        f"?status__exact={DeliveryStatus.GIVEN_UP}",
        "Deliveries given up",
        "loans.view_delivery",
    ),
}


@dataclass(frozen=True)
class NextAct:
    """A button that begins an action on a row that the item is about."""

    action: StaffAction
    row: Model

    @property
    def address(self) -> str:
        return reverse(f"admin:{self.row._meta.app_label}_{self.row._meta.model_name}_changelist")


class OwnerFilter(admin.SimpleListFilter):
    """Filter by who works on the item."""

    title = parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("me", "Me"), ("nobody", "Nobody"), ("others", "Others")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        kinds = {"me": Q(owner=request.user.pk), "nobody": Q(owner=None), "others": ~Q(owner=request.user.pk) & ~Q(owner=None)}
        return queryset.filter(kinds.get(str(self.value()), Q()))


class CommentForm(forms.Form):
    """A comment. `comment_id` lets a form that is sent twice add one comment."""

    comment_id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)
    text = forms.CharField(
        label="Comment",
        max_length=review_items.MOST_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 80}),
        help_text="It stays.",
    )


@admin.register(ReviewItem)
class ReviewItemAdmin(SearchAsPrinted, RelatedTablesAdmin, ReadOnlyAdmin, StaffActionsAdmin):
    change_form_template = "admin/loans/review_item.html"
    list_display = ["kind", "subject", "about_dollars", "in_detail", "age", "owner", "resolved"]
    list_select_related = ["loan", "reservation__loan", "bank_event", "owner", "resolved_by"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), OwnerFilter, "kind", "opened_at"]
    ordering = [F("resolved_at").desc(nulls_first=True), "opened_at", "id"]
    search_fields = ["detail"]
    search_help_text = "A loan's or a transfer's reference, a reservation such as PL-0010 #6, a part of the detail, or an investor"
    to_loan, to_investor, to_reservation, to_transfer = "loan", "reservation__investor", "reservation__", "reservation__transfers__"

    def rows_with(self, word: str) -> Q:
        return super().rows_with(word) | Q(detail__icontains=word)

    # --- The list ---------------------------------------------------------------------------------------------------------
    @admin.display(description="about")
    def subject(self, item: ReviewItem) -> str:
        return str(item.reservation or item.loan or item.bank_event or "–")

    @admin.display(description="amount")
    def about_dollars(self, item: ReviewItem) -> str:
        return dollars(item.dollars)

    @admin.display(description="detail", ordering="detail")
    def in_detail(self, item: ReviewItem) -> str:
        return unbroken(item.detail)

    @admin.display(description="open for", ordering="opened_at")
    def age(self, item: ReviewItem) -> str:
        return timesince(item.opened_at, item.resolved_at, depth=1)

    @admin.display(description="resolved", ordering="resolved_at")
    def resolved(self, item: ReviewItem) -> str:
        return f"{instant(item.resolved_at)}, {item.resolved_by or 'by itself'}" if item.resolved_at else "–"

    # --- The page of an item ----------------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        works = {"take": self._take, "give-back": self._give_back, "comment": self._comment}

        def page(work: Any) -> Any:
            return self.admin_site.admin_view(lambda request, item_id: self._work(request, item_id, work))

        return [
            *(path(f"<int:item_id>/{name}/", page(work), name=f"loans_reviewitem_{name}") for name, work in works.items()),
            *super().get_urls(),
        ]

    def _work(self, request: HttpRequest, item_id: int, work: Any) -> HttpResponse:
        """Take or give back the item, or comment on it, and show it again."""
        if not (self.has_view_permission(request) and request.user.has_perm(TAKE)):
            raise PermissionDenied
        item = get_object_or_404(ReviewItem, pk=item_id)
        if request.method == "POST":
            try:
                work(request, item, Actor("staff", request.user.pk))
            except Problem as problem:
                self.message_user(request, problem.detail, messages.ERROR)
        return redirect(f"{_page_address(item)}?{request.GET.urlencode()}")

    def _take(self, request: HttpRequest, item: ReviewItem, actor: Actor) -> None:
        shown = request.POST.get("owner_shown", "")
        owner_shown = int(shown) if shown.isascii() and shown.isdecimal() else None
        review_items.take_review_item(review_item_id=item.pk, owner_shown=owner_shown, actor=actor)

    def _give_back(self, request: HttpRequest, item: ReviewItem, actor: Actor) -> None:
        review_items.give_back_review_item(review_item_id=item.pk, actor=actor)

    def _comment(self, request: HttpRequest, item: ReviewItem, actor: Actor) -> None:
        form = CommentForm(request.POST)
        if not form.is_valid():
            self.message_user(request, " ".join(str(error) for errors in form.errors.values() for error in errors), messages.ERROR)
            return
        comment_id: UUID = form.cleaned_data["comment_id"]
        review_items.comment_on_review_item(review_item_id=item.pk, comment_id=comment_id, text=form.cleaned_data["text"], actor=actor)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        if obj:
            context |= {
                "may_take": request.user.has_perm(TAKE),
                "comment_form": CommentForm(),
                "comments": obj.comments.select_related("user"),
            }
        if obj and not obj.resolved_at:
            advice, actions = NEXT_ACTS[obj.kind]
            acts = [act for field, names in actions.items() for act in self._next_acts(request, getattr(obj, field, None), names)]
            context |= {
                "advice": advice,
                "too_late": bool(actions) and not acts,
                "next_acts": acts,
                "next_page": self._next_page(request, obj),
                "resolve": self._next_acts(request, obj, ["resolve"]),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _next_acts(self, request: HttpRequest, row: Model | None, names: list[str]) -> list[NextAct]:
        if row is None:
            return []
        possible = [action for action in actions_on(type(row)) if action.name in names and action.is_possible_for(row)]
        return [NextAct(action, row) for action in possible if request.user.has_perm(action.permission)]

    def _next_page(self, request: HttpRequest, item: ReviewItem) -> dict[str, str] | None:
        model, page, query, label, permission = NEXT_PAGES.get(item.kind, (ReviewItem, "", "", "", ""))
        if not page or not request.user.has_perm(permission):
            return None
        return {"address": reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}") + query, "label": label}

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
        rows: list[Model | None] = [obj.loan, obj.reservation, obj.reservation and obj.reservation.investor, obj.bank_event]
        if obj.reservation:  # What the same unit of work recorded has the same instant.
            rows += BankEvent.objects.filter(transfer__reservation=obj.reservation, recorded_at=obj.opened_at).exclude(pk=obj.bank_event_id)
            rows += Transfer.objects.filter(reservation=obj.reservation, created_at=obj.opened_at)
        return {"about": [(_kind_of(row), row, _page_address(row)) for row in rows if row]}


def _kind_of(row: Model) -> str:
    if isinstance(row, Transfer):
        return f"{'refund' if row.direction == Direction.REFUND else 'payment'} of {dollars(row.amount)}"
    return f"bank event of {dollars(row.amount)}" if isinstance(row, BankEvent) else str(row._meta.verbose_name)


def _page_address(row: Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
