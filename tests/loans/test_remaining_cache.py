"""Values are written to a real Redis, or to none, and read back beside the rows."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django_redis import get_redis_connection
from redis.connection import AbstractConnection

from loans import remaining_cache
from loans.models import Loan, ReviewItem
from loans.services.closing_values import Refreshed, refresh_remaining_cache
from loans.services.settlement import settle_loans
from tests.loans import stage
from tests.loans.stage import MONDAY

LATER = MONDAY + timedelta(hours=1)


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    cache.delete_pattern("*")


@pytest.fixture
def redis_away(settings: Any, tmp_path: Any) -> None:
    """The cache as it is where nothing listens."""
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": f"unix://{tmp_path}/none.sock?db=1"}}


def key(loan_id: int) -> str:
    return cache.make_key(f"remaining:{loan_id}")


def put(loan_id: int, value: str | bytes) -> None:
    get_redis_connection("default").set(key(loan_id), value)


def held(loan_id: int) -> str:
    return (get_redis_connection("default").get(key(loan_id)) or b"").decode()


def a_loan(settled: int = 0) -> Loan:
    return Loan(pk=7, reference="L", amount=Decimal(10000), settled=Decimal(settled), version=5)


# --- Writing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1, 3, 2)])
def test_the_newest_version_stays_whatever_comes_late_or_twice(order: tuple[int, ...]) -> None:
    for version in order:
        remaining_cache.publish({7: remaining_cache.Remaining(Decimal(1000 * version), MONDAY, version)})
    shown = remaining_cache.read([a_loan()], LATER)[7]
    assert shown == remaining_cache.Remaining(Decimal("3000.00"), MONDAY, 3)


def test_versions_are_compared_as_numbers() -> None:
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(1), MONDAY, 10)})
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(2), MONDAY, 9)})
    assert held(7).startswith("10 1.00 ")


AN_INSTANT = "2026-03-02T15:00:00.000000+00:00"
RUBBISH = [
    "",
    "rubbish",
    "99",
    "99 12.00",
    "99 12.00 never",
    f"99 -5.00 {AN_INSTANT}",
    "9" * 400 + f" 1.00 {AN_INSTANT}",
    f"99 1.00 {AN_INSTANT.replace('-02T', '-32T')}",
    f"0 1.00 {AN_INSTANT.replace('+00', '+01')}",
    "99 100 1772463600.000000",
    b"\xff\x00",
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
def test_what_is_no_value_is_not_shown_and_written_over(rubbish: str | bytes) -> None:
    put(7, rubbish)
    assert remaining_cache.read([a_loan()], LATER)[7].amount == 10000
    if rubbish != RUBBISH[7]:
        remaining_cache.publish({7: remaining_cache.Remaining(Decimal(5), MONDAY, 1)})
        assert remaining_cache.read([a_loan()], LATER)[7].amount == 5


def test_another_kind_of_redis_value_is_written_over() -> None:
    get_redis_connection("default").rpush(key(7), "a", "list")
    assert remaining_cache.read([a_loan()], LATER)[7].amount == 10000
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(5), MONDAY, 1)})
    assert remaining_cache.read([a_loan()], LATER)[7].amount == 5


# --- Reading ----------------------------------------------------------------------------------------------------------
def test_a_hundred_loans_cost_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    loans = [Loan(pk=number, amount=Decimal(number), settled=Decimal(0), version=1) for number in range(1, 101)]
    remaining_cache.publish({50: remaining_cache.Remaining(Decimal("0.25"), MONDAY, 2)})
    sent: list[object] = []
    send = AbstractConnection.send_command

    def watched(self: AbstractConnection, *command: object, **how: Any) -> None:
        sent.append(command[0])
        send(self, *command, **how)

    monkeypatch.setattr(AbstractConnection, "send_command", watched)
    shown = remaining_cache.read(loans, LATER)
    assert sent == ["MGET"]
    assert (shown[50].amount, shown[50].as_of) == (Decimal("0.25"), MONDAY)
    assert (shown[51].amount, shown[51].as_of) == (Decimal(51), LATER)


def test_of_no_loans_nothing_is_asked() -> None:
    assert remaining_cache.read([], LATER) == {}


@pytest.mark.usefixtures("redis_away")
def test_without_redis_the_rows_are_shown_and_writing_fails_nobody(caplog: pytest.LogCaptureFixture) -> None:
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(1), MONDAY, 5)})
    assert remaining_cache.read([a_loan(settled=4000)], LATER)[7] == remaining_cache.Remaining(Decimal(6000), LATER, 5)
    assert "not written to Redis" in caplog.text
    assert "come from the database" in caplog.text


@pytest.mark.django_db
def test_a_settlement_lowers_and_a_reversal_raises_what_is_shown(django_capture_on_commit_callbacks: Any) -> None:
    loan = stage.open_loan()
    reservation = stage.funded_reservation(loan, 4000)
    long_ago = Loan(pk=loan.pk, amount=Decimal(1), settled=Decimal(0), version=0)
    with django_capture_on_commit_callbacks(execute=True):
        settle_loans([loan.pk], now=LATER)
        assert remaining_cache.read([long_ago], LATER)[loan.pk].amount == 1
    assert remaining_cache.read([long_ago], LATER)[loan.pk].amount == 6000
    with django_capture_on_commit_callbacks(execute=True):
        stage.tell(reservation, "transfer.failed", at=LATER)
    assert remaining_cache.read([long_ago], LATER)[loan.pk].amount == 10000


# --- Rebuilding -------------------------------------------------------------------------------------------------------
def review_items() -> list[str]:
    return list(ReviewItem.objects.filter(kind="drift", resolved_at=None).order_by("id").values_list("detail", flat=True))


@pytest.mark.django_db
def test_an_emptied_redis_is_filled_and_is_no_drift() -> None:
    loans = [stage.open_loan() for _ in range(3)]
    cache.delete_pattern("*")
    assert refresh_remaining_cache(LATER, batch=2) == Refreshed(loans=3, drifted=0, complete=True)
    assert {held(loan.pk).split()[1] for loan in loans} == {"10000.00"}
    assert review_items() == []


WRONG = {
    "of the row's version": ("{version} 1234.00 2026-03-02T15:00:00.000000+00:00", "shows 1234.00 dollars"),
    "of an older version": ("0 1234.00 2026-03-02T15:00:00.000000+00:00", "shows 1234.00 dollars"),
    "of a version that never was": ("999 1234.00 2026-03-02T15:00:00.000000+00:00", "shows 1234.00 dollars"),
    "of a version that never was, with the right amount": ("999 10000.00 2026-03-02T15:00:00.000000+00:00", "shows 10000.00 dollars"),
    "unreadable": ("999 rubbish", "holds something unreadable"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_listed_and_then_repaired(name: str) -> None:
    value, said = WRONG[name]
    loan = stage.open_loan()
    put(loan.pk, value.format(version=loan.version))
    for _ in range(2):
        refresh_remaining_cache(LATER)
    assert review_items() == [f"Redis {said} for {loan.reference}, of which 10000.00 dollars remain."]
    loan.refresh_from_db()
    assert held(loan.pk).startswith(f"{loan.version} 10000.00 ")


@pytest.mark.django_db
def test_an_older_version_with_the_same_amount_is_no_drift() -> None:
    loan = stage.open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(loan.remaining, MONDAY, loan.version)})
    stage.reserve(loan, 1000)
    assert refresh_remaining_cache(LATER).drifted == 0


@pytest.mark.django_db
@pytest.mark.parametrize("before", ["", "0 1234.00 2026-03-02T15:00:00.000000+00:00", "rubbish"])
def test_a_settlement_between_reading_and_writing_stays(before: str) -> None:
    loan = stage.open_loan()
    put(loan.pk, before)
    comparison = remaining_cache.compare([loan.pk])
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal(6000), LATER, comparison.rows[loan.pk].version + 1)})
    remaining_cache.repair(comparison)
    assert held(loan.pk).split()[1] == "6000.00"


@pytest.mark.django_db
def test_a_settlement_on_its_way_to_redis_is_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """It commits after the first look at Redis, and its value comes before the second."""
    loan = stage.open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(loan.remaining, MONDAY, 1)})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_loan SET settled = 4000, version = 9")
    look, looks = remaining_cache._read, iter(range(2))

    def with_the_value_arriving(loan_ids: Any) -> Any:
        if next(looks) == 1:
            remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal(6000), LATER, 9)})
        return look(loan_ids)

    monkeypatch.setattr(remaining_cache, "_read", with_the_value_arriving)
    assert remaining_cache.compare([loan.pk]).drift == []


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_away")
def test_the_rebuild_without_redis_says_so(caplog: pytest.LogCaptureFixture) -> None:
    stage.open_loan()
    assert refresh_remaining_cache(LATER) == Refreshed(loans=0, drifted=0, complete=False)
    assert "Redis is away" in caplog.text


@pytest.mark.django_db
def test_a_value_says_of_which_instant_it_is() -> None:
    loan = stage.open_loan()
    before = datetime.now(UTC) - timedelta(seconds=5)
    refresh_remaining_cache()
    assert before < remaining_cache.read([loan], MONDAY)[loan.pk].as_of < before + timedelta(seconds=60)
