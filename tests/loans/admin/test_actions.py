"""Staff's actions over HTTP: what the preview shows is what is done, and nothing else is."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from loans.admin import actions
from loans.admin.actions import ACTIONS, StaffAction
from loans.domain.actors import Actor
from loans.models import BankEvent, Loan, Reservation, ReviewItem, Transfer, Transition, User
from loans.selectors.transfers import current_transfer
from loans.services.loans import withdraw_loan
from loans.services.settlement import settle_ahead_of_turn
from loans.services.staff_groups import GROUPS
from loans.services.staff_overrides import cancel_by_staff, extend_reservation
from tests.loans import stage

pytestmark = pytest.mark.django_db
REASON = "The investor asked by phone."
KEPT = (Loan, Reservation, Transfer, Transition, BankEvent, ReviewItem, LogEntry)


def stored() -> list[Any]:
    return [list(model._default_manager.order_by("pk").values()) for model in KEPT]


def sign_in(client: Client, name: str, *groups: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.groups.set(Group.objects.filter(name__in=groups))
    client.force_login(user)
    return client


@pytest.fixture
def operator(client: Client) -> Client:
    return sign_in(client, "olga", "Operations")


def now() -> Any:
    return timezone.now()


# --- A row for each action, on which it is possible ---------------------------------------------------------------------
def open_loan() -> Loan:
    return stage.open_loan(now())


def past_closing() -> Loan:
    loan = stage.open_loan(now() - timedelta(weeks=4))
    reservation = stage.funded_reservation(loan, 5_000, now() - timedelta(weeks=4))
    settle_ahead_of_turn(reservation_id=reservation.pk, actor=stage.STAFF, reason=REASON, now=now() - timedelta(weeks=4))
    return loan


def reserved() -> Reservation:
    return stage.reserve(open_loan(), 5_000, now())


def pending() -> Reservation:
    return stage.start(reserved(), now())


def funded() -> Reservation:
    return stage.funded_reservation(open_loan(), 5_000, now())


def canceled() -> Reservation:
    return cancel_by_staff(reservation_id=reserved().pk, actor=stage.STAFF, reason=REASON)


def too_little() -> Reservation:
    reservation = pending()
    stage.tell(reservation, "transfer.cleared", 4_000, now())
    return reservation


def refund_due() -> Transfer:
    cancel_by_staff(reservation_id=funded().pk, actor=stage.STAFF, reason=REASON)
    return Transfer.objects.get(direction="refund")


def a_review_item() -> ReviewItem:
    return ReviewItem.objects.create(kind="drift", detail="A cent.", opened_at=now())


STARTS: dict[tuple[type[Model], str], Callable[[], Model]] = {
    (Loan, "open"): lambda: stage.draft(now()),
    (Loan, "extend"): open_loan,
    (Loan, "withdraw"): open_loan,
    (Loan, "close_at_settled"): past_closing,
    (Reservation, "cancel"): reserved,
    (Reservation, "reinstate"): canceled,
    (Reservation, "extend"): pending,
    (Reservation, "record_transfer"): reserved,
    (Reservation, "record_money"): pending,
    (Reservation, "accept_amount"): too_little,
    (Reservation, "settle_ahead"): funded,
    (Reservation, "reverse"): funded,
    (Transfer, "mark_paid"): refund_due,
    (ReviewItem, "close"): a_review_item,
    (PeriodicTask, "run"): lambda: PeriodicTask.objects.get(task="loans.tasks.expire"),
}
LATER = {"closes_at": "2099-01-01T12:00", "expires_at": "2099-01-01T12:00"}
each_action = pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.model.__name__}-{action.name}")


def address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def find(model: type[Model], name: str) -> StaffAction:
    return next(action for action in ACTIONS if (action.model, action.name) == (model, name))


class Page:
    """The page of an action, as somebody fills it in."""

    def __init__(self, client: Client, action: StaffAction, *rows: Model, **fields: Any) -> None:
        self.client, self.action = client, action
        self.data: dict[str, Any] = {"action": action.name, "_selected_action": [row.pk for row in rows]}
        self.response = self.send()
        filled_in = {name: value for name, value in LATER.items() if name in action.form.base_fields} | fields
        if filled_in:
            self.data |= filled_in
            self.preview()

    def send(self, **more: Any) -> Any:
        self.response = self.client.post(address(self.action.model), self.data | more, follow=True)
        context = self.response.context or {}
        if "effects" in context:
            form = context["form"]
            self.data |= {field.name: field.value() for field in form if field.value() is not None}
            self.data |= {f"previewed-{effect.row.pk}": effect.digest for effect in context["effects"]}
            self.data["_selected_action"] = [row.pk for row in context["rows"]]
        return self.response

    def preview(self) -> str:
        return unescape(self.send(step="preview").content.decode())

    def confirm(self, reason: str = REASON) -> str:
        return unescape(self.send(step="confirm", reason=reason).content.decode())

    @property
    def text(self) -> str:
        return unescape(self.response.content.decode())


def test_every_action_has_a_row_here() -> None:
    assert {(action.model, action.name) for action in ACTIONS} == STARTS.keys()


@each_action
def test_a_preview_changes_nothing_and_its_confirmation_does_what_it_showed(operator: Client, action: StaffAction) -> None:
    row = STARTS[action.model, action.name]()
    before = stored()
    page = Page(operator, action, row)
    (effect,) = page.response.context["effects"]
    assert not effect.refusal
    assert stored() == before
    last = Transition.objects.order_by("id").values_list("id", flat=True).last() or 0
    assert f"{action.label}: done for {row}." in page.confirm()
    written = Transition.objects.filter(id__gt=last).order_by("id")
    shown = [(change.event, change.from_state, change.to_state, change.amount) for change in effect.changes]
    assert shown == [(line.event.replace("_", " "), line.from_state, line.to_state, line.amount) for line in written]
    assert {(line.actor, line.user.get_username(), line.reason) for line in written} <= {("staff", "olga", REASON)}
    assert stored() != before


@pytest.mark.parametrize("reason", ["", "   ", "too short", "Incomprehensible"])
def test_without_a_reason_nothing_is_done(operator: Client, reason: str) -> None:
    page = Page(operator, find(Reservation, "cancel"), reserved())
    before = stored()
    assert "errorlist" in page.confirm(reason)
    assert stored() == before


def test_without_a_preview_nothing_is_done(operator: Client) -> None:
    reservation = reserved()
    before = stored()
    data = {"action": "cancel", "_selected_action": reservation.pk, "step": "confirm", "reason": REASON}
    assert "which moved since the preview" in operator.post(address(Reservation), data, follow=True).content.decode()
    assert stored() == before


def test_what_is_asked_for_must_be_filled_in(operator: Client) -> None:
    loan = open_loan()
    page = Page(operator, find(Loan, "extend"), loan, closes_at="")
    assert "This field is required." in page.confirm()
    page.data["closes_at"] = "2000-01-01T00:00"
    assert "Name a closing after" in page.preview()


# --- Two at once --------------------------------------------------------------------------------------------------------
def test_the_second_of_two_sees_that_it_moved(operator: Client) -> None:
    reservation = pending()
    page = Page(operator, find(Reservation, "cancel"), reservation)
    extend_reservation(reservation_id=reservation.pk, expires_at=now() + timedelta(days=30), actor=stage.STAFF, reason=REASON)
    before = stored()
    assert "which moved since the preview" in page.confirm()
    assert stored() == before
    assert "Cancel: done" in page.confirm()


def test_others_reserving_meanwhile_do_not_stand_in_the_way(operator: Client) -> None:
    loan = open_loan()
    page = Page(operator, find(Loan, "extend"), loan)
    stage.reserve(loan, 1_000, now())
    assert "Extend closing: done" in page.confirm()


def test_whatever_else_a_confirmation_would_do_is_shown_first(operator: Client) -> None:
    loan = open_loan()
    page = Page(operator, find(Loan, "withdraw"), loan)
    stage.reserve(loan, 1_000, now())
    assert "loan withdrawn" in page.confirm()
    loan.refresh_from_db()
    assert loan.status == "open"


@pytest.mark.parametrize("name", ["record_money", "reverse"])
def test_a_double_click_does_nothing_twice(operator: Client, name: str) -> None:
    page = Page(operator, find(Reservation, name), STARTS[Reservation, name]())
    asked = dict(page.data)
    page.confirm()
    before = stored()
    page.data = asked
    page.confirm()
    page.confirm()
    assert stored() == before


def test_a_double_click_on_a_refund_pays_it_once(operator: Client) -> None:
    page = Page(operator, find(Transfer, "mark_paid"), refund_due())
    asked = dict(page.data)
    page.confirm()
    before = stored()
    page.data = asked
    page.confirm()
    assert stored() == before


# --- Many rows ------------------------------------------------------------------------------------------------------------
def test_many_rows_each_go_by_themselves(operator: Client) -> None:
    loan = open_loan()
    reservations = [stage.reserve(loan, 1_000, now()) for _ in range(3)]
    cancel_by_staff(reservation_id=reservations[1].pk, actor=stage.STAFF, reason=REASON)
    page = Page(operator, find(Reservation, "extend"), *reservations)
    assert "This is canceled; extended is not possible from there." in page.text
    told = page.confirm()
    assert "not done for " + str(reservations[1]) in told
    done = Reservation.objects.filter(expires_at__year=2099).values_list("pk", flat=True)
    assert set(done) == {reservations[0].pk, reservations[2].pk}


def test_too_many_rows_are_refused(operator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loans.admin.action_pages.MOST_ROWS", 1)
    loans = [open_loan(), open_loan()]
    data = {"action": "withdraw", "_selected_action": [loan.pk for loan in loans]}
    assert "Choose at most 1 rows at once." in operator.post(address(Loan), data, follow=True).content.decode()


# --- What previews say ----------------------------------------------------------------------------------------------------
def test_a_withdrawal_shows_whom_it_cancels_what_goes_back_and_what_the_loan_becomes(operator: Client) -> None:
    loan = open_loan()
    stage.reserve(loan, 1_000, now())
    stage.funded_reservation(loan, 5_000, now())
    (effect,) = Page(operator, find(Loan, "withdraw"), loan).response.context["effects"]
    assert effect.sums == [
        ("withdrawn: open → withdrawn", 1, Decimal("10000.00")),
        ("loan withdrawn: reserved → canceled", 1, Decimal("1000.00")),
        ("loan withdrawn: pending → canceled", 1, Decimal("5000.00")),
        ("due: new → due", 1, Decimal("5000.00")),
    ]
    assert (effect.before.loan.status, effect.before.claimed) == ("open", Decimal("6000.00"))
    assert (effect.after.loan.status, effect.after.claimed, effect.after.available) == ("withdrawn", 0, 0)


def test_a_reinstatement_names_whom_it_passes(operator: Client) -> None:
    loan = open_loan()
    first, second = (stage.reserve(loan, 2_000, now()) for _ in range(2))
    cancel_by_staff(reservation_id=first.pk, actor=stage.STAFF, reason=REASON)
    page = Page(operator, find(Reservation, "reinstate"), first)
    assert page.response.context["effects"][0].passed == (second,)
    assert f"#2 {second.investor}" in page.text


def test_settling_ahead_names_whom_it_passes_and_what_the_last_cent_does(operator: Client) -> None:
    loan = open_loan()
    waiting = stage.reserve(loan, 1_000, now())
    whole = stage.funded_reservation(loan, 10_000, now())
    (effect,) = Page(operator, find(Reservation, "settle_ahead"), whole).response.context["effects"]
    assert effect.passed == (waiting,)
    assert [change.event for change in effect.changes] == ["settled", "funded", "loan funded"]
    assert effect.after.loan.status == "funded"


def test_money_of_another_amount_shows_the_case_it_becomes(operator: Client) -> None:
    page = Page(operator, find(Reservation, "record_money"), pending(), amount="6000")
    (effect,) = page.response.context["effects"]
    assert effect.review_items[0].startswith("Amount differs: 6000.00 dollars came")
    assert ("due", Decimal("1000.00")) in [(change.event, change.amount) for change in effect.changes]


def test_claims_that_lapse_meanwhile_do_not_move_a_preview(operator: Client) -> None:
    loan, at = open_loan(), now()
    stage.reserve(loan, 1_000, at - timedelta(hours=24) + timedelta(seconds=2))
    page = Page(operator, find(Loan, "extend"), loan)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_reservation SET expires_at = now() - interval '1 second'")
    assert "Extend closing: done" in page.confirm()
    assert Reservation.objects.get().cause == "expired"


# --- Nothing leaves with a preview ------------------------------------------------------------------------------------------
def test_a_preview_sends_nothing(django_capture_on_commit_callbacks: Any) -> None:
    reservation = pending()
    given = {"notice_id": reservation.pk, "occurred_at": now()}
    action, actor = find(Reservation, "record_money"), stage.STAFF
    with django_capture_on_commit_callbacks() as sent:
        effect = actions.attempt(action, reservation, given, actor=actor)
    assert sent == []
    with django_capture_on_commit_callbacks() as sent:
        assert actions.attempt(action, reservation, given, actor=actor, reason=REASON, previewed=effect.digest).done
    assert len(sent) == 3  # the rule is applied, Redis hears of it, its investor too


# --- Who may what -----------------------------------------------------------------------------------------------------------
def granted(group: str, action: StaffAction) -> bool:
    return action.permission in GROUPS[group]


def test_groups_may_what_the_rules_say() -> None:
    names = {group: {(action.model, action.name) for action in ACTIONS if granted(group, action)} for group in GROUPS}
    assert names == {
        "Operations": STARTS.keys(),
        "Support": {(Reservation, "cancel"), (Reservation, "extend")},
        "Auditors": set(),
    }


@pytest.mark.parametrize("group", GROUPS)
@each_action
def test_each_group_at_each_action(client: Client, group: str, action: StaffAction) -> None:
    row = STARTS[action.model, action.name]()
    sign_in(client, "somebody", group)
    listed = client.get(address(action.model))
    assert listed.status_code == 200
    assert (f'<option value="{action.name}">' in listed.content.decode()) == granted(group, action)
    notice_id = "6f2ad6bd-6cf3-4d9c-9b5e-3d6a5f0c1a11"
    given = LATER | {"method": "ach", "notice_id": notice_id, "occurred_at": "2026-01-01T12:00", "reason": REASON}
    values = action.form(given).given()
    assert values is not None
    previewed = actions.attempt(action, row, values, actor=Actor("staff", User.objects.get(username="somebody").pk)).digest
    before = stored()
    posted = {"action": action.name, "_selected_action": row.pk, "step": "confirm", f"previewed-{row.pk}": previewed}
    client.post(address(action.model), posted | given, follow=True)
    assert (stored() != before) == granted(group, action)


@pytest.mark.parametrize("group", ["Support", "Auditors"])
def test_who_may_only_look_writes_nothing_in_a_form(client: Client, group: str) -> None:
    loan = stage.draft(now())
    sign_in(client, "somebody", group)
    assert client.get(reverse("admin:loans_loan_change", args=[loan.pk])).status_code == 200
    assert client.post(reverse("admin:loans_loan_change", args=[loan.pk]), {"title": "Another"}).status_code == 403
    assert client.get(reverse("admin:loans_loan_add")).status_code == 403
    job = PeriodicTask.objects.first()
    assert job is not None
    assert client.post(reverse("admin:django_celery_beat_periodictask_change", args=[job.pk]), {"enabled": ""}).status_code == 403


def test_a_rows_own_page_offers_what_its_reader_may_do(client: Client) -> None:
    reservation = reserved()
    sign_in(client, "somebody", "Support")
    page = client.get(reverse("admin:loans_reservation_change", args=[reservation.pk])).content.decode()
    offered = {action.name for action in actions.actions_of(Reservation) if f'value="{action.name}"' in page}
    assert offered == {"cancel", "extend"}


@pytest.mark.parametrize(
    ("start", "offered"),
    [
        (open_loan, {"extend", "withdraw", "close_at_settled"}),
        (reserved, {"cancel", "extend", "record_transfer", "record_money", "reverse"}),
        (canceled, {"reinstate", "record_money", "reverse"}),
        (refund_due, {"mark_paid"}),
        (a_review_item, {"close"}),
    ],
)
def test_a_rows_own_page_offers_what_its_state_allows(operator: Client, start: Callable[[], Model], offered: set[str]) -> None:
    row = start()
    page = operator.get(reverse(f"admin:loans_{row._meta.model_name}_change", args=[row.pk])).content.decode()
    assert {action.name for action in actions.actions_of(type(row)) if f'value="{action.name}"' in page} == offered


def test_the_command_repairs_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    Group.objects.get(name="Support").delete()
    auditors = Group.objects.get(name="Auditors")
    auditors.permissions.add(Permission.objects.get(codename="withdraw_loan"))
    auditors.user_set.add(User.objects.create_user("aud"))
    call_command("repair_groups")
    for name, permissions in GROUPS.items():
        held = Group.objects.get(name=name).permissions.values_list("content_type__app_label", "codename")
        assert {f"{app}.{codename}" for app, codename in held} == permissions
    assert auditors.user_set.count() == 1
    assert "Auditors:" in capsys.readouterr().out


# --- Jobs and review_items -----------------------------------------------------------------------------------------------------------
def test_a_job_run_by_hand_is_sent_once_it_is_in_the_log(operator: Client, django_capture_on_commit_callbacks: Any) -> None:
    job = PeriodicTask.objects.get(task="loans.tasks.expire")
    with django_capture_on_commit_callbacks() as sent:
        page = Page(operator, find(PeriodicTask, "run"), job)
    assert sent == []
    with django_capture_on_commit_callbacks(execute=True) as sent:
        page.confirm()
    assert len(sent) == 1
    line = LogEntry.objects.get()
    assert (line.user.get_username(), line.object_repr, line.change_message) == ("olga", str(job), f"Asked to run now: {REASON}")


def test_a_closed_case_says_what_became_of_it(operator: Client) -> None:
    review_item = a_review_item()
    page = Page(operator, find(ReviewItem, "close"), review_item)
    page.confirm()
    review_item.refresh_from_db()
    assert (review_item.note, review_item.resolved_by and review_item.resolved_by.get_username()) == (REASON, "olga")
    assert "It was closed at" in page.confirm()


def test_reversing_needs_money_that_is_here(operator: Client) -> None:
    reservation = pending()
    page = Page(operator, find(Reservation, "reverse"), reservation)
    transfer = current_transfer(reservation)
    assert transfer is not None
    assert f"The transfer {transfer.reference} is initiated: no money of it is here." in page.text


def test_a_withdrawn_loan_is_no_draft_to_open(operator: Client) -> None:
    loan = stage.draft(now())
    withdraw_loan(reference=loan.reference, actor=stage.STAFF, reason=REASON)
    assert "This is withdrawn; opened is not possible from there." in Page(operator, find(Loan, "open"), loan).text
