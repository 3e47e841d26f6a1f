"""Crafted filters, searches and selections in the admin get a page or a 400, and never a fault."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.models import User
from peerloans import urls  # noqa: F401  # registers all pages of the admin
from peerloans.admin.base import CsvExportAdmin
from tests.factories import LoanFactory, settled

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime")]

VALUES = ("\x00", "x", "-1", "9" * 30, "1e999999", "9999-12-31", "2026-02-30", "'")
SELECTIONS = VALUES[:3]  # each is posted to every action of every list
LISTS = sorted(admin.site._registry.values(), key=lambda page: page.opts.label_lower)


def requests(page: Any) -> Iterator[tuple[str, str]]:
    """Yield crafted parameters of a list: of those that it offers, and of every field of its model."""
    names = ["q", "p", "o", "_to_field", "id__in", "unknown__exact"]
    for each in [*page.list_filter, page.date_hierarchy]:
        if isinstance(each, str):
            names += [f"{each}__exact", f"{each}__gte", f"{each}__year", f"{each}__in"]
    # Three values for each name, so that all values meet many names and the test ends in seconds.
    for number, name in enumerate(names):
        yield from ((name, VALUES[(number + step) % len(VALUES)]) for step in (0, 3, 6))
    for field in page.opts.concrete_fields:
        yield f"{field.name}__exact", "\x00"
        yield f"{field.name}__regex", "["
        yield f"{field.name}__year", "99999"
        yield f"{field.name}__isnull", "x"


@pytest.fixture
def superuser() -> Client:
    settled(LoanFactory(now=timezone.now()), now=timezone.now())
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("boss", password="x"))
    client.get("/admin/")  # writes to the session, which a request whose query failed cannot do within the test's transaction
    return client


def status_of(send: Any, *arguments: Any) -> int:
    """Return the status of a response, and undo what an error left of the test's transaction."""
    savepoint = transaction.savepoint()
    status: int = send(*arguments).status_code
    transaction.savepoint_rollback(savepoint)
    return status


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.opts.label_lower)
def test_a_list_answers_every_crafted_request(superuser: Client, page: Any) -> None:
    name = f"admin:{page.opts.app_label}_{page.opts.model_name}"
    url = reverse(f"{name}_changelist")
    statuses = {(key, value): status_of(superuser.get, url, {key: value}) for key, value in requests(page)}
    assert {request: status for request, status in statuses.items() if status not in {200, 302, 400}} == {}
    own_actions = page.actions if isinstance(page, CsvExportAdmin) else ()
    for value in SELECTIONS:
        for action in ("delete_selected", *own_actions, "open", "cancel", "mark_paid", "resolve", "run"):
            selection = {"action": action if isinstance(action, str) else action.__name__, "_selected_action": value, "index": "0"}
            assert status_of(superuser.post, url, selection) in {200, 302, 400}, selection
            assert status_of(superuser.post, f"{url}?q=%00&id__in=x", selection) in {200, 302, 400}, selection
    for value in VALUES:
        for view in ("change", "history", "delete"):
            assert status_of(superuser.get, reverse(f"{name}_{view}", args=[quote(value)])) in {200, 302, 403, 404}, (view, value)
        assert status_of(superuser.get, reverse(f"{name}_add"), {field.name: value for field in page.opts.fields}) in {200, 400, 403}
        if isinstance(page, CsvExportAdmin):
            assert status_of(superuser.get, reverse(f"{name}_csv"), {"q": value, "id__in": value}) in {200, 302, 400}


def test_the_choices_of_a_field_answer_every_crafted_request(superuser: Client) -> None:
    field = {"app_label": "loans", "model_name": "webhookendpoint", "field_name": "investor"}
    for name, value in product(("term", "page", "field_name"), VALUES):
        assert status_of(superuser.get, "/admin/autocomplete/", field | {name: value}) in {200, 400, 403, 404}, (name, value)


def test_a_crafted_value_is_refused_as_a_bad_request(superuser: Client) -> None:
    for query in ({"status__exact": "\x00"}, {"created_at__year": "99999"}, {"title__regex": "["}):
        assert status_of(superuser.get, "/admin/loans/loan/", query) == 400, query
    assert status_of(superuser.post, "/admin/loans/loan/", {"action": "open", "_selected_action": "x"}) == 400
