"""Saved views: each member of staff keeps the filters of a list under a name."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import IntegrityError, transaction
from django.test import Client

from loans.models import SavedView, User
from peerloans.admin.saved_views import MOST_VIEWS

pytestmark = pytest.mark.django_db
LIST = "/admin/loans/loan/"
QUERY = "q=beach&status__exact=open"


@pytest.fixture
def olga(client: Client) -> Client:
    user = User.objects.create_user("olga", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_loan"))
    client.force_login(user)
    return client


def save(client: Client, name: str, query: str = QUERY) -> str:
    page = client.post(f"{LIST}views/?{query}", {"name": name}, follow=True)
    return str(page.content.decode())


def views_shown(client: Client, query: str = "") -> list[tuple[str, bool]]:
    context: Any = client.get(f"{LIST}?{query}").context
    return [(view.name, view == context["present_view"]) for view in context["saved_views"]]


def test_a_view_is_saved_shown_and_removed(olga: Client) -> None:
    assert "Save this view" in olga.get(f"{LIST}?{QUERY}").content.decode()
    assert "The view “Open by the sea” is saved." in save(olga, " Open by the sea ")
    page = olga.get(LIST).content.decode()
    assert f'<a href="?{QUERY.replace("&", "&amp;")}">Open by the sea</a>' in page
    assert views_shown(olga, "status__exact=open&q=beach") == [("Open by the sea", True)], "in any order of its parts"
    assert "Remove “Open by the sea”" in olga.get(f"{LIST}?{QUERY}").content.decode()
    olga.post(f"{LIST}views/?{QUERY}", {"remove": "Open by the sea"})
    assert views_shown(olga) == []


def test_the_page_of_the_list_is_no_part_of_a_view(olga: Client) -> None:
    save(olga, "Open", "status__exact=open&p=3&e=1&all=")
    assert SavedView.objects.get().query == "status__exact=open"


def test_the_same_name_again_replaces_the_view(olga: Client) -> None:
    save(olga, "Mine", "status__exact=open")
    save(olga, "Mine", "status__exact=funded")
    assert [view.query for view in SavedView.objects.all()] == ["status__exact=funded"]
    view = SavedView.objects.get()
    with pytest.raises(IntegrityError, match="saved_view_name"), transaction.atomic():
        SavedView.objects.create(user=view.user, model=view.model, name=view.name, query="o=1")


def test_views_are_of_one_list_and_of_one_person(olga: Client) -> None:
    save(olga, "Mine")
    User.objects.get(username="olga").user_permissions.add(Permission.objects.get(codename="view_reservation"))
    assert list(olga.get("/admin/loans/reservation/").context["saved_views"]) == []
    other = Client()
    other.force_login(User.objects.create_superuser("root"))
    assert views_shown(other) == []
    other.post(f"{LIST}views/", {"remove": "Mine"})
    assert views_shown(olga) == [("Mine", False)]


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("", QUERY, "Give the view a name of at most 60 characters."),
        ("x" * 61, QUERY, "Give the view a name of at most 60 characters."),
        ("a\x07b", QUERY, "Give the view a name of at most 60 characters."),
        ("Mine", "", "Filter, search or sort the list first"),
        ("Mine", "p=2", "Filter, search or sort the list first"),
        ("Mine", "q=" + "x" * 1000, "These filters are too long to be saved."),
        ("Mine", "closes_at__gte=tomorrow", "so the view is not saved"),
    ],
)
def test_what_cannot_be_saved_says_why(olga: Client, name: str, query: str, message: str) -> None:
    assert message in save(olga, name, query)
    assert not SavedView.objects.exists()


def test_a_filter_on_a_secret_is_refused(olga: Client) -> None:
    response = olga.post(f"{LIST}views/?lottery_secret__startswith=a", {"name": "Guess"})
    assert response.status_code == 400
    assert not SavedView.objects.exists()


def test_a_list_has_at_most_twenty_views_of_a_person(olga: Client) -> None:
    for number in range(MOST_VIEWS):
        save(olga, f"View {number}")
    assert f"You have {MOST_VIEWS} views of this list" in save(olga, "One more")
    assert "is saved" in save(olga, "View 0"), "one that exists can still be replaced"
    assert SavedView.objects.count() == MOST_VIEWS


def test_a_name_is_text(olga: Client) -> None:
    save(olga, "<b>5 > 4</b>")
    assert "&lt;b&gt;5 &gt; 4&lt;/b&gt;" in olga.get(LIST).content.decode()


def test_only_those_who_may_see_the_list_save_a_view_of_it(olga: Client) -> None:
    assert olga.post(f"/admin/loans/reservation/views/?{QUERY}", {"name": "Mine"}).status_code == 403
    assert olga.get(f"{LIST}views/").status_code == 405
    assert Client().post(f"{LIST}views/?{QUERY}", {"name": "Mine"}).headers["Location"].startswith("/admin/login/")
