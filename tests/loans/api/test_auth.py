"""Tokens are given for a password and end at their expiry or at log-out."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from loans.api import authentication
from loans.models import User
from loans.services.retention import delete_ended_access_data
from tests.loans.api.conftest import Caller, problem


def test_a_token_opens_until_log_out(anyone: Caller, investor: Caller) -> None:
    assert investor.user
    other = investor.headers
    answer = anyone.post("auth/token/", {"username": investor.user.username, "password": "demo"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "expires_at"}
    assert answer.headers["Cache-Control"] == "no-store"
    assert timedelta(hours=9) < parse_datetime(answer.json()["expires_at"]) - timezone.now() < timedelta(hours=11)
    assert User.objects.get(pk=investor.user.pk).last_login is not None
    assert not AuthToken.objects.filter(digest__contains=answer.json()["token"]).exists()

    investor.headers = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert investor.get("portfolio/").status_code == 200
    assert investor.post("auth/logout/").status_code == 204
    assert problem(investor.get("portfolio/")) == (401, "not_authenticated")
    investor.headers = other
    assert investor.get("portfolio/").status_code == 200


def test_an_ended_token_says_so(investor: Caller) -> None:
    AuthToken.objects.update(expiry=timezone.now())
    response = investor.get("portfolio/")
    assert problem(response) == (401, "token_expired")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("left", "remembered"), [(timedelta(hours=1), 60), (timedelta(seconds=10), 10)])
def test_a_token_is_read_again_after_a_minute(
    investor: Caller, left: timedelta, remembered: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(authentication, "monotonic", lambda: clock[0])
    AuthToken.objects.update(expiry=timezone.now() + left)
    assert investor.get("portfolio/").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM knox_authtoken")  # unnoticed, as if another process did it while Redis is away
    clock[0] += remembered - 1
    assert investor.get("portfolio/").status_code == 200
    clock[0] += 1
    assert problem(investor.get("portfolio/")) == (401, "not_authenticated")


def test_only_so_many_tokens_are_remembered(investor: Caller, new_investor: Callable[..., Caller], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "REMEMBERED_TOKENS", 2)
    for caller in (investor, new_investor(), new_investor()):
        caller.get("portfolio/")
    assert len(authentication._remembered) == 1


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Bearer nonsense", "Bearer \xfc", "Basic dTpw", ""])
def test_bad_tokens(anyone: Caller, header: str) -> None:
    assert problem(anyone.get("portfolio/", headers={"Authorization": header})) == (401, "not_authenticated")


def test_an_inactive_user(investor: Caller) -> None:
    User.objects.update(is_active=False)
    assert problem(investor.get("portfolio/")) == (401, "not_authenticated")
    assert investor.user
    assert problem(investor.post("auth/token/", {"username": investor.user.username, "password": "demo"})) == (401, "not_authenticated")


def test_staff_are_not_investors(new_user: Callable[..., User]) -> None:
    assert problem(Caller(new_user(is_staff=True)).get("reservations/")) == (403, "permission_denied")


def test_a_failed_log_in_is_logged_without_name_and_password(investor: Caller, caplog: Any) -> None:
    assert investor.user
    response = investor.post("auth/token/", {"username": investor.user.username, "password": "s3cret"})
    assert problem(response) == (401, "not_authenticated")
    assert "A log-in failed." in caplog.text
    assert investor.user.username not in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "body", [{}, {"username": "x"}, {"username": ["x"], "password": "y"}, [], "{", '{"username": "\\ud800", "password": "y"}']
)
def test_a_malformed_log_in(anyone: Caller, body: Any) -> None:
    assert problem(anyone.post("auth/token/", body)) == (400, "invalid")


def test_a_log_in_ignores_the_idempotency_key(investor: Caller) -> None:
    assert investor.user
    body = {"username": investor.user.username, "password": "demo"}
    first, second = (investor.post("auth/token/", body, key="k").json()["token"] for _ in range(2))
    assert first != second


def test_tokens_that_ended_long_ago_are_deleted(investor: Caller) -> None:
    AuthToken.objects.create(investor.user)
    AuthToken.objects.update(expiry=timezone.now() - timedelta(days=29))
    assert delete_ended_access_data() == 0
    assert delete_ended_access_data(timezone.now() + timedelta(days=2)) == 2


# --- Tokens end with the password, or the activity, of their user -----------------------------------------------------------
def log_in(user: User, password: str = "demo", **more: str) -> Any:  # noqa: S107
    return Caller().post("auth/token/", {"username": user.username, "password": password, **more})


def with_token(token: str) -> Any:
    return Caller().get("portfolio/", headers={"Authorization": f"Bearer {token}"})


def by_form(user: User) -> None:
    user.set_password("another good phrase")
    user.save()


def by_query(user: User) -> None:
    User.objects.filter(pk=user.pk).update(password=make_password("another good phrase"))


def by_command(user: User) -> None:
    with patch("getpass.getpass", return_value="another good phrase"):
        call_command("changepassword", user.username, stdout=StringIO())


def by_reactivation(user: User) -> None:
    for active in (False, True):
        User.objects.filter(pk=user.pk).update(is_active=active)


CHANGES = [by_form, by_query, by_command, by_reactivation]


@pytest.mark.parametrize("change", CHANGES)
def test_a_token_ends_with_what_its_user_had_when_it_was_issued(
    new_investor: Callable[..., Caller], change: Callable[[User], None]
) -> None:
    user = new_investor().user
    assert user
    token = log_in(user).json()["token"]
    change(user)
    authentication.forget()
    assert problem(with_token(token)) == (401, "not_authenticated")
    password = "demo" if change is by_reactivation else "another good phrase"
    assert with_token(log_in(user, password).json()["token"]).status_code == 200


def test_a_stale_copy_of_the_user_that_is_saved_brings_no_token_back(investor: Caller) -> None:
    stale = User.objects.get(pk=investor.user and investor.user.pk)
    token = log_in(stale).json()["token"]
    by_reactivation(stale)
    stale.first_name = "Ana"
    stale.save()
    authentication.forget()
    assert problem(with_token(token)) == (401, "not_authenticated")


def test_what_does_not_concern_access_ends_no_token(investor: Caller) -> None:
    user = User.objects.get(pk=investor.user and investor.user.pk)
    token = log_in(user).json()["token"]
    user.first_name = "Ana"
    user.save()
    assert with_token(token).status_code == 200


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("checked", [True, False], ids=["checked", "twin"])
def test_a_log_in_that_races_with_the_change_yields_no_token_that_lives_on(
    investor: Caller, change: Callable[[User], None], checked: bool
) -> None:
    """The password is checked, then the change happens, then the token is issued. The twin issues it in the present generation.

    A user who has been activated again may have a token: the password that was checked is still the password.
    """
    user = investor.user
    assert user
    authenticated = User.objects.get(pk=user.pk)  # as the check of the password returns it
    change(user)
    if not checked:
        authenticated = User.objects.get(pk=user.pk)
    try:
        token = authentication.issue_token(authenticated, "")[1]
    except AuthenticationFailed:
        lives_on = False
    else:
        lives_on = with_token(token).status_code == 200
    assert lives_on is not checked or change is by_reactivation


@pytest.mark.django_db(transaction=True)
def test_a_deactivated_user_is_out_in_the_same_process_at_once_and_elsewhere_within_a_second(
    investor: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(authentication, "monotonic", lambda: clock[0])
    monkeypatch.setattr(authentication, "_look_at", 0.0)
    user = User.objects.get(pk=investor.user and investor.user.pk)
    assert investor.get("portfolio/").status_code == 200
    remembered = dict(authentication._remembered)
    user.is_active = False
    user.save()
    assert problem(investor.get("portfolio/")) == (401, "not_authenticated")
    authentication._remembered.update(remembered)  # as in another process
    assert investor.get("portfolio/").status_code == 200
    clock[0] += authentication.LOOK_SECONDS
    assert problem(investor.get("portfolio/")) == (401, "not_authenticated")


# --- Staff need their second factor -------------------------------------------------------------------------------------------
def test_staff_get_a_token_only_with_a_second_factor(new_user: Callable[..., User]) -> None:
    staff = new_user(is_staff=True)
    assert problem(log_in(staff)) == (401, "second_factor_required")
    device = StaticDevice.objects.create(user=staff, name="recovery codes")
    TOTPDevice.objects.create(user=staff, name="phone")
    device.token_set.create(token="abcdefgh")
    assert problem(log_in(staff)) == (401, "second_factor_required")
    assert problem(log_in(staff, second_factor="wrongone")) == (401, "second_factor_required")
    StaticDevice.objects.update(throttling_failure_count=0)  # the wait after a wrong code
    answer = log_in(staff, second_factor="abcdefgh")
    assert answer.status_code == 200
    assert problem(with_token(answer.json()["token"])) == (403, "permission_denied")
    assert not AuthToken.objects.exclude(user=staff).exists()


def test_what_was_read_before_a_change_is_not_remembered_after_it(investor: Caller) -> None:
    authentication.forget()

    def change_meanwhile(execute: Any, sql: Any, *rest: Any) -> Any:
        result = execute(sql, *rest)
        if "knox_authtoken" in str(sql):
            authentication.forget()  # as another thread does that sees a change
        return result

    with connection.execute_wrapper(change_meanwhile):
        assert investor.get("portfolio/").status_code == 200
    assert not authentication._remembered
