"""Logging in to the admin, the second factor, and the end of tokens."""

import re
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox.models import AuthToken

from loans.models import User
from peerloans.api import throttling
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
NOON = "2026-07-01T16:00:00Z"


@pytest.fixture
def staff() -> User:
    user: User = UserFactory(username="sam", is_staff=True, password=make_password(PASSWORD))
    user.groups.add(Group.objects.get(name="Auditors"))
    return user


def log_in(client: Client, code: str = "", password: str = PASSWORD, **headers: str) -> Any:
    return client.post("/admin/login/", {"username": "sam", "password": password, "code": code, "next": "/admin/"}, headers=headers)


def code_of(user: User) -> str:
    """Return the code that the phone shows now."""
    device = TOTPDevice.objects.get(user=user)
    return f"{totp(device.bin_key, device.step, device.t0, device.digits, device.drift):06}"


def set_up(client: Client, user: User) -> list[str]:
    """Set up a second factor, and return the recovery codes."""
    assert client.get("/admin/second-factor/").status_code == 200
    page = client.post("/admin/second-factor/", {"code": code_of(user)})
    assert page.status_code == 200
    return re.findall(r"<li><code>(\w+)</code>", page.content.decode())


def is_logged_in(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


# --- The second factor --------------------------------------------------------------------------------------------------
def test_the_login_asks_for_a_code_once_a_phone_is_set_up(client: Client, staff: User) -> None:
    assert log_in(client).status_code == 302
    with time_machine.travel(NOON, tick=False):
        assert len(set_up(client, staff)) == 10
        assert is_logged_in(client)
    other = Client()
    refused = log_in(other)
    assert refused.status_code == 200
    assert "also asks for a code" in refused.content.decode()
    with time_machine.travel("2026-07-01T16:05:00Z", tick=False):
        assert log_in(other, code_of(staff)).status_code == 302
        assert is_logged_in(other)


def test_a_code_works_once_and_a_wrong_code_starts_a_wait(client: Client, staff: User) -> None:
    client.force_login(staff)
    with time_machine.travel(NOON, tick=False):
        set_up(client, staff)
    with time_machine.travel("2026-07-01T16:05:00Z", tick=False):
        code = code_of(staff)
        assert log_in(Client(), code).status_code == 302
        assert log_in(Client(), code).status_code == 200
        assert log_in(Client(), code_of(staff)).status_code == 200  # right, but within the wait


def test_a_recovery_code_works_once(client: Client, staff: User) -> None:
    client.force_login(staff)
    with time_machine.travel(NOON, tick=False):
        first, *_ = set_up(client, staff)
    assert log_in(Client(), first).status_code == 302
    assert log_in(Client(), first).status_code == 200


def test_a_session_from_before_the_second_factor_ends(client: Client, staff: User) -> None:
    before = Client()
    before.force_login(staff)
    client.force_login(staff)
    with time_machine.travel(NOON, tick=False):
        set_up(client, staff)
    assert not is_logged_in(before)
    assert before.get("/admin/second-factor/").status_code == 302


def test_a_wrong_code_does_not_set_up_a_second_factor(client: Client, staff: User) -> None:
    client.force_login(staff)
    client.get("/admin/second-factor/")
    answer = client.post("/admin/second-factor/", {"code": "12345"})
    assert answer.status_code == 400
    assert log_in(Client()).status_code == 302


def test_where_a_second_factor_is_required_staff_must_set_one_up(client: Client, staff: User, settings: Any) -> None:
    settings.SECOND_FACTOR_REQUIRED = True
    log_in(client)
    assert client.get("/admin/", follow=True).redirect_chain[-1][0] == "/admin/second-factor/"
    with time_machine.travel(NOON, tick=False):
        set_up(client, staff)
        assert is_logged_in(client)


def test_only_staff_set_up_a_second_factor(client: Client) -> None:
    client.force_login(UserFactory())
    assert client.get("/admin/second-factor/").status_code == 302
    assert not TOTPDevice.objects.exists()


def test_only_a_superuser_removes_a_second_factor_and_it_is_logged(client: Client, staff: User, admin_client: Client) -> None:
    client.force_login(staff)
    with time_machine.travel(NOON, tick=False):
        set_up(client, staff)
    doing = {"action": "remove_second_factor", "_selected_action": [staff.pk]}
    client.post("/admin/loans/user/", doing)
    assert TOTPDevice.objects.filter(user=staff, confirmed=True).exists()
    admin_client.post("/admin/loans/user/", doing)
    assert log_in(Client()).status_code == 302
    assert LogEntry.objects.filter(object_id=str(staff.pk)).latest("pk").change_message == "Removed the second factor."


# --- Wrong passwords ------------------------------------------------------------------------------------------------------
def test_ten_wrong_passwords_lock_the_user_out_at_this_address_only(client: Client, staff: User, settings: Any) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    here, there = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
    statuses = [log_in(client, password="wrong", **here).status_code for _ in range(10)]
    assert statuses == [200] * 9 + [429]
    assert log_in(client, **here).status_code == 429
    assert log_in(Client(), **there).status_code == 302


def test_wrong_passwords_for_one_user_do_not_lock_out_another(client: Client, staff: User) -> None:
    UserFactory(username="kim", is_staff=True, password=make_password(PASSWORD))
    assert {log_in(client, password=f"guess {number}").status_code for number in range(12)} == {200, 429}
    kim = {"username": "kim", "password": PASSWORD, "next": "/admin/"}
    assert Client().post("/admin/login/", kim).status_code == 302


def test_wrong_passwords_at_the_api_count_too(client: Client, staff: User) -> None:
    def ask(password: str) -> Any:
        body = {"username": "sam", "password": password}
        return client.post("/api/v1/auth/token/", body, content_type="application/json")

    assert [ask("wrong").status_code for _ in range(10)][:9] == [401] * 9
    locked = ask(PASSWORD)
    assert (locked.status_code, locked.json()["code"], locked.headers["Retry-After"]) == (429, "throttled", "900")


def test_the_login_does_not_redirect_to_another_site(client: Client, staff: User) -> None:
    away = {"username": "sam", "password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/admin/login/", away).headers["Location"] == "/admin/"


# --- Secrets and odd input --------------------------------------------------------------------------------------
def test_the_code_of_a_failed_login_is_not_stored(client: Client, staff: User) -> None:
    log_in(client, code="abcd2efg", password="wrong")
    kept = AccessAttempt.objects.get()
    assert "abcd2efg" not in f"{kept.post_data}{kept.get_data}"


@pytest.mark.parametrize("name", ["x" * 300, "\x00"])
def test_an_impossible_user_name_is_a_wrong_one(client: Client, name: str) -> None:
    assert client.post("/admin/login/", {"username": name, "password": "x"}).status_code == 200


@pytest.mark.parametrize(
    ("header", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("[2001:db8::1]:80", "2001:db8::"),
        ("2001:db8:0:0:ffff::2", "2001:db8::"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("garbage", None),
        ("", None),
    ],
)
def test_the_address_that_is_throttled(rf: RequestFactory, settings: Any, header: str, address: str | None) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    assert throttling.address_of(rf.get("/", headers={"X-Forwarded-For": header}, REMOTE_ADDR="")) == address


def test_an_invented_session_is_not_stored(client: Client) -> None:
    client.cookies["sessionid"] = "x" * 32
    client.get("/")
    assert not Session.objects.exists()


def test_another_phone_needs_a_code_of_the_phone_in_use(client: Client, staff: User) -> None:
    client.force_login(staff)
    with time_machine.travel(NOON, tick=False):
        first, *_ = set_up(client, staff)
        before = TOTPDevice.objects.get(user=staff)
        client.get("/admin/second-factor/")
        waiting = TOTPDevice.objects.get(user=staff, confirmed=False)
        code = f"{totp(waiting.bin_key, waiting.step, waiting.t0, waiting.digits, waiting.drift):06}"
        assert client.post("/admin/second-factor/", {"code": code}).status_code == 400
        assert TOTPDevice.objects.get(user=staff, confirmed=True) == before
        assert client.post("/admin/second-factor/", {"code": code, "present": first}).status_code == 200
        assert TOTPDevice.objects.get(user=staff, confirmed=True) == waiting


def test_changing_ones_own_password_revokes_tokens(client: Client, staff: User) -> None:
    client.force_login(staff)
    _, token = AuthToken.objects.create(staff)
    new = {"old_password": PASSWORD, "new_password1": "another good phrase", "new_password2": "another good phrase"}
    assert client.post("/admin/password_change/", new).status_code == 302
    assert client.get("/api/v1/portfolio/", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_the_login_cannot_be_framed(client: Client) -> None:
    headers = client.get("/admin/login/").headers
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
