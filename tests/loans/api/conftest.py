"""What does a test of the API begin with? Callers who have logged in, and a loan that takes reservations."""

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test import Client, TransactionTestCase
from knox.models import AuthToken

from loans import lending
from loans.ledger import Actor
from loans.models import Investor, Loan

_numbers = count(1)


def _remove_committed_rows(_test: TransactionTestCase) -> None:
    tables = [model._meta.db_table for app in ("loans", "cbsa") for model in apps.get_app_config(app).get_models()]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE loans_transition DISABLE TRIGGER append_only")
        cursor.execute(f"TRUNCATE {', '.join([*tables, 'auth_user'])} CASCADE")
        cursor.execute("ALTER TABLE loans_transition ENABLE TRIGGER append_only")


@pytest.fixture(autouse=True)
def _history_survives_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TransactionTestCase, "_fixture_teardown", _remove_committed_rows)


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

    def get(self, path: str, headers: dict[str, str] | None = None, **parameters: Any) -> Any:
        address = path if path.startswith("http") else f"/api/v1/{path}"
        return self.client.get(address, parameters or None, headers=self.headers | (headers or {}))

    def post(self, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None) -> Any:
        """`body` is sent as it is where it is text."""
        text = body if isinstance(body, str | bytes) else json.dumps(body if body is not None else {})
        headers = self.headers | ({"Idempotency-Key": key} if key else {}) | (headers or {})
        return self.client.post(f"/api/v1/{path}", text, content_type="application/json", headers=headers)


@pytest.fixture
def new_user(db: None) -> Callable[..., User]:
    return lambda **facts: User.objects.create_user(f"user{next(_numbers)}", password="demo", **facts)


@pytest.fixture
def new_investor(new_user: Callable[..., User]) -> Callable[..., Caller]:
    def make(**facts: Any) -> Caller:
        user = new_user()
        Investor.objects.create(user=user, name=user.username, **({"accredited_until": date(2099, 12, 31)} | facts))
        return Caller(user)

    return make


@pytest.fixture
def investor(new_investor: Callable[..., Caller]) -> Caller:
    return new_investor()


@pytest.fixture
def anyone(db: None) -> Caller:
    return Caller()


@pytest.fixture
def new_draft(db: None) -> Callable[..., Loan]:
    def make(**facts: Any) -> Loan:
        usual = {"title": "Four flats", "address": "1 Ocean Drive", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
        usual |= {"annual_rate": Decimal("8.50"), "term_months": 24, "ltv": Decimal("65.00"), "amount": Decimal("100000.00")}
        return lending.create(Loan(**(usual | {"reference": f"LN-{next(_numbers)}"} | facts)), actor=Actor("staff"))

    return make


@pytest.fixture
def new_loan(new_draft: Callable[..., Loan]) -> Callable[..., Loan]:
    return lambda **facts: lending.open_loan(reference=new_draft(**facts).reference, actor=Actor("staff"))


@pytest.fixture
def loan(new_loan: Callable[..., Loan]) -> Loan:
    return new_loan()


def problem(response: Any) -> tuple[int, str]:
    """Status and code of a problem document, its form checked."""
    assert response.headers["Content-Type"] == "application/problem+json", response.content
    document = response.json()
    assert {"type", "title", "status", "detail", "code"} <= set(document)
    assert document["status"] == response.status_code
    return document["status"], document["code"]
