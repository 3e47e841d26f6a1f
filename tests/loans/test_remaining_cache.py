"""Values are written to a real Redis, or to none, and read back for the rows of loans."""

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
from loans.services.cache_refresh import Refreshed, refresh_remaining_cache
from loans.services.settlement import settle_loans
from tests import factories
from tests.factories import NOON, LoanFactory

LATER = NOON + timedelta(hours=1)


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


def cached(loan_id: int) -> str:
    return (get_redis_connection("default").get(key(loan_id)) or b"").decode()


def open_loan() -> Loan:
    return LoanFactory(amount=Decimal(10_000))


def unsaved_loan(settled: int = 0) -> Loan:
    return Loan(pk=7, reference="L", amount=Decimal(10000), settled=Decimal(settled), version=5)


# --- Writing ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1, 3, 2)])
def test_the_newest_version_stays_when_older_ones_come_late_or_twice(order: tuple[int, ...]) -> None:
    for version in order:
        remaining_cache.publish({7: remaining_cache.Remaining(Decimal(1000 * version), NOON, version)})
    shown = remaining_cache.read([unsaved_loan()], LATER)[7]
    assert shown == remaining_cache.Remaining(Decimal("3000.00"), NOON, 3)


def test_versions_are_compared_as_numbers() -> None:
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(1), NOON, 10)})
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(2), NOON, 9)})
    assert cached(7).startswith("10 1.00 ")


AN_INSTANT = "2026-07-01T16:00:00.000000+00:00"
RUBBISH = [
    "",
    "rubbish",
    "99",
    "99 12.00",
    "99 12.00 never",
    f"99 -5.00 {AN_INSTANT}",
    "9" * 400 + f" 1.00 {AN_INSTANT}",
    f"99 1.00 {AN_INSTANT.replace('-01T', '-32T')}",
    f"0 1.00 {AN_INSTANT.replace('+00', '+01')}",
    "99 100 1782921600.000000",
    b"\xff\x00",
]


@pytest.mark.parametrize("rubbish", RUBBISH, ids=range(len(RUBBISH)))
def test_a_value_that_cannot_be_parsed_is_ignored_and_overwritten(rubbish: str | bytes) -> None:
    put(7, rubbish)
    assert remaining_cache.read([unsaved_loan()], LATER)[7].amount == 10000
    if rubbish != RUBBISH[7]:
        remaining_cache.publish({7: remaining_cache.Remaining(Decimal(5), NOON, 1)})
        assert remaining_cache.read([unsaved_loan()], LATER)[7].amount == 5


def test_a_redis_value_of_another_type_is_ignored_and_overwritten() -> None:
    get_redis_connection("default").rpush(key(7), "a", "list")
    assert remaining_cache.read([unsaved_loan()], LATER)[7].amount == 10000
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(5), NOON, 1)})
    assert remaining_cache.read([unsaved_loan()], LATER)[7].amount == 5


# --- Reading ----------------------------------------------------------------------------------------------------------
def test_a_hundred_loans_cost_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    loans = [Loan(pk=number, amount=Decimal(number), settled=Decimal(0), version=1) for number in range(1, 101)]
    remaining_cache.publish({50: remaining_cache.Remaining(Decimal("0.25"), NOON, 2)})
    commands: list[object] = []
    send = AbstractConnection.send_command

    def record(self: AbstractConnection, *command: object, **options: Any) -> None:
        commands.append(command[0])
        send(self, *command, **options)

    monkeypatch.setattr(AbstractConnection, "send_command", record)
    shown = remaining_cache.read(loans, LATER)
    assert commands == ["MGET"]
    assert (shown[50].amount, shown[50].as_of) == (Decimal("0.25"), NOON)
    assert (shown[51].amount, shown[51].as_of) == (Decimal(51), LATER)


def test_no_loans_need_no_redis() -> None:
    assert remaining_cache.read([], LATER) == {}


@pytest.mark.usefixtures("redis_away")
def test_without_redis_the_rows_are_shown_and_writing_only_warns(caplog: pytest.LogCaptureFixture) -> None:
    remaining_cache.publish({7: remaining_cache.Remaining(Decimal(1), NOON, 5)})
    assert remaining_cache.read([unsaved_loan(settled=4000)], LATER)[7] == remaining_cache.Remaining(Decimal(6000), LATER, 5)
    assert "not written to Redis" in caplog.text
    assert "come from the database" in caplog.text


@pytest.mark.django_db
def test_a_settlement_lowers_and_a_returned_payment_raises_what_is_shown(django_capture_on_commit_callbacks: Any) -> None:
    loan = open_loan()
    reservation = factories.funded(loan, 4000)
    long_ago = Loan(pk=loan.pk, amount=Decimal(1), settled=Decimal(0), version=0)
    with django_capture_on_commit_callbacks(execute=True):
        settle_loans([loan.pk], now=LATER)
        assert remaining_cache.read([long_ago], LATER)[loan.pk].amount == 1
    assert remaining_cache.read([long_ago], LATER)[loan.pk].amount == 6000
    with django_capture_on_commit_callbacks(execute=True):
        factories.money_fails(reservation, now=LATER)
    assert remaining_cache.read([long_ago], LATER)[loan.pk].amount == 10000


# --- Refreshing -------------------------------------------------------------------------------------------------------
def review_items() -> list[str]:
    return list(ReviewItem.objects.filter(kind="drift", resolved_at=None).order_by("id").values_list("detail", flat=True))


@pytest.mark.django_db
def test_an_empty_redis_is_filled_and_is_no_drift() -> None:
    loans = [open_loan() for _ in range(3)]
    cache.delete_pattern("*")
    assert refresh_remaining_cache(LATER, batch=2) == Refreshed(loans=3, drifted=0, complete=True)
    assert {cached(loan.pk).split()[1] for loan in loans} == {"10000.00"}
    assert review_items() == []


WRONG = {
    "of the row's version": ("{version} 1234.00 2026-07-01T16:00:00.000000+00:00", "shows $1,234.00"),
    "of an older version": ("0 1234.00 2026-07-01T16:00:00.000000+00:00", "shows $1,234.00"),
    "of a newer version": ("999 1234.00 2026-07-01T16:00:00.000000+00:00", "shows $1,234.00"),
    "of a newer version, with the right amount": ("999 10000.00 2026-07-01T16:00:00.000000+00:00", "shows $10,000.00"),
    "unreadable": ("999 rubbish", "holds something unreadable"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_listed_and_then_repaired(name: str) -> None:
    value, sentence = WRONG[name]
    loan = open_loan()
    put(loan.pk, value.format(version=loan.version))
    for _ in range(2):
        refresh_remaining_cache(LATER)
    assert review_items() == [f"Redis {sentence} for {loan.reference}, of which $10,000.00 remains."]
    loan.refresh_from_db()
    assert cached(loan.pk).startswith(f"{loan.version} 10000.00 ")


@pytest.mark.django_db
def test_an_older_version_with_the_same_amount_is_no_drift() -> None:
    loan = open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(loan.remaining, NOON, loan.version)})
    factories.reserved(loan, 1000)
    assert refresh_remaining_cache(LATER).drifted == 0


@pytest.mark.django_db
@pytest.mark.parametrize("before", ["", "0 1234.00 2026-07-01T16:00:00.000000+00:00", "rubbish"])
def test_a_settlement_published_during_the_refresh_stays(before: str) -> None:
    loan = open_loan()
    put(loan.pk, before)
    comparison = remaining_cache.compare([loan.pk])
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal(6000), LATER, comparison.rows[loan.pk].version + 1)})
    remaining_cache.repair(comparison)
    assert cached(loan.pk).split()[1] == "6000.00"


@pytest.mark.django_db
def test_a_settlement_published_between_the_two_reads_is_no_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    """It commits after the first read of Redis, and its value comes before the second."""
    loan = open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(loan.remaining, NOON, 1)})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE loans_loan SET settled = 4000, version = 9")
    read, reads = remaining_cache._read, iter(range(2))

    def with_the_value_arriving(loan_ids: Any) -> Any:
        if next(reads) == 1:
            remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal(6000), LATER, 9)})
        return read(loan_ids)

    monkeypatch.setattr(remaining_cache, "_read", with_the_value_arriving)
    assert remaining_cache.compare([loan.pk]).drift == []


@pytest.mark.django_db
@pytest.mark.usefixtures("redis_away")
def test_the_refresh_without_redis_reports_it(caplog: pytest.LogCaptureFixture) -> None:
    open_loan()
    assert refresh_remaining_cache(LATER) == Refreshed(loans=0, drifted=0, complete=False)
    assert "Redis cannot be reached" in caplog.text


@pytest.mark.django_db
def test_a_refreshed_value_has_the_instant_at_which_the_rows_were_read() -> None:
    loan = open_loan()
    before = datetime.now(UTC) - timedelta(seconds=5)
    refresh_remaining_cache()
    assert before < remaining_cache.read([loan], NOON)[loan.pk].as_of < before + timedelta(seconds=60)
