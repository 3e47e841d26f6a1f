"""The staff actions over HTTP: a confirmation does exactly what its preview showed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from loans.admin import action_previews
from loans.admin.action_forms import DeadlineForm
from loans.admin.actions import ACTIONS, StaffAction, actions_on
from loans.api.serializers import TransitionSerializer
from loans.domain.actors import Actor
from loans.domain.deadlines import one_banking_day_later
from loans.models import ApprovalRequest, BankEvent, Investor, Loan, Reservation, ReviewItem, Transfer, Transition, User, WaitingListEntry
from loans.services.approvals import request_approval
from loans.services.bank_events import record_bank_event
from loans.services.loans import withdraw_loan
from loans.services.staff_groups import GROUPS
from loans.services.staff_overrides import cancel_by_staff, extend_reservation
from peerloans.wording import deadline_text
from tests.factories import (
    STAFF,
    DraftFactory,
    InvestorFactory,
    LoanFactory,
    canceled,
    fresh,
    funded,
    inbound,
    money_comes,
    notice,
    pending,
    reserved,
    settled,
    waiting,
)

pytestmark = pytest.mark.django_db
REASON = "The investor asked by phone."
MODELS = (Loan, Reservation, Transfer, Transition, BankEvent, ReviewItem, ApprovalRequest, WaitingListEntry, LogEntry)


def stored_rows() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in MODELS]


def sign_in(client: Client, name: str, *groups: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    client.force_login(user)
    return client


@pytest.fixture
def operator(client: Client) -> Client:
    return sign_in(client, "olga", "Operations")


# --- For each action, a row on which it is possible ---------------------------------------------------------------------
def draft() -> Loan:
    loan: Loan = DraftFactory(now=timezone.now())
    return loan


def open_loan(now: datetime | None = None) -> Loan:
    loan: Loan = LoanFactory(amount=Decimal(10_000), now=now or timezone.now())
    return loan


def loan_past_closing() -> Loan:
    four_weeks_ago = timezone.now() - timedelta(weeks=4)
    loan = open_loan(four_weeks_ago)
    settled(loan, 5_000, now=four_weeks_ago)
    return loan


def reserved_now(loan: Loan | None = None, amount: int = 5_000) -> Reservation:
    return reserved(loan or open_loan(), amount, now=timezone.now())


def pending_now() -> Reservation:
    return pending(open_loan(), 5_000, now=timezone.now())


def waiting_now() -> WaitingListEntry:
    """An entry that waits for more than the $2,000 that are available."""
    loan = open_loan()
    reserved(loan, 10_000, now=timezone.now())
    return waiting(loan, 3_000, now=timezone.now())


def funded_now(loan: Loan | None = None, amount: int = 5_000) -> Reservation:
    return funded(loan or open_loan(), amount, now=timezone.now())


def canceled_now() -> Reservation:
    return canceled(open_loan(), 5_000, now=timezone.now())


def pending_with_less_money() -> Reservation:
    reservation = pending_now()
    money_comes(reservation, 4_000, now=timezone.now())
    return reservation


def refund_due() -> Transfer:
    cancel_by_staff(reservation_id=funded_now().pk, actor=STAFF, reason=REASON)
    return Transfer.objects.get(direction="refund")


def unmatched_event() -> BankEvent:
    Transfer.objects.filter(reservation=pending_now()).update(reference=FIELD_VALUES["reference"])
    record_bank_event(notice("transfer.cleared", "rent", 5_000), now=timezone.now())
    return BankEvent.objects.get(outcome="unknown_reference")


def possible_duplicate() -> BankEvent:
    reservation, at = pending_now(), timezone.now()
    for _ in range(2):
        money_comes(reservation, now=at)
    return BankEvent.objects.get(outcome="possible_duplicate")


def waiting_request() -> ApprovalRequest:
    reservation = pending(LoanFactory(now=timezone.now()), 50_000, now=timezone.now())
    arguments = {"reservation_id": reservation.pk, "notice_id": uuid4(), "occurred_at": timezone.now()}
    requester = Actor("staff", User.objects.create_user("rita", is_staff=True).pk)
    return request_approval(
        act="record_money", arguments=arguments, description="50,000", loan_id=reservation.loan_id, actor=requester, reason=REASON
    )


def open_review_item() -> ReviewItem:
    return ReviewItem.objects.create(kind="drift", detail="A cent.", opened_at=timezone.now())


ROWS: dict[tuple[type[Model], str], Callable[[], Model]] = {
    (Loan, "announce"): draft,
    (Loan, "open"): draft,
    (Loan, "extend"): open_loan,
    (Loan, "set_overbooking"): open_loan,
    (Loan, "withdraw"): open_loan,
    (Loan, "close_at_settled"): loan_past_closing,
    (Reservation, "cancel"): reserved_now,
    (Reservation, "reinstate"): canceled_now,
    (Reservation, "extend"): pending_now,
    (Reservation, "record_transfer"): reserved_now,
    (Reservation, "record_money"): pending_now,
    (Reservation, "accept_amount"): pending_with_less_money,
    (Reservation, "settle_ahead"): funded_now,
    (Reservation, "reverse"): funded_now,
    (WaitingListEntry, "remove"): waiting_now,
    (Transfer, "mark_paid"): refund_due,
    (Transfer, "mark_bounced"): refund_due,
    (BankEvent, "assign"): unmatched_event,
    (BankEvent, "same_payment"): possible_duplicate,
    (BankEvent, "another_payment"): possible_duplicate,
    (ApprovalRequest, "approve"): waiting_request,
    (ApprovalRequest, "reject"): waiting_request,
    (ReviewItem, "resolve"): open_review_item,
    (Investor, "limit"): InvestorFactory,
    (PeriodicTask, "run"): lambda: PeriodicTask.objects.get(task="loans.tasks.expire"),
}
FIELD_VALUES = {
    "opens_at": "2098-12-01T12:00",
    "closes_at": "2099-01-01T12:00",
    "expires_at": "2099-01-01T12:00",
    "overbooking_rate": "0.35",
    "unfunded_limit": "50000",
    "reference": "T-0123456789AB",
}
each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.model.__name__}-{action.name}")


def address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def find(model: type[Model], name: str) -> StaffAction:
    return next(action for action in ACTIONS if (action.model, action.name) == (model, name))


def outcome_of(transition: Transition) -> tuple[str, str, str, Decimal | None]:
    return transition.event, transition.from_state, transition.to_state, transition.amount


class Page:
    """The page of an action, which a test fills in and sends."""

    def __init__(self, client: Client, action: StaffAction, *rows: Model, **fields: Any) -> None:
        self.client, self.action = client, action
        self.data: dict[str, Any] = {"action": action.name, "_selected_action": [row.pk for row in rows]}
        self.response = self.send()
        filled_in = {name: value for name, value in FIELD_VALUES.items() if name in action.form.base_fields} | fields
        if "typed_reference" in action.form.base_fields:
            filled_in["typed_reference"] = " ".join(str(row) for row in rows)
        if filled_in:
            self.data |= filled_in
            self.preview()

    def send(self, **more: Any) -> Any:
        self.response = self.client.post(address(self.action.model), self.data | more, follow=True)
        context = self.response.context or {}
        if "previews" in context:
            form = context["form"]
            self.data |= {field.name: field.value() for field in form if field.value() is not None}
            self.data |= {f"previewed-{preview.row.pk}": preview.digest for preview in context["previews"]}
            self.data["_selected_action"] = [row.pk for row in context["rows"]]
        return self.response

    def preview(self) -> str:
        return unescape(self.send(step="preview").content.decode())

    def confirm(self, reason: str = REASON) -> str:
        return unescape(self.send(step="confirm", reason=reason).content.decode())

    @property
    def text(self) -> str:
        return unescape(self.response.content.decode())


def test_every_action_has_a_row_in_this_file() -> None:
    assert {(action.model, action.name) for action in ACTIONS} == ROWS.keys()


@each_action
def test_a_preview_changes_nothing_and_its_confirmation_does_what_it_showed(operator: Client, action: StaffAction) -> None:
    row = ROWS[action.model, action.name]()
    before = stored_rows()
    page = Page(operator, action, row)
    (preview,) = page.response.context["previews"]
    assert not preview.refusal
    assert stored_rows() == before
    last = Transition.objects.order_by("id").values_list("id", flat=True).last() or 0
    assert f"{action.label}: done for {row}." in page.confirm()
    written = Transition.objects.filter(id__gt=last).order_by("id")
    assert [outcome_of(transition) for transition in preview.transitions] == [outcome_of(transition) for transition in written]
    requester = "rita" if action.model is ApprovalRequest else "olga"
    assert {(row.actor, row.user.get_username(), row.reason) for row in written} <= {("staff", requester, REASON)}
    assert stored_rows() != before


def test_what_one_person_may_not_do_alone_is_requested_by_one_and_approved_by_another(operator: Client) -> None:
    reservation = pending(LoanFactory(now=timezone.now()), 50_000, now=timezone.now())
    page = Page(operator, find(Reservation, "record_money"), reservation)
    assert "another member of staff approves it" in page.text
    for _ in range(2):
        assert "Record cleared money: requested for" in page.confirm()
    request = ApprovalRequest.objects.get()
    assert (Reservation.objects.get().received, request.requested_by.username) == (0, "olga")
    assert "Another member of staff decides." in Page(operator, find(ApprovalRequest, "approve"), request).text
    second = sign_in(Client(), "oskar", "Operations")
    page = Page(second, find(ApprovalRequest, "approve"), request)
    assert Reservation.objects.get().received == 0
    assert "Approve: done for" in page.confirm()
    assert (Reservation.objects.get().received, Transition.objects.latest("id").approved_by.username) == (50_000, "oskar")


@pytest.mark.parametrize("shown", [True, False])
def test_an_investor_reads_a_reason_only_where_the_form_says_so(operator: Client, shown: bool) -> None:
    reservation = reserved_now()
    page = Page(operator, find(Reservation, "cancel"), reservation)
    page.send(step="confirm", reason=REASON, **({"shows_reason": "on"} if shown else {}))
    transition = Transition.objects.latest("id")
    assert (transition.event, transition.reason) == ("canceled_by_staff", REASON)
    assert TransitionSerializer(transition).data["reason"] == (REASON if shown else None)


@pytest.mark.parametrize("reason", ["", "   ", "too short", "Incomprehensible"])
def test_an_action_needs_a_reason(operator: Client, reason: str) -> None:
    page = Page(operator, find(Reservation, "cancel"), reserved_now())
    before = stored_rows()
    assert "errorlist" in page.confirm(reason)
    assert stored_rows() == before


def test_an_action_needs_a_preview(operator: Client) -> None:
    reservation = reserved_now()
    before = stored_rows()
    data = {"action": "cancel", "_selected_action": reservation.pk, "step": "confirm", "reason": REASON}
    assert "which changed since the preview" in operator.post(address(Reservation), data, follow=True).content.decode()
    assert stored_rows() == before


def test_fields_of_an_action_are_validated(operator: Client) -> None:
    loan = open_loan()
    page = Page(operator, find(Loan, "extend"), loan, closes_at="")
    assert "This field is required." in page.confirm()
    page.data["closes_at"] = "2000-01-01T00:00"
    assert "Choose a closing time after" in page.preview()


def test_an_action_that_serves_a_waiting_list_shows_who_is_served_and_does_it(operator: Client) -> None:
    entry = waiting_now()
    held = entry.loan.reservations.get()
    page = Page(operator, find(Reservation, "cancel"), held)
    assert f"Waiting 1 {entry.investor}" in page.text
    assert "Cancel: done" in page.confirm()
    assert fresh(entry).state == "placed"


# --- Concurrent changes --------------------------------------------------------------------------------------------------------
def test_a_row_that_changed_since_the_preview_is_shown_again(operator: Client) -> None:
    reservation = pending_now()
    page = Page(operator, find(Reservation, "cancel"), reservation)
    extend_reservation(reservation_id=reservation.pk, expires_at=timezone.now() + timedelta(days=30), actor=STAFF, reason=REASON)
    before = stored_rows()
    assert "which changed since the preview" in page.confirm()
    assert stored_rows() == before
    assert "Cancel: done" in page.confirm()


def test_reservations_made_since_the_preview_do_not_matter_if_the_action_leaves_them_alone(operator: Client) -> None:
    loan = open_loan()
    page = Page(operator, find(Loan, "extend"), loan)
    reserved_now(loan, 1_000)
    assert "Extend closing: done" in page.confirm()


def test_reservations_made_since_the_preview_are_shown_before_the_action_cancels_them(operator: Client) -> None:
    loan = open_loan()
    page = Page(operator, find(Loan, "withdraw"), loan)
    reserved_now(loan, 1_000)
    assert "loan withdrawn" in page.confirm()
    loan.refresh_from_db()
    assert loan.status == "open"


@pytest.mark.parametrize("name", ["record_money", "reverse"])
def test_a_double_click_acts_once(operator: Client, name: str) -> None:
    page = Page(operator, find(Reservation, name), ROWS[Reservation, name]())
    sent = dict(page.data)
    page.confirm()
    before = stored_rows()
    page.data = sent
    page.confirm()
    page.confirm()
    assert stored_rows() == before


def test_a_double_click_on_a_refund_pays_it_once(operator: Client) -> None:
    page = Page(operator, find(Transfer, "mark_paid"), refund_due())
    sent = dict(page.data)
    page.confirm()
    before = stored_rows()
    page.data = sent
    page.confirm()
    assert stored_rows() == before


# --- Many rows ------------------------------------------------------------------------------------------------------------
def test_each_of_many_rows_succeeds_or_fails_alone(operator: Client) -> None:
    loan = open_loan()
    reservations = [reserved_now(loan, 1_000) for _ in range(3)]
    cancel_by_staff(reservation_id=reservations[1].pk, actor=STAFF, reason=REASON)
    page = Page(operator, find(Reservation, "extend"), *reservations)
    assert "This is canceled; extended is not possible from there." in page.text
    assert f"not done for {reservations[1]}" in page.confirm()
    done = Reservation.objects.filter(expires_at__year=2099).values_list("pk", flat=True)
    assert set(done) == {reservations[0].pk, reservations[2].pk}


def test_too_many_rows_are_refused(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loans.admin.action_pages.MAX_ROWS", 1)
    loans = [open_loan(), open_loan()]
    data = {"action": "withdraw", "_selected_action": [loan.pk for loan in loans]}
    assert "Choose at most 1 rows at once." in operator.post(address(Loan), data, follow=True).content.decode()


# --- What a preview shows ----------------------------------------------------------------------------------------------------
def test_the_preview_of_a_withdrawal_shows_cancellations_refunds_and_the_loan(operator: Client) -> None:
    loan = open_loan()
    reserved_now(loan, 1_000)
    funded_now(loan, 5_000)
    (preview,) = Page(operator, find(Loan, "withdraw"), loan).response.context["previews"]
    assert preview.totals == [
        ("withdrawn: open → withdrawn", 1, Decimal("10000.00")),
        ("loan withdrawn: reserved → canceled", 1, Decimal("1000.00")),
        ("loan withdrawn: pending → canceled", 1, Decimal("5000.00")),
        ("due: new → due", 1, Decimal("5000.00")),
    ]
    assert (preview.offer_before.loan.status, preview.offer_before.claimed) == ("open", Decimal("6000.00"))
    assert (preview.offer_after.loan.status, preview.offer_after.claimed, preview.offer_after.available) == ("withdrawn", 0, 0)


def test_the_preview_of_a_reinstatement_names_the_reservations_it_overtakes(operator: Client) -> None:
    loan = open_loan()
    first, second = (reserved_now(loan, 2_000) for _ in range(2))
    cancel_by_staff(reservation_id=first.pk, actor=STAFF, reason=REASON)
    page = Page(operator, find(Reservation, "reinstate"), first)
    assert page.response.context["previews"][0].overtaken == [second]
    assert f"#2 {second.investor}" in page.text


def test_the_preview_of_settling_ahead_names_the_reservations_it_overtakes_and_shows_the_loan_funded(operator: Client) -> None:
    loan = open_loan()
    waiting = reserved_now(loan, 1_000)
    whole = funded_now(loan, 10_000)
    (preview,) = Page(operator, find(Reservation, "settle_ahead"), whole).response.context["previews"]
    assert preview.overtaken == [waiting]
    assert [transition.event for transition in preview.transitions] == ["settled", "funded", "loan_funded"]
    assert preview.offer_after.loan.status == "funded"


def test_the_preview_of_a_different_amount_shows_the_new_review_item(operator: Client) -> None:
    page = Page(operator, find(Reservation, "record_money"), pending_now(), amount="6000")
    (preview,) = page.response.context["previews"]
    assert preview.review_items[0].detail.startswith("$6,000.00 was received")
    assert preview.review_items[0].get_kind_display() == "Amount differs"
    assert ("due", Decimal("1000.00")) in [(transition.event, transition.amount) for transition in preview.transitions]


def test_reservations_that_lapse_after_the_preview_do_not_matter(operator: Client) -> None:
    loan, at = open_loan(), timezone.now()
    reserved(loan, 1_000, now=at - timedelta(hours=24) + timedelta(seconds=2))
    page = Page(operator, find(Loan, "extend"), loan)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_reservation SET expires_at = now() - interval '1 second'")
    assert "Extend closing: done" in page.confirm()
    assert Reservation.objects.get().cause == "expired"


# --- Side effects ------------------------------------------------------------------------------------------
def test_a_preview_sends_nothing(django_capture_on_commit_callbacks: Any) -> None:
    reservation = pending_now()
    arguments = {"notice_id": reservation.pk, "occurred_at": timezone.now()}
    action = find(Reservation, "record_money")
    with django_capture_on_commit_callbacks() as callbacks:
        (preview,) = action_previews.preview(action, [reservation], arguments, actor=STAFF)
    assert callbacks == []
    with django_capture_on_commit_callbacks() as callbacks:
        assert action_previews.confirm(action, reservation, arguments, actor=STAFF, reason=REASON, confirmed_digest=preview.digest).done
    assert len(callbacks) == 3  # apply the settlement rule, update Redis, notify the investor


# --- Permissions -----------------------------------------------------------------------------------------------------------
def is_granted(group: str, action: StaffAction) -> bool:
    return action.permission in GROUPS[group]


def test_actions_permitted_to_each_group() -> None:
    names = {group: {(action.model, action.name) for action in ACTIONS if is_granted(group, action)} for group in GROUPS}
    assert names == {
        "Operations": ROWS.keys(),
        "Support": {(Reservation, "cancel"), (Reservation, "extend")},
        "Auditors": set(),
    }


@pytest.mark.parametrize("at", ["2026-11-01T05:30Z", "2026-11-01T06:30Z"])
def test_a_form_proposes_a_minute_that_occurs_twice_and_takes_it_for_the_first(operator: Client, at: str) -> None:
    reservation = pending_now()
    with time_machine.travel(at, tick=False):
        page = Page(operator, find(Reservation, "record_money"), reservation)
        assert "done for" in page.confirm()
    assert BankEvent.objects.get().occurred_at == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


def test_a_minute_that_clocks_leave_out_is_refused() -> None:
    form = DeadlineForm({"expires_at": "2027-03-14T02:30", "reason": REASON})
    assert "may not exist" in form.errors["expires_at"][0]


@pytest.mark.parametrize("group", GROUPS)
@each_action
def test_each_group_can_take_only_its_actions(client: Client, group: str, action: StaffAction) -> None:
    row = ROWS[action.model, action.name]()
    sign_in(client, "sam", group)
    listed = client.get(address(action.model))
    assert listed.status_code == 200
    assert (f'<option value="{action.name}">' in listed.content.decode()) == is_granted(group, action)
    notice_id = "6f2ad6bd-6cf3-4d9c-9b5e-3d6a5f0c1a11"
    fields = FIELD_VALUES | {
        "method": "ach",
        "overbooking_policy": "fixed",
        "notice_id": notice_id,
        "occurred_at": "2026-01-01T12:00",
        "reason": REASON,
        "typed_reference": getattr(row, "reference", ""),
    }
    arguments = action.form(fields).service_arguments()
    assert arguments is not None
    (preview,) = action_previews.preview(action, [row], arguments, actor=Actor("staff", User.objects.get(username="sam").pk))
    before = stored_rows()
    posted = {"action": action.name, "_selected_action": row.pk, "step": "confirm", f"previewed-{row.pk}": preview.digest}
    client.post(address(action.model), posted | fields, follow=True)
    assert (stored_rows() != before) == is_granted(group, action)


@pytest.mark.parametrize("group", ["Support", "Auditors"])
def test_groups_that_only_view_cannot_write_in_a_form(client: Client, group: str) -> None:
    loan = draft()
    sign_in(client, "sam", group)
    assert client.get(reverse("admin:loans_loan_change", args=[loan.pk])).status_code == 200
    assert client.post(reverse("admin:loans_loan_change", args=[loan.pk]), {"title": "Another"}).status_code == 403
    assert client.get(reverse("admin:loans_loan_add")).status_code == 403
    job = PeriodicTask.objects.first()
    assert job is not None
    assert client.post(reverse("admin:django_celery_beat_periodictask_change", args=[job.pk]), {"enabled": ""}).status_code == 403


def test_the_page_of_a_row_offers_only_permitted_actions(client: Client) -> None:
    reservation = reserved_now()
    sign_in(client, "sam", "Support")
    page = client.get(reverse("admin:loans_reservation_change", args=[reservation.pk])).content.decode()
    offered = {action.name for action in actions_on(Reservation) if f'value="{action.name}"' in page}
    assert offered == {"cancel", "extend"}


@pytest.mark.parametrize(
    ("make_row", "offered"),
    [
        (draft, {"announce", "open", "set_overbooking", "withdraw"}),
        (open_loan, {"extend", "set_overbooking", "withdraw", "close_at_settled"}),
        (reserved_now, {"cancel", "extend", "record_transfer", "record_money", "reverse"}),
        (canceled_now, {"reinstate", "record_money", "reverse"}),
        (refund_due, {"mark_paid", "mark_bounced"}),
        (unmatched_event, {"assign"}),
        (possible_duplicate, {"same_payment", "another_payment"}),
        (waiting_request, {"approve", "reject"}),
        (open_review_item, {"resolve"}),
    ],
)
def test_the_page_of_a_row_offers_only_actions_that_its_state_allows(
    operator: Client, make_row: Callable[[], Model], offered: set[str]
) -> None:
    row = make_row()
    page = operator.get(reverse(f"admin:loans_{row._meta.model_name}_change", args=[row.pk])).content.decode()
    assert {action.name for action in actions_on(type(row)) if f'value="{action.name}"' in page} == offered


# --- Jobs and review items -----------------------------------------------------------------------------------------------------------
def test_a_job_that_staff_run_is_logged_and_sent_after_the_commit(operator: Client, django_capture_on_commit_callbacks: Any) -> None:
    job = PeriodicTask.objects.get(task="loans.tasks.expire")
    with django_capture_on_commit_callbacks() as callbacks:
        page = Page(operator, find(PeriodicTask, "run"), job)
    assert callbacks == []
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        page.confirm()
    assert len(callbacks) == 1
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_repr, entry.change_message) == ("olga", str(job), f"Asked to run now: {REASON}")


def test_closing_a_review_item_stores_the_reason_as_its_note(operator: Client) -> None:
    review_item = open_review_item()
    page = Page(operator, find(ReviewItem, "resolve"), review_item)
    page.confirm()
    review_item.refresh_from_db()
    assert (review_item.note, review_item.resolved_by and review_item.resolved_by.get_username()) == (REASON, "olga")
    assert "It was resolved at" in page.confirm()


def test_a_payment_can_be_reversed_only_after_it_cleared(operator: Client) -> None:
    reservation = pending_now()
    page = Page(operator, find(Reservation, "reverse"), reservation)
    assert f"The transfer {inbound(reservation).reference} is initiated: it has no received money that could be returned." in page.text


def test_a_withdrawn_loan_cannot_be_opened(operator: Client) -> None:
    loan = draft()
    withdraw_loan(reference=loan.reference, actor=STAFF, reason=REASON)
    assert "This is withdrawn; opened is not possible from there." in Page(operator, find(Loan, "open"), loan).text


@pytest.mark.parametrize("year", ["0001", "1999", "2200", "9999"])
@pytest.mark.parametrize(
    "action", [action for action in ACTIONS if {"closes_at", "expires_at", "occurred_at"} & action.form.base_fields.keys()]
)
def test_a_form_refuses_an_instant_in_an_impossible_year(client: Client, action: StaffAction, year: str) -> None:
    client.force_login(User.objects.create_superuser("boss", password="x"))
    row = ROWS[action.model, action.name]()
    fields = dict.fromkeys(("closes_at", "expires_at", "occurred_at"), f"{year}-12-31T23:59")
    posted = {"action": action.name, "_selected_action": str(row.pk), "step": "preview"} | fields
    response = client.post(address(action.model), posted)
    assert (response.status_code, "Name a year from 2000 to 2199." in response.content.decode()) == (200, True)


def test_recording_more_money_than_the_columns_hold_is_refused_in_the_preview(operator: Client) -> None:
    reservation = pending_now()
    money_comes(reservation, "999999999999.99", now=timezone.now())
    before = stored_rows()
    posted = {"action": "record_money", "_selected_action": str(reservation.pk), "reason": REASON, "amount": "999999999999.99"}
    posted |= {"notice_id": str(uuid4()), "occurred_at": "2026-07-01T12:00"}
    for step in ("preview", "confirm"):
        page = operator.post(address(Reservation), posted | {"step": step}, follow=True).content.decode()
        assert "more would have moved for one reservation than $999,999,999,999.99" in page
    assert stored_rows() == before


# --- The words of a page -------------------------------------------------------------------------------------------------
def test_the_button_names_the_deed_and_the_rows(operator: Client) -> None:
    loan = LoanFactory(now=timezone.now())
    rows = [reserved(loan, 1_000, now=timezone.now()) for _ in range(2)]
    cancel = find(Reservation, "cancel")
    for page, deed in ((Page(operator, cancel, rows[0]), f"reservation {rows[0]}"), (Page(operator, cancel, *rows), "2 reservations")):
        assert (
            f'<button type="submit" form="action" class="button default final" name="step" value="confirm">Cancel {deed}</button>'
            in page.text
        )
        assert f">Keep {deed}</a>" in page.text
    extend = Page(operator, find(Reservation, "extend"), rows[0])
    assert f'class="button default" name="step" value="confirm">Extend the deadline of reservation {rows[0]}</button>' in extend.text
    assert ">Back to the list</a>" in extend.text


def test_a_withdrawal_asks_for_the_reference(operator: Client) -> None:
    loan = LoanFactory(now=timezone.now(), reference="PL-0042")
    page = Page(operator, find(Loan, "withdraw"), loan)
    for typed in ("", "PL-0041", "PL-0042 PL-0041"):
        page.data["typed_reference"] = typed
        text = page.confirm()
        assert "Type exactly this: PL-0042" in text or "This field is required." in text
        assert fresh(loan).status == "open"
    page.data["typed_reference"] = " pl-0042"
    assert "Withdraw: done for PL-0042." in page.confirm()


def test_extending_shows_the_present_deadline_and_offers_one_banking_day_more(operator: Client) -> None:
    reservation = pending(LoanFactory(now=timezone.now()), now=timezone.now())
    first = operator.post(address(Reservation), {"action": "extend", "_selected_action": reservation.pk}).context
    assert f"At present: {deadline_text(reservation.expires_at)}." in first["form"].fields["expires_at"].help_text
    (shown,) = first["previews"]
    assert shown.transitions[-1].deadline == one_banking_day_later(reservation.expires_at)


def test_what_the_state_does_not_allow_stands_under_more_with_the_reason(operator: Client) -> None:
    reservation = canceled(LoanFactory(now=timezone.now()), now=timezone.now())
    text = unescape(operator.get(f"/admin/loans/reservation/{reservation.pk}/change/").content.decode())
    assert 'name="action" value="reinstate"' in text
    assert "<li>Cancel: possible only while it is reserved or pending.</li>" in text
