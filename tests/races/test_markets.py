"""A loan gets its market while other ZIP data come into use: with the dataset kept in use until the loan is stored, and without.

Afterwards the loan has the market of the dataset that is then in use. The twin must leave it with that of the dataset before.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from django.db import connections, transaction

from cbsa.imports import service
from cbsa.signals import dataset_activated
from loans import tasks
from loans.apps import resolve_markets
from loans.domain.errors import Busy
from loans.models import Loan
from loans.services import loans, markets
from loans.services.loans import edit_loan
from loans.services.markets import resolve_loan_markets
from tests.cbsa.publishers import METROS, ZIPS
from tests.factories import STAFF, DraftFactory
from tests.races.conftest import LONGEST_WAIT_SECONDS, WAIT_UNDER_LOCK_SECONDS, Call, outcome, together

WAITS_FOR_A_LOAN_SECONDS = 2.5  # less than the lock timeout of 3 s
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _two_vintages(tmp_path: Path) -> None:
    """2015 is in use; in 2016, ZIP 10002 is in another market. Both give 00501 a market, which is the same."""
    (tmp_path / "metros").write_text(METROS, encoding="latin-1")
    for vintage, zips in {"2016": ZIPS.replace("10002,20004", "10002,10200"), "2015": ZIPS}.items():
        (tmp_path / "zips").write_text(zips, encoding="latin-1")
        service.run(zips=tmp_path / "zips", metros=tmp_path / "metros", vintage=vintage, actor="tester")


def activate(vintage: str) -> Any:
    return service.activate(vintage=vintage, actor="tester")


@contextmanager
def without_receiver() -> Iterator[None]:
    """Let nothing follow an activation, as if its process was killed right after its commit."""
    assert dataset_activated.disconnect(resolve_markets)
    yield
    dataset_activated.connect(resolve_markets)


def create() -> Call:
    return lambda: DraftFactory(zip="10002")


def re_zip() -> Call:
    loan = DraftFactory(zip="00501")
    return lambda: edit_loan(reference=loan.reference, facts={"zip": "10002"}, actor=STAFF)


def follow_the_activation_before() -> Call:
    """The loan still has the market of 2016, since nothing has followed the activation of 2015."""
    loan = DraftFactory(zip="10002")
    Loan.objects.filter(pk=loan.pk).update(market_cbsa="10200", market_msa="Elsewhere-Town, TX")
    return resolve_loan_markets


@pytest.fixture
def meet(lock: bool, monkeypatch: pytest.MonkeyPatch) -> Callable[[Call, Call], list[Any]]:
    """Run the second call when the first has read the market and not yet stored it."""

    def run(first: Call, second: Call) -> list[Any]:
        read, finished = Event(), Event()

        def reading(lookup: Callable[..., Any]) -> Callable[..., Any]:
            def read_and_wait(*args: Any) -> Any:
                answer = lookup(*args)
                if not read.is_set() and transaction.get_connection().in_atomic_block:
                    read.set()
                    finished.wait(WAIT_UNDER_LOCK_SECONDS if lock else LONGEST_WAIT_SECONDS)
                return answer

            return read_and_wait

        def when_read() -> Any:
            assert read.wait(LONGEST_WAIT_SECONDS), "the first one never read a market"
            try:
                return second()
            finally:
                connections.close_all()
                finished.set()

        for module, name in ((loans, "market_of"), (markets, "markets_of")):
            monkeypatch.setattr(module, name, reading(getattr(module, name)))
            if not lock:
                monkeypatch.setattr(module, "keep_dataset_in_use", lambda: None)
        return together(first, when_read)

    return run


@pytest.mark.parametrize("lock", [True, False], indirect=True, ids=["with the lock", "without"])
@pytest.mark.parametrize("first", [create, re_zip, follow_the_activation_before])
def test_a_loan_has_the_market_of_the_dataset_in_use_afterwards(first: Callable[[], Call], lock: bool, meet) -> None:
    results = meet(first(), lambda: activate("2016"))
    assert not [result for result in results if isinstance(result, Exception)]
    assert Loan.objects.get().market_cbsa == ("10200" if lock else "20000")
    tasks.resolve_markets()
    assert Loan.objects.get().market_cbsa == "10200", "the job finds it in any case"


def test_a_busy_loan_holds_up_no_activation_and_no_other_loan() -> None:
    first, busy, last = (DraftFactory(zip="10002") for _ in range(3))
    with transaction.atomic():
        Loan.objects.select_for_update().get(pk=busy.pk)
        started = time.monotonic()
        (record,) = together(lambda: activate("2016"))
        assert record.outcome == "activated"
        assert time.monotonic() - started < WAITS_FOR_A_LOAN_SECONDS
        assert dict(Loan.objects.values_list("pk", "market_cbsa")) == {first.pk: "10200", busy.pk: "20000", last.pk: "10200"}
    assert tasks.resolve_markets() == "1 markets were changed."
    assert set(Loan.objects.values_list("market_cbsa", flat=True)) == {"10200"}


def test_only_one_batch_is_locked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the second of two loans is resolved, staff can edit the first."""
    drafts = [DraftFactory(zip="10002") for _ in range(2)]
    with without_receiver():
        activate("2016")
    edited: list[Any] = []

    def edit_while(zip_codes: list[str], *args: Any) -> Any:
        if transaction.get_connection().in_atomic_block and Loan.objects.filter(market_cbsa="10200").exists():
            edited.extend(together(lambda: edit_loan(reference=drafts[0].reference, facts={"title": "Five flats"}, actor=STAFF)))
        return lookup(zip_codes, *args)

    lookup = markets.markets_of
    monkeypatch.setattr(markets, "markets_of", edit_while)
    assert resolve_loan_markets(batch=1) == 2
    assert [loan.title for loan in edited] == ["Five flats"]


def test_the_job_heals_an_activation_that_was_killed_after_its_commit() -> None:
    loan = DraftFactory(zip="10002")
    with without_receiver():
        activate("2016")
    assert Loan.objects.get().market_cbsa == "20000"
    assert outcome(tasks.resolve_markets) == "1 markets were changed."
    assert Loan.objects.get(pk=loan.pk).market_msa == "Elsewhere-Town, TX"
    assert tasks.resolve_markets() == "0 markets were changed."


def test_a_loan_that_waits_for_an_activation_answers_busy_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction.atomic():
        service._wait_for(service.lookup.SWITCH_LOCK, 1, "")
        (answer,) = together(lambda: DraftFactory(zip="10002"))
    assert isinstance(answer, Busy)
