"""A caller who asks too often is refused for a while. Without Redis there is no limit."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import time_machine
from django.contrib.auth.hashers import make_password
from django.test import Client

from loans.services.loan_documents import add_document
from peerloans.api import throttling
from tests.factories import InvestorFactory, LoanFactory, UserFactory

PDF = b"%PDF-1.7\nOne page.\n%%EOF\n"
LOG_IN = "/api/v1/auth/token/"


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    unlimited = {"user": None, "download": None, "login": None}
    return lambda **limits: monkeypatch.setattr(throttling.Throttle, "THROTTLE_RATES", unlimited | limits)


def log_in(username: str, address: str = "10.0.0.1", *, right: bool = False, **headers: str) -> Any:
    body = json.dumps({"username": username, "password": "right" if right else "wrong"})
    return Client(REMOTE_ADDR=address).post(LOG_IN, body, content_type="application/json", headers=headers)


@time_machine.travel("2026-03-02T15:00:50Z", tick=False)
def test_a_caller_who_asks_too_often_gets_retry_after(db: None, rates: Callable[..., None]) -> None:
    rates(user="2/m")
    here, there = Client(REMOTE_ADDR="10.1.0.1"), Client(REMOTE_ADDR="10.1.0.2")
    assert [here.get("/api/v1/loans/").status_code for _ in range(3)] == [200, 200, 429]
    answer = here.get("/api/v1/loans/")
    assert (answer.json()["code"], answer.headers["Retry-After"]) == ("throttled", "10")
    assert there.get("/api/v1/loans/").status_code == 200
    with time_machine.travel("2026-03-02T15:01:00Z"):
        assert here.get("/api/v1/loans/").status_code == 200


def log_in_as_staff(username: str, address: str, *, right: bool = False) -> Any:
    form = {"username": username, "password": "right" if right else "wrong", "next": "/admin/"}
    return Client(REMOTE_ADDR=address).post("/admin/login/", form)


@pytest.mark.parametrize(
    ("first", "second", "elsewhere"),
    [
        ("10.2.0.1", "10.2.0.1", "10.2.0.2"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ("::ffff:10.2.0.1", "10.2.0.1", "::ffff:10.2.0.2"),
    ],
)
@time_machine.travel("2026-03-02T23:59:50Z", tick=False)
def test_log_ins_are_counted_by_address_in_the_admin_and_by_the_api_together(
    db: None, rates: Callable[..., None], first: str, second: str, elsewhere: str
) -> None:
    rates(login="2/d")
    kim = UserFactory(is_staff=True, password=make_password("right")).username
    assert (log_in("a", first).status_code, log_in_as_staff("b", second).status_code) == (401, 200)
    for refused in (log_in(kim, second, right=True), log_in_as_staff(kim, first, right=True)):
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
    assert "Try again in 10 seconds" in refused.content.decode()
    assert log_in("e", first, **{"X-Forwarded-For": "1.2.3.4"}).status_code == 429
    assert Client(REMOTE_ADDR=first).get("/admin/login/").status_code == 200
    assert log_in_as_staff(kim, elsewhere, right=True).status_code == 302


@time_machine.travel("2026-03-02T15:00:00Z", tick=False)
def test_guessing_at_many_users_blocks_only_the_guessers_address(db: None, rates: Callable[..., None]) -> None:
    rates(login="20/m")
    users = [UserFactory(password=make_password("right")).username for _ in range(30)]
    assert [log_in(user, "10.4.0.1").status_code for user in users * 2] == [401] * 20 + [429] * 40
    assert log_in(users[0], "10.4.0.1", right=True).status_code == 429
    assert log_in(users[0], "10.4.0.2", right=True).status_code == 200


def test_guessing_at_one_user_from_many_addresses_does_not_lock_the_user_out(db: None, rates: Callable[..., None]) -> None:
    rates(login="20/m")
    target = UserFactory(password=make_password("right")).username
    assert [log_in(target, f"10.5.0.{number}").status_code for number in range(40)] == [401] * 40
    assert log_in(target, "10.6.0.1", right=True).status_code == 200


def test_the_bank_and_lists_of_zips_are_counted_by_address(db: None, rates: Callable[..., None]) -> None:
    rates(user="2/d")
    for path, status in (("/api/v1/bank-events/", 400), ("/ziptocbsa", 503)):
        address = f"10.7.0.{status % 250}"
        statuses = [
            Client(REMOTE_ADDR=address).post(path, '{"zips": ["90266"]}', content_type="application/json").status_code for _ in range(3)
        ]
        assert statuses == [status, status, 429]


@time_machine.travel("2026-03-02T15:00:50Z", tick=False)
def test_files_are_counted_together_by_address_of_visitors_and_by_user(db: None, rates: Callable[..., None]) -> None:
    rates(download="2/m")
    loan, investor = LoanFactory(), InvestorFactory()
    document, _ = add_document(loan_id=loan.pk, title="Appraisal", content=PDF, user_id=investor.user_id)
    pdf = f"/loans/{loan.reference}/documents/{document.pk}/"

    visitor = Client(REMOTE_ADDR="10.8.0.1")
    assert [visitor.get(pdf).content for _ in range(2)] == [PDF, PDF]
    refused = visitor.get(pdf)
    assert (refused.status_code, refused.headers["Retry-After"], refused.headers["Cache-Control"]) == (429, "10", "no-store")
    assert "Try again in 10 seconds." in refused.content.decode()
    assert visitor.get(f"/loans/{loan.reference}/allotment.csv").status_code == 429
    csv = visitor.get("/ziptocbsa.csv")
    assert (csv.json()["code"], csv.headers["Retry-After"]) == ("throttled", "10")
    assert visitor.get(f"/loans/{loan.reference}/").status_code == 200

    assert Client(REMOTE_ADDR="10.8.0.2").get(pdf).status_code == 200
    visitor.force_login(investor.user)
    assert [visitor.get(path).status_code for path in (pdf, "/account/statement.csv", pdf)] == [200, 200, 429]
    with time_machine.travel("2026-03-02T15:01:00Z"):
        assert visitor.get(pdf).content == PDF


def test_without_redis_there_is_no_limit(db: None, rates: Callable[..., None], settings: Any, caplog: Any) -> None:
    rates(user="1/d")
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    assert [Client().get("/api/v1/loans/").status_code for _ in range(2)] == [200, 200]
    assert "not counted" in caplog.text


class Elsewhere(throttling.CallerThrottle):
    """The same throttle in another process, which shares only Redis."""

    _counts: dict[str, tuple[int, int]] = {}


@time_machine.travel("2026-03-02T15:00:00Z", tick=False)
def test_processes_report_each_hundredth_of_the_limit_to_redis(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling.Throttle, "THROTTLE_RATES", {"user": "1000/m"})
    caller = SimpleNamespace(user=UserFactory())
    here, there = throttling.CallerThrottle(), Elsewhere()
    allowed = {here: 0, there: 0}
    for throttle in (here, there) * 600:
        allowed[throttle] += throttle.allow_request(caller)
    assert 1000 <= allowed[here] + allowed[there] <= 1000 + 2 * 10
    assert not here.allow_request(caller)
    assert not there.allow_request(caller)


@time_machine.travel("2026-03-02T15:00:00Z", tick=False)
def test_the_number_of_remembered_windows_is_bounded(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttling, "REMEMBERED_WINDOWS", 3)
    monkeypatch.setattr(throttling.Throttle, "THROTTLE_RATES", {"user": "1000/m"})
    throttle = Elsewhere()
    for _ in range(10):
        throttle.allow_request(SimpleNamespace(user=UserFactory()))
        assert len(Elsewhere._counts) <= 3
