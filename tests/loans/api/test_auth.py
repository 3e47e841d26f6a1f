"""Tokens are given for a password and end at their expiry or at log-out."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from knox.models import AuthToken

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
    AuthToken.objects.all().delete()
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
