"""Users, their passwords and tokens in the admin."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from knox.models import AuthToken

from loans.models import User
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
NEW_PASSWORD = {"password1": "another good phrase", "password2": "another good phrase", "usable_password": "true"}


@pytest.fixture
def staff() -> User:
    user: User = UserFactory(username="sam", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_authtoken"))
    return user


def test_a_user_is_added_with_a_password(admin_client: Client) -> None:
    response = admin_client.post("/admin/loans/user/add/", {"username": "kim", **NEW_PASSWORD})
    user = User.objects.get(username="kim")
    assert (response.status_code, response.headers["Location"]) == (302, f"/admin/loans/user/{user.pk}/change/")
    assert user.check_password("another good phrase")
    assert admin_client.get(f"/admin/loans/user/{user.pk}/change/").status_code == 200


def test_a_user_name_is_taken_once(admin_client: Client, staff: User) -> None:
    page = admin_client.post("/admin/loans/user/add/", {"username": "Sam", **NEW_PASSWORD}).content.decode()
    assert "A user with that username already exists." in page


def test_a_new_password_ends_sessions_and_revokes_tokens(client: Client, staff: User, admin_client: Client) -> None:
    client.force_login(staff)
    stored, token = AuthToken.objects.create(staff)
    assert admin_client.post(f"/admin/loans/user/{staff.pk}/password/", NEW_PASSWORD).status_code == 302
    assert client.get("/admin/").status_code == 302
    assert client.get("/api/v1/portfolio/", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert 'alt="False"' in admin_client.get(f"/admin/knox/authtoken/{stored.pk}/change/").content.decode()


def test_a_short_password_is_refused(admin_client: Client, staff: User) -> None:
    new = {"password1": "Tr0ub4dor&3", "password2": "Tr0ub4dor&3", "usable_password": "true"}
    page = admin_client.post(f"/admin/loans/user/{staff.pk}/password/", new).content.decode()
    assert "at least 12 characters" in page


def test_a_token_is_listed_by_its_first_characters_and_revoked_with_a_permission(client: Client, staff: User) -> None:
    stored, token = AuthToken.objects.create(staff)
    client.force_login(staff)
    pages = [client.get(path).content.decode() for path in ("/admin/knox/authtoken/", f"/admin/knox/authtoken/{stored.pk}/change/")]
    for page in pages:
        assert token[:8] in page
        assert token not in page
    assert client.get("/admin/knox/authtoken/add/").status_code == 403
    revoke = f"/admin/knox/authtoken/{stored.pk}/delete/"
    assert client.post(revoke, {"post": "yes"}).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="delete_authtoken"))
    assert client.post(revoke, {"post": "yes"}).status_code == 302
    assert not AuthToken.objects.exists()
    assert LogEntry.objects.latest("pk").user == staff


def test_the_devices_of_second_factors_have_no_page(admin_client: Client) -> None:
    assert {admin_client.get(f"/admin/{path}/").status_code for path in ("otp_totp/totpdevice", "otp_static/staticdevice")} == {404}
