"""Each problem that the schema names happens over HTTP, with its status and exactly its data."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from knox.models import AuthToken

from loans.api import examples
from loans.ledger import locks
from loans.models import Investor, Loan, Reservation, User
from peerloans.api import throttling
from peerloans.api.error_statuses import STATUSES
from tests.factories import funded
from tests.loans.api.conftest import Caller, problem

AFTER_A_WAIT = {"busy", "request_in_progress", "throttled", "unavailable"}
WITH_REAL_COMMITS = {"busy", "request_in_progress", "unavailable"}

Refused = tuple[Any, dict[str, Any]]
"""The answer, and the data expected in it."""


class Provoking:
    """Requests that provoke each code."""

    def __init__(self, investor: Caller, loan: Loan, new_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch) -> None:
        self.investor, self.loan, self.new_user, self.monkeypatch = investor, loan, new_user, monkeypatch
        self.reservations = f"loans/{loan.reference}/reservations/"

    def reserve(self, amount: Any = "5000.00", **options: Any) -> Any:
        return self.investor.post(self.reservations, {"amount": amount}, **options)

    def send(self, body: str, media_type: str = "application/json") -> Any:
        return self.investor.client.post(f"/api/v1/{self.reservations}", body, content_type=media_type, headers=self.investor.headers)

    def invalid(self) -> Refused:
        answer = self.reserve("much")
        return answer, {"errors": {"amount": answer.json()["errors"]["amount"]}}

    def below_minimum(self) -> Refused:
        return self.reserve("999.99"), {"minimum": "1000.00"}

    def invalid_signature(self) -> Refused:
        return Caller().post("bank-events/", examples.EVENT), {}

    def not_authenticated(self) -> Refused:
        return Caller().get("portfolio/"), {}

    def second_factor_required(self) -> Refused:
        staff = self.new_user(is_staff=True)
        return Caller().post("auth/token/", {"username": staff.username, "password": "demo"}), {}

    def token_expired(self) -> Refused:
        AuthToken.objects.update(expiry=timezone.now())
        return self.investor.get("portfolio/"), {}

    def permission_denied(self) -> Refused:
        return Caller(self.new_user(is_staff=True)).get("portfolio/"), {}

    def scope_missing(self) -> Refused:
        token = self.investor.token_with(["read"])
        return token.post(f"loans/{self.loan.reference}/reservations/", {"amount": 5000}), {"needed_scope": "reserve", "scopes": ["read"]}

    def not_accredited(self) -> Refused:
        Investor.objects.update(accredited_until=None)
        return self.reserve(), {}

    def not_found(self) -> Refused:
        return self.investor.get(f"reservations/{uuid4()}/"), {}

    def over_limit(self) -> Refused:
        first = self.reserve("90000.00").json()
        data = {"available": "30000.00", "frees_at": first["expires_at"], "available_then": "100000.00"}
        return self.reserve("30000.01"), data | {"waiting_list": {"entries": 0, "dollars": "0.00"}}

    def investor_limit(self) -> Refused:
        Investor.objects.update(unfunded_limit="9000.00")
        first = self.reserve().json()
        data = {"limited": "unfunded", "limit": "9000.00", "used": "5000.00", "frees_at": first["expires_at"]}
        return self.reserve(), data

    def loan_not_open(self) -> Refused:
        Loan.objects.update(status="withdrawn")
        return self.reserve(), {"loan_status": "withdrawn"}

    def reservation_expired(self) -> Refused:
        reservation = self.reserve().json()
        Reservation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        return self.investor.post(f"reservations/{reservation['id']}/cancel/"), {
            "expired_at": reservation["expires_at"],  # as history has it
            "state": "canceled",
        }

    def illegal_transition(self) -> Refused:
        step = f"reservations/{self.reserve().json()['id']}/"
        self.investor.post(step + "cancel/")
        possible = ["reinstated_reserved", "reinstated_pending"]
        return self.investor.post(step + "transfer/", {"method": "ach"}), {"state": "canceled", "possible": possible}

    def busy(self) -> Refused:
        with self.elsewhere("SELECT FROM loans_loan FOR UPDATE"):
            return self.reserve(), {}

    def request_in_progress(self) -> Refused:
        assert self.investor.user
        of_the_key = locks.KEY_LOCK % {"user_id": self.investor.user.pk, "key": "'a'"}
        with self.elsewhere(f"SELECT pg_advisory_xact_lock({of_the_key})"):
            return self.reserve(key="a"), {}

    def elsewhere(self, lock: str) -> Any:
        """Hold the lock in another transaction, and wait only a moment for it in this one."""
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        return holding(lock)

    def too_large(self) -> Refused:
        return self.send('{"amount": "' + "0" * 3_000_000 + '"}'), {}

    def unsupported_media_type(self) -> Refused:
        return self.send("amount=5000", "application/x-www-form-urlencoded"), {}

    def idempotency_key_reused(self) -> Refused:
        self.reserve(key="a")
        return self.reserve("6000.00", key="a"), {}

    def throttled(self) -> Refused:
        self.monkeypatch.setattr(throttling.Throttle, "THROTTLE_RATES", {"user": "1/d", "download": None, "login": None})
        self.investor.get("portfolio/")
        return self.investor.get("portfolio/"), {}

    def server_error(self) -> Refused:
        self.monkeypatch.setattr("loans.api.portfolio.portfolio", lambda _: 1 / 0)
        answer = self.investor.get("portfolio/")
        return answer, {"id": answer.json()["id"]}

    def unavailable(self) -> Refused:
        with connection.cursor() as cursor, suppress(OperationalError):
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        try:
            return self.investor.get("portfolio/"), {}
        finally:
            connection.close()


@contextmanager
def holding(lock: str) -> Iterator[None]:
    other = connection.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(lock)
        yield
    finally:
        other.close()
        connection.close()


def cases() -> list[Any]:
    transactional = pytest.mark.django_db(transaction=True)
    return [pytest.param(code, marks=transactional if code in WITH_REAL_COMMITS else ()) for code in examples.PROBLEMS]


@pytest.mark.parametrize("code", cases())
def test_a_refusal(code: str, investor: Caller, loan: Loan, new_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch) -> None:
    answer, data = getattr(Provoking(investor, loan, new_user, monkeypatch), code)()
    _, declared = examples.PROBLEMS[code]
    assert problem(answer) == (STATUSES[code], code)
    assert {name: answer.json()[name] for name in data} == data
    assert set(data) == set(declared) == set(answer.json()) - {"type", "title", "status", "detail", "code"}
    assert ("Retry-After" in answer.headers) == (code in AFTER_A_WAIT)


def test_below_the_minimum_only_the_closing_piece_is_accepted(investor: Caller, new_loan: Callable[..., Loan]) -> None:
    loan = new_loan(amount="10000.00")
    Loan.objects.filter(pk=loan.pk).update(settled="9500.00")
    path = f"loans/{loan.reference}/reservations/"
    answer = investor.post(path, {"amount": "400.00"})
    assert problem(answer) == (400, "below_minimum")
    assert answer.json()["minimum"] == "500.00"
    assert investor.post(path, {"amount": answer.json()["minimum"]}).status_code == 201


def test_frees_at_is_null_without_a_running_deadline(investor: Caller, new_loan: Callable[..., Loan]) -> None:
    loan = new_loan(overbooking_rate=0)
    funded(loan, 60_000, now=timezone.now())
    answer = investor.post(f"loans/{loan.reference}/reservations/", {"amount": "40000.01"})
    assert problem(answer) == (409, "over_limit")
    assert (answer.json()["available"], answer.json()["frees_at"], answer.json()["available_then"]) == ("40000.00", None, "40000.00")
