"""A request with an Idempotency-Key is decided once, even when it comes twice at once."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from time import monotonic
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from loans.api import reservations
from loans.models import IdempotencyKey, Loan, Reservation
from loans.services.retention import delete_old_idempotency_keys
from peerloans.monitoring import metrics
from tests.loans.api.conftest import Caller, problem


@pytest.fixture
def path(loan: Loan) -> str:
    return f"loans/{loan.reference}/reservations/"


def replayed(answer: Any) -> bool:
    return answer.headers.get("Idempotency-Replayed") == "true"


def test_a_repeat_gets_the_first_answer(investor: Caller, path: str) -> None:
    first = investor.post(path, {"amount": "5000.00"}, key="a")
    again = investor.post(path, {"amount": "5000.00"}, key="a")
    assert (first.status_code, replayed(first)) == (201, False)
    assert (again.status_code, again.content, replayed(again)) == (201, first.content, True)
    assert again.headers["Content-Type"] == first.headers["Content-Type"] == "application/json"
    assert Reservation.objects.count() == 1


def test_every_step_heeds_its_key(investor: Caller, path: str) -> None:
    reservation = f"reservations/{investor.post(path, {'amount': 5000}).json()['id']}/"
    canceled = investor.post(reservation + "cancel/", key="c")
    assert investor.post(reservation + "cancel/", key="c").content == canceled.content
    reservation = f"reservations/{investor.post(path, {'amount': 5000}).json()['id']}/"
    started = investor.post(reservation + "transfer/", {"method": "ach"}, key="t")
    Reservation.objects.filter(state="pending").update(expires_at=F("created_at"))
    again = investor.post(reservation + "transfer/", {"method": "ach"}, key="t")
    assert (again.status_code, again.content, replayed(again)) == (200, started.content, True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"amount": "1.00"}, (400, "below_minimum")),
        ({"amount": "x"}, (400, "invalid")),
        ("{", (400, "invalid")),
        ({"amount": 100_001}, (409, "over_limit")),
    ],
)
def test_a_refusal_is_remembered(investor: Caller, loan: Loan, path: str, body: Any, code: tuple[int, str]) -> None:
    first = investor.post(path, body, key="a")
    assert problem(first) == code
    Loan.objects.update(amount=F("amount") * 2)
    again = investor.post(path, body, key="a")
    assert problem(again) == code
    assert (again.content, replayed(again)) == (first.content, True)
    assert not Reservation.objects.exists()


@pytest.mark.parametrize("key", ["a", None])
def test_metrics_name_a_refusal(investor: Caller, path: str, key: str | None) -> None:
    def refused() -> float:
        labels = {"view": "api:reservation-create", "method": "POST", "status": "409", "outcome": "over_limit"}
        return metrics.REQUESTS.labels(**labels)._value.get()

    before = refused()
    investor.post(path, {"amount": 100_001}, key=key)
    assert refused() == before + 1


def test_refusals_of_every_remembered_status(investor: Caller, new_investor: Callable[..., Caller], path: str) -> None:
    outsider = new_investor(accredited_until=None)
    for caller, address, code in (
        (outsider, path, (403, "not_accredited")),
        (investor, "loans/NO-SUCH/reservations/", (404, "not_found")),
    ):
        assert problem(caller.post(address, {"amount": 5000}, key="a")) == code
        assert replayed(caller.post(address, {"amount": 5000}, key="a"))


@pytest.mark.parametrize("other", [{"amount": "5000.01"}, {"amount": "x"}, "{"])
def test_another_request_with_the_key(investor: Caller, path: str, other: Any) -> None:
    first = investor.post(path, {"amount": "5000.00"}, key="a")
    assert problem(investor.post(path, other, key="a")) == (422, "idempotency_key_reused")
    assert problem(investor.post(f"reservations/{first.json()['id']}/cancel/", key="a")) == (422, "idempotency_key_reused")
    assert Reservation.objects.get().state == "reserved"
    assert replayed(investor.post(path, {"amount": "5000.00"}, key="a"))


def test_a_key_belongs_to_its_user(investor: Caller, new_investor: Callable[..., Caller], path: str) -> None:
    answers = [caller.post(path, {"amount": 5000}, key="a") for caller in (investor, new_investor())]
    assert [(answer.status_code, replayed(answer)) for answer in answers] == [(201, False)] * 2


@pytest.mark.parametrize("key", ["a b", "é", "x" * 256, " "])
def test_a_malformed_key(investor: Caller, path: str, key: str) -> None:
    answer = investor.post(path, {"amount": 5000}, key=key)
    assert problem(answer) == (400, "invalid")
    assert list(answer.json()["errors"]) == ["Idempotency-Key"]


def test_a_day_later_the_key_is_free_again(investor: Caller, path: str) -> None:
    investor.post(path, {"amount": 5000}, key="a")
    IdempotencyKey.objects.update(created_at=F("created_at") - timedelta(hours=24))
    assert not replayed(investor.post(path, {"amount": 6000}, key="a"))
    assert Reservation.objects.count() == 2
    assert replayed(investor.post(path, {"amount": 6000}, key="a"))


def test_keys_older_than_a_day_are_deleted(investor: Caller, path: str) -> None:
    investor.post(path, {"amount": 5000}, key="a")
    investor.post(path, {"amount": 5000}, key="b")
    IdempotencyKey.objects.filter(key="a").update(created_at=F("created_at") - timedelta(hours=24))
    assert delete_old_idempotency_keys() == 1
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["b"]


def test_lapsed_reservations_are_swept_for_a_request_with_a_key(investor: Caller, new_investor: Callable[..., Caller], path: str) -> None:
    new_investor().post(path, {"amount": 90_000})
    Reservation.objects.update(expires_at=F("created_at"))
    assert investor.post(path, {"amount": 100_000}, key="a").status_code == 201
    assert Reservation.objects.get(amount=90_000).cause == "expired"


def test_one_statement_after_the_token(investor: Caller, path: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert investor.post(path, {"amount": 5000}, key="a").status_code == 201
    # Only within a transaction, as this test's, a savepoint is set around it.
    assert [verb for query in queries if (verb := query["sql"].split()[0]) not in {"SAVEPOINT", "RELEASE"}] == ["SELECT", "WITH"]


def test_a_repeat_changes_nothing(investor: Caller, path: str) -> None:
    investor.post(path, {"amount": 5000}, key="a")
    before = Loan.objects.values().get()
    assert replayed(investor.post(path, {"amount": 5000}, key="a"))
    assert Loan.objects.values().get() == before


def test_a_repeat_shows_the_reservation_as_it_was_created(investor: Caller, path: str) -> None:
    first = investor.post(path, {"amount": 5000}, key="a")
    investor.post(f"reservations/{first.json()['id']}/cancel/")
    assert investor.post(path, {"amount": 5000}, key="a").content == first.content


def test_a_fault_of_ours_is_not_remembered(investor: Caller, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(reservations, "reserve", lambda **_: 1 / 0)
        assert problem(investor.post(path, {"amount": 5000}, key="a"))[0] == 500
    answer = investor.post(path, {"amount": 5000}, key="a")
    assert (answer.status_code, replayed(answer)) == (201, False)


# --- With real commits ----------------------------------------------------------------------------------------------
@pytest.fixture
def committed(transactional_db: None) -> None: ...


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


@pytest.mark.parametrize("body", [{"amount": "60000.00"}, {"amount": "1.00"}])
def test_two_at_once_are_decided_once(committed: None, investor: Caller, path: str, body: Any) -> None:
    answers = at_once(*[lambda: investor.post(path, body, key="a")] * 4)
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    assert sorted(map(replayed, answers)) == [False, True, True, True]
    assert Reservation.objects.count() == (answers[0].status_code == 201)


@pytest.fixture
def elsewhere(committed: None) -> Iterator[BaseDatabaseWrapper]:
    """Yield another connection. This one waits only a moment for a lock."""
    other = connection.copy()
    other.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    yield other
    other.close()
    connection.close()


def test_the_first_is_still_running(elsewhere: BaseDatabaseWrapper, investor: Caller, path: str) -> None:
    with elsewhere.cursor() as cursor, ThreadPoolExecutor(1) as pool:
        cursor.execute("SELECT FROM loans_loan FOR UPDATE")
        first = pool.submit(at_once, lambda: investor.post(path, {"amount": 5000}, key="a"))
        try:
            wait_until_the_key_is_held()
            for body in ({"amount": 5000}, {"amount": 6000}):
                answer = investor.post(path, body, key="a")
                assert problem(answer) == (409, "request_in_progress")
                assert answer.headers["Retry-After"] == "1"
            assert problem(investor.post(path, {"amount": 5000}, key="b")) == (409, "busy")
        finally:
            elsewhere.rollback()
        (answer,) = first.result()
    assert (answer.status_code, replayed(answer)) == (201, False)
    assert investor.post(path, {"amount": 5000}, key="a").content == answer.content
    assert Reservation.objects.count() == 1


def wait_until_the_key_is_held() -> None:
    """Return once the first request, which holds its key, waits for the loan."""
    deadline = monotonic() + 10
    waits = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with connection.cursor() as cursor:
        while not cursor.execute(waits).fetchall():
            assert monotonic() < deadline, "the first request never held its key"


def test_busy_is_not_remembered(elsewhere: BaseDatabaseWrapper, investor: Caller, path: str) -> None:
    with elsewhere.cursor() as cursor:
        cursor.execute("SELECT FROM loans_loan FOR UPDATE")
    for key in ("a", None):
        answer = investor.post(path, {"amount": 5000}, key=key)
        assert problem(answer) == (409, "busy")
        assert answer.headers["Retry-After"] == "1"
    elsewhere.rollback()
    assert investor.post(path, {"amount": 5000}, key="a").status_code == 201


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("reservations", {f"{number:04}{'😀' * 96}": 1 for number in range(40)}),
        ("reservations", '{"' + "☃" * 10_000 + '": 1, "' + "☃" * 10_000 + '": 2}'),
        ("transfer", {"method": "x" * 60_000}),
    ],
)
def test_a_kept_refusal_is_short_and_the_same_again(investor: Caller, path: str, call: str, body: Any) -> None:
    if call == "transfer":
        path = f"reservations/{investor.post(path, {'amount': 5000}).json()['id']}/transfer/"
    first, again = investor.post(path, body, key="k"), investor.post(path, body, key="k")
    assert problem(first) == problem(again) == (400, "invalid")
    assert (again.content, replayed(again)) == (first.content, True)
    assert len(IdempotencyKey.objects.get(key="k").body.encode()) <= 4_096
