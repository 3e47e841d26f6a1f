"""A review item's page: what to do, the buttons that do it, and the evidence."""

import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.admin.actions import ACTIONS
from loans.admin.review_items import NEXT_ACTS
from loans.models import BankEvent, ReviewComment, ReviewItem, User
from tests.factories import inbound, money_comes, pending
from tests.loans.admin.conftest import open_loan_now, open_review_item, read_page

pytestmark = pytest.mark.django_db


def address(item: ReviewItem) -> str:
    return reverse("admin:loans_reviewitem_change", args=[item.pk])


def test_each_kind_says_what_to_do_by_actions_that_exist() -> None:
    assert NEXT_ACTS.keys() == set(ReviewItem.KINDS)
    on = {field: ReviewItem._meta.get_field(field).related_model for field in ("loan", "reservation", "bank_event", "approvalrequest")}
    named = {(on[field], name) for _, acts in NEXT_ACTS.values() for field, names in acts.items() for name in names}
    assert named <= {(action.model, action.name) for action in ACTIONS}


def test_a_payment_that_is_too_small_is_accepted_from_the_item(superuser: Client) -> None:
    reservation = pending(open_loan_now(reference="PL-0010"), 5_000, now=timezone.now())
    money_comes(reservation, "4999.00", now=timezone.now())
    item = ReviewItem.objects.get(kind="amount_differs")
    page = read_page(superuser, address(item))
    assert "Accept the amount that came, or wait for the rest until the deadline." in page
    assert "Accept a smaller amount: PL-0010 #1…" in page
    assert inbound(reservation).reference in page
    assert "4,999.00" in page, "the report of the bank is evidence"
    (act,) = superuser.get(address(item)).context["next_acts"]
    begun = superuser.post(act.address, {"action": act.action.name, "_selected_action": act.row.pk})
    assert "Accept a smaller amount" in begun.content.decode()


def test_what_its_reader_may_not_do_or_the_state_forbids_is_not_offered(superuser: Client, client: Client) -> None:
    reservation = pending(open_loan_now(), 5_000, now=timezone.now())
    item = open_review_item("x", loan=reservation.loan, reservation=reservation)
    context: Any = superuser.get(address(item)).context
    assert context["next_acts"] == [], "a live reservation cannot be reinstated"
    assert [act.action.name for act in context["resolve"]] == ["resolve"]
    ReviewItem.objects.update(resolved_at=timezone.now())
    assert "advice" not in superuser.get(address(item)).context


def test_an_item_about_nothing_has_a_page(superuser: Client) -> None:
    item = ReviewItem.objects.create(kind="restored", detail="x", opened_at=timezone.now())
    now = item.opened_at
    BankEvent.objects.create(id="strange", type="transfer.cleared", reference="?", amount=1, occurred_at=now, recorded_at=now)
    page = read_page(superuser, address(item))
    assert "Follow" in page
    assert "strange" not in page, "a report that it is not about is no evidence"


# --- Owner and comments ---------------------------------------------------------------------------------------------------
def work(client: Client, item: ReviewItem, name: str, **posted: Any) -> str:
    response = client.post(reverse(f"admin:loans_reviewitem_{name}", args=[item.pk]), posted, follow=True)
    assert response.status_code == 200
    return unescape(response.content.decode())


@pytest.fixture
def olga(client: Client) -> Client:
    """A client signed in as Olga of Operations."""
    user = User.objects.create_user("olga", is_staff=True)
    user.groups.add(Group.objects.get(name="Operations"))
    client.force_login(user)
    return client


def test_an_item_is_taken_and_given_back_and_its_comments_say_so(olga: Client) -> None:
    item = open_review_item("x")
    assert "Nobody works on it." in read_page(olga, address(item))
    for _ in range(2):  # a double click
        assert "olga works on it." in work(olga, item, "take", owner_shown="")
    assert "Nobody works on it." in work(olga, item, "give-back")
    assert list(item.comments.values_list("user__username", "text")) == [("olga", "Took it."), ("olga", "Gave it back.")]


def test_an_item_is_taken_from_a_colleague_only_by_one_who_saw_the_colleague(olga: Client) -> None:
    rita = User.objects.create_user("rita", is_staff=True)
    item = open_review_item("x")
    ReviewItem.objects.update(owner=rita)  # while Olga's page shows that nobody owns it
    assert "Rita owns it now. Look at it again." in work(olga, item, "take", owner_shown="")
    assert "Rita owns it." in work(olga, item, "give-back")
    assert "Take it from rita" in read_page(olga, address(item))
    assert "olga works on it." in work(olga, item, "take", owner_shown=str(rita.pk))


def test_a_comment_is_added_once_and_stays(olga: Client) -> None:
    item = open_review_item("x")
    for _ in range(2):
        page = work(olga, item, "comment", comment_id=str(UUID(int=7)), text="The bank calls back.\n")
    assert page.count("The bank calls back.") == 1
    assert "This field is required." in work(olga, item, "comment", comment_id=str(UUID(int=8)), text=" ")
    ReviewItem.objects.update(resolved_at=timezone.now())
    assert "It was the bank." in work(olga, item, "comment", comment_id=str(UUID(int=9)), text="It was the bank.")
    assert "It was resolved at" in work(olga, item, "take", owner_shown="")
    for change in (lambda: ReviewComment.objects.update(text="Something else."), lambda: item.comments.all().delete()):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()


def test_who_may_only_view_neither_takes_nor_comments(client: Client) -> None:
    auditor = User.objects.create_user("ada", is_staff=True)
    auditor.groups.add(Group.objects.get(name="Auditors"))
    client.force_login(auditor)
    item = open_review_item("x")
    page = read_page(client, address(item))
    for words in ("Take it", "Comment, which stays", "Resolve…"):
        assert words not in page
    for name in ("take", "give-back", "comment"):
        assert client.post(reverse(f"admin:loans_reviewitem_{name}", args=[item.pk])).status_code == 403


# --- The list, and the way back to it ---------------------------------------------------------------------------------------
def test_the_list_has_the_open_ones_first_the_oldest_of_them_before(olga: Client) -> None:
    now = timezone.now()
    ages = {"resolved long ago": (9, 5), "new": (1, None), "old": (8, None), "resolved today": (4, 0)}
    for detail, (opened, resolved) in ages.items():
        item = open_review_item(detail)
        resolved_at = None if resolved is None else now - timedelta(days=resolved)
        ReviewItem.objects.filter(pk=item.pk).update(opened_at=now - timedelta(days=opened), resolved_at=resolved_at)
    shown = olga.get("/admin/loans/reviewitem/").context["cl"].result_list
    assert [item.detail for item in shown] == ["old", "new", "resolved today", "resolved long ago"]
    ReviewItem.objects.filter(detail="new").update(owner=User.objects.get(username="olga"))
    for owner, details in {"me": ["new"], "nobody": ["old"], "others": []}.items():
        listed = olga.get(f"/admin/loans/reviewitem/?resolved_at__isempty=1&owner={owner}").context["cl"].result_list
        assert [item.detail for item in listed] == details
    page = read_page(olga, "/admin/loans/reviewitem/?resolved_at__isempty=1&owner=nobody")
    assert "1\xa0week" in page, "its age"


def test_late_money_is_resolved_by_four_clicks_and_the_filters_stay(olga: Client) -> None:
    reservation = pending(open_loan_now(), 5_000, now=timezone.now())
    item = open_review_item("It came late.", loan=reservation.loan, reservation=reservation)
    (line,) = olga.get("/admin/").context["waiting"]
    listed = read_page(olga, line.address)  # 1
    item_address = re.search(rf'href="({address(item)}[^"]*)"', listed)
    assert item_address
    page = olga.get(unescape(item_address[1]))  # 2
    filters = page.context["filters"]
    begun = olga.post("/admin/loans/reviewitem/", {"action": "resolve", "_selected_action": item.pk, "_changelist_filters": filters})  # 3
    assert line.address == begun.context["origin"].list_address
    (preview,) = begun.context["previews"]
    posted = {"step": "confirm", "reason": "It is refunded already.", f"previewed-{item.pk}": preview.digest}
    done = olga.post(  # 4
        "/admin/loans/reviewitem/", {"action": "resolve", "_selected_action": item.pk, "_changelist_filters": filters, **posted}
    )
    assert done.headers["Location"] == line.address
    assert ReviewItem.objects.get().note == "It is refunded already."


def test_an_act_that_an_item_asks_for_leads_back_to_the_item(olga: Client) -> None:
    reservation = pending(open_loan_now(), 5_000, now=timezone.now())
    money_comes(reservation, "4999.00", now=timezone.now())
    item = ReviewItem.objects.get(kind="amount_differs")
    data = {"action": "accept_amount", "_selected_action": reservation.pk, "review_item": str(item.pk), "_changelist_filters": ""}
    begun = olga.post("/admin/loans/reservation/", data)
    assert "Back to the review item" in begun.content.decode()
    (preview,) = begun.context["previews"]
    data |= {"step": "confirm", "reason": "Agreed on the phone.", f"previewed-{reservation.pk}": preview.digest}
    assert olga.post("/admin/loans/reservation/", data).headers["Location"] == address(item)


def test_after_an_act_on_rows_of_a_filtered_list_its_filters_stay(olga: Client) -> None:
    items = [open_review_item(detail) for detail in ("a", "b")]
    url = "/admin/loans/reviewitem/?resolved_at__isempty=1&kind__exact=late_money"
    data: dict[str, Any] = {"action": "resolve", "_selected_action": [item.pk for item in items]}
    begun = olga.post(url, data)
    data |= {"_changelist_filters": begun.context["origin"].filters, "step": "confirm", "reason": "Both are refunded."}
    data |= {f"previewed-{preview.row.pk}": preview.digest for preview in begun.context["previews"]}
    assert olga.post("/admin/loans/reviewitem/", data).headers["Location"] == url
    again = olga.post("/admin/loans/reviewitem/", data, follow=True)  # a double click, though the rows have left the filter
    assert "It was resolved at" in again.content.decode()


def test_the_way_back_stays_in_the_back_office(olga: Client) -> None:
    item = open_review_item("x")
    for field, value in {"_changelist_filters": "q=1&next=//evil.example/", "review_item": "//evil.example"}.items():
        begun = olga.post("/admin/loans/reviewitem/", {"action": "resolve", "_selected_action": item.pk, field: value})
        assert begun.context["origin"].back_address.startswith("/admin/loans/reviewitem/")
