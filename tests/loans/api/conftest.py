"""Set up callers who have logged in, and a loan that takes reservations."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.test import Client
from knox.models import AuthToken

from loans.models import Investor, Loan, User
from tests.factories import DraftFactory, InvestorFactory, LoanFactory, UserFactory


class Caller:
    """Sends JSON to /api/v1/, with a token where there is one."""

    def __init__(self, user: User | None = None) -> None:
        self.user = user
        self.client = Client(raise_request_exception=False, enforce_csrf_checks=True)
        self.headers = {"Authorization": f"Bearer {AuthToken.objects.create(user)[1]}"} if user else {}

    @property
    def investor(self) -> Investor:
        assert self.user
        return self.user.investor

    def token_with(self, scopes: list[str]) -> "Caller":
        """Return a caller with a named token of the same investor."""
        answer = self.post("tokens/", {"name": "A program", "scopes": scopes})
        assert answer.status_code == 201, answer.content
        caller = Caller()
        caller.user, caller.headers = self.user, {"Authorization": f"Bearer {answer.json()['token']}"}
        return caller

    def get(self, path: str, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
        address = path if path.startswith("http") else f"/api/v1/{path}"
        return self.client.get(address, parameters or None, headers=self.headers | (headers or {}))

    def post(self, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None) -> Any:
        """Send the body as JSON, or as it is if it is text or bytes."""
        text = body if isinstance(body, str | bytes) else json.dumps(body if body is not None else {})
        headers = self.headers | ({"Idempotency-Key": key} if key else {}) | (headers or {})
        return self.client.post(f"/api/v1/{path}", text, content_type="application/json", headers=headers)

    def put(self, path: str, body: str = "") -> Any:
        return self.client.put(f"/api/v1/{path}", body, content_type="application/json", headers=self.headers)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1/{path}", headers=self.headers)


@pytest.fixture
def new_user(db: None) -> Callable[..., User]:
    """Users who may log in, with the password `demo`."""
    return lambda **facts: UserFactory(password=make_password("demo"), **facts)


@pytest.fixture
def new_investor(new_user: Callable[..., User]) -> Callable[..., Caller]:
    return lambda **facts: Caller(InvestorFactory(user=new_user(), **facts).user)


@pytest.fixture
def investor(new_investor: Callable[..., Caller]) -> Caller:
    return new_investor()


@pytest.fixture
def anyone(db: None) -> Caller:
    return Caller()


@pytest.fixture
def new_draft(db: None) -> Callable[..., Loan]:
    return partial(DraftFactory, now=None)


@pytest.fixture
def new_loan(db: None) -> Callable[..., Loan]:
    """Loans that are open from now on, since a request over HTTP always happens now."""
    return partial(LoanFactory, now=None)


@pytest.fixture
def loan(new_loan: Callable[..., Loan]) -> Loan:
    return new_loan()


def problem(response: Any) -> tuple[int, str]:
    """Return the status and code of a problem document, after checking its form."""
    assert response.headers["Content-Type"] == "application/problem+json", response.content
    document = response.json()
    assert {"type", "title", "status", "detail", "code"} <= set(document)
    assert document["status"] == response.status_code
    return document["status"], document["code"]
