"""No list of the admin can be filtered by what its page does not name, whatever the model, the field and the lookup."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model
from django.test import Client, RequestFactory
from django.urls import reverse

from loans.models import User, WebhookEndpoint
from peerloans import urls  # noqa: F401  # registers all pages of the admin
from peerloans.admin.lookups import DATE_LOOKUPS, FILTER_LOOKUPS
from tests.factories import InvestorFactory

LISTS = sorted(admin.site._registry.values(), key=lambda page: page.opts.label_lower)
LOOKUPS = ("", "__exact", "__iexact", "__regex", "__startswith", "__contains", "__gte", "__lt", "__in", "__isnull", "__year", "__length")
DEPTH = 3  # relations that are followed, forwards and backwards


def fields_of(model: type[Model], depth: int = DEPTH, path: str = "") -> Iterator[str]:
    """Yield the path of every field that a lookup can name."""
    for field in model._meta.get_fields():
        backwards = field.auto_created and not field.concrete
        name = path + (field.field.related_query_name() if backwards else field.name)  # type: ignore[union-attr]
        yield name
        if field.is_relation and field.related_model and depth > 1:
            yield from fields_of(field.related_model, depth - 1, f"{name}__")  # type: ignore[arg-type]


def named_fields(page: Any) -> set[str]:
    """Return the fields whose filters the page names, as its class says."""
    filters = [each if isinstance(each, str) else each[0] if isinstance(each, tuple) else each.parameter_name for each in page.list_filter]
    return {*filters, page.date_hierarchy} - {None}


@pytest.mark.parametrize("page", LISTS, ids=lambda page: page.opts.label_lower)
def test_only_named_lookups_are_allowed(page: Any) -> None:
    request, named = RequestFactory().get("/"), named_fields(page)
    allowed = {
        field + lookup
        for field in fields_of(page.model)
        for lookup in LOOKUPS
        if page.lookup_allowed(field + lookup, "x", request) and field not in named
    }
    # The primary key of a related row, by which the filter of a relation filters.
    assert allowed <= {f"{field}__id{lookup}" for field in named for lookup in ("__exact",)}
    for field in named:
        assert not page.lookup_allowed(f"{field}__regex", "x", request)


def test_the_lookups_of_filters_compare_whole_values() -> None:
    assert {*FILTER_LOOKUPS, *DATE_LOOKUPS}.isdisjoint({"__regex", "__iregex", "__contains", "__startswith", "__in", "__range"})


@pytest.mark.django_db
@pytest.mark.parametrize("group", ["Support", "Auditors"])
def test_no_secret_can_be_read_through_a_filter(client: Client, group: str) -> None:
    user = User.objects.create_user("sam", is_staff=True)
    user.groups.set(Group.objects.filter(name=group))
    client.force_login(user)
    endpoint = WebhookEndpoint.objects.create(investor=InvestorFactory(), url="https://example.org/")
    url = reverse("admin:loans_webhookendpoint_changelist")
    for lookup in ("secret__regex", "secret__startswith", "secret", "secret__gte", "investor__user__password__regex"):
        for address in (url, reverse("admin:loans_webhookendpoint_csv")):
            assert client.get(address, {lookup: endpoint.secret[:8]}).status_code == 400, lookup
    assert client.get(url, {"enabled__exact": "1"}).status_code == 200
