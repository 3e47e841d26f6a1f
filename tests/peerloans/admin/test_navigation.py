"""The sections of the back office: what staff do, in one bar, as far as the reader may see it."""

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client

from loans.models import User
from peerloans.admin.navigation import LAST, SECTIONS

pytestmark = pytest.mark.django_db
OF_LIBRARIES = {"admin", "axes", "django_celery_beat"}


def sections(client: Client, address: str) -> list[tuple[str, bool]]:
    context: Any = client.get(address).context
    return [(section.name, section.current) for section in context["sections"]]


def test_each_list_of_ours_has_a_section_and_each_section_only_lists_that_exist() -> None:
    admin.autodiscover()  # The pages register with the URLs, which no request may have loaded yet.
    registered = {model._meta.label_lower for model in admin.site._registry}
    named = [label for labels in SECTIONS.values() for label in labels]
    assert sorted(named) == sorted(set(named))
    assert set(named) <= registered
    assert {label.partition(".")[0] for label in registered - set(named)} <= OF_LIBRARIES


def test_a_superuser_sees_all_and_the_section_of_the_page(admin_client: Client) -> None:
    assert sections(admin_client, "/admin/") == [(name, False) for name in SECTIONS]
    assert [name for name, current in sections(admin_client, "/admin/loans/transfer/") if current] == ["Money"]
    assert [name for name, current in sections(admin_client, "/admin/axes/accesslog/") if current] == [LAST]


def test_others_see_the_sections_that_they_may_view(client: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_loan"))
    client.force_login(viewer)
    assert sections(client, "/admin/") == [("Loans", False)]
    assert "Sections" not in Client().get("/admin/login/").content.decode()
