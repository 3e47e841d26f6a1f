"""Imports of statements in the background: whatever happens to a worker, each line is booked once and the import ends."""

from datetime import timedelta

import pytest
from django.db import transaction

from loans.domain.errors import IllegalTransition, NotFound
from loans.models import BankEvent, Reservation, StatementFile, StatementImport
from loans.services import statement_imports
from loans.services.statement_imports import (
    cancel_import,
    fail_exhausted_imports,
    request_booking,
    request_import,
    run_import,
    stalled_imports,
)
from tests.factories import NOON, LoanFactory, fresh, inbound, pending
from tests.loans.statement_formats.files import Payment, csv
from tests.races.conftest import together

pytestmark = pytest.mark.django_db
REASON = "The bank's file of July"


def send(import_id: int) -> None:
    """Nothing: the tests call the worker's function themselves."""


@pytest.fixture
def text() -> str:
    return csv(Payment("5000.00", inbound(pending(LoanFactory(), 5_000)).reference, "1"), Payment("-3.00", "Fee", "2"))


def requested(text: str) -> StatementImport:
    return request_import(file_name="july.csv", content=text.encode(), requested_by="olga", send=send, now=NOON)


def checked(text: str) -> StatementImport:
    statement_import = requested(text)
    run_import(statement_import.pk, NOON)
    return fresh(statement_import)  # type: ignore[no-any-return]


def to_be_booked(text: str) -> StatementImport:
    statement_import = checked(text)
    request_booking(import_id=statement_import.pk, booked_by="otto", reason=REASON, accept_doubtful=False, send=send, now=NOON)
    return fresh(statement_import)  # type: ignore[no-any-return]


def test_a_statement_is_checked_then_booked_and_its_file_deleted(text: str) -> None:
    statement_import = checked(text)
    assert (statement_import.state, statement_import.format, statement_import.finished_at) == ("checked", "csv", None)
    assert [(group["result"], group["count"]) for group in statement_import.preview] == [("unmatched", 1), ("matched", 1)]
    assert not BankEvent.objects.exists(), "nothing is booked before staff say so"
    request_booking(import_id=statement_import.pk, booked_by="otto", reason=REASON, accept_doubtful=False, send=send, now=NOON)
    assert run_import(statement_import.pk, NOON) == f"Statement {statement_import.pk} is booked."
    booked = fresh(statement_import)
    assert [(group["result"], group["count"]) for group in booked.outcomes] == [("funded", 1), ("unknown_reference", 1)]
    assert (booked.state, booked.booked_by, booked.reason, booked.finished_at) == ("booked", "otto", REASON, NOON)
    assert not StatementFile.objects.exists()
    assert run_import(statement_import.pk, NOON) == f"Statement {statement_import.pk} waits for no worker."


def test_a_statement_with_a_bad_line_is_refused_and_its_file_deleted() -> None:
    statement_import = checked("date,amount\n2026-07-01,x\n")
    assert statement_import.state == "refused"
    assert statement_import.bad_lines == [{"file": "july.csv", "line": 2, "reason": "'x' is not an amount such as -1234.56."}]
    assert not StatementFile.objects.exists()


def test_it_is_sent_once_the_request_is_stored(text: str, django_capture_on_commit_callbacks: object) -> None:
    sent: list[int] = []
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():  # type: ignore[operator]
        statement_import = request_import(file_name="x", content=text.encode(), requested_by="olga", send=sent.append, now=NOON)
        assert sent == []
    assert sent == [statement_import.pk]


def test_only_a_checked_statement_is_booked_and_a_booked_one_not_canceled(text: str) -> None:
    statement_import = requested(text)
    arguments = {"import_id": statement_import.pk, "booked_by": "otto", "reason": REASON, "accept_doubtful": False, "send": send}
    with pytest.raises(IllegalTransition):
        request_booking(**arguments)  # type: ignore[arg-type]
    run_import(statement_import.pk, NOON)
    request_booking(**arguments)  # type: ignore[arg-type]
    for refused in (
        lambda: request_booking(**arguments),
        lambda: cancel_import(import_id=statement_import.pk, canceled_by="olga", reason=REASON),
    ):  # type: ignore[arg-type]
        with pytest.raises(IllegalTransition, match="This import is booking already"):
            refused()
    with pytest.raises(NotFound):
        cancel_import(import_id=0, canceled_by="olga", reason=REASON)


def test_a_canceled_statement_books_nothing(text: str) -> None:
    statement_import = checked(text)
    cancel_import(import_id=statement_import.pk, canceled_by="olga", reason=REASON)
    assert run_import(statement_import.pk, NOON) == f"Statement {statement_import.pk} waits for no worker."
    assert (fresh(statement_import).state, StatementFile.objects.count()) == ("canceled", 0)


def test_an_import_that_was_canceled_while_it_was_checked_stays_canceled(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    statement_import = requested(text)
    read = statement_imports.preview_statement

    def cancel_meanwhile(statement: object) -> object:
        cancel_import(import_id=statement_import.pk, canceled_by="olga", reason=REASON)
        return read(statement)  # type: ignore[arg-type]

    monkeypatch.setattr(statement_imports, "preview_statement", cancel_meanwhile)
    assert run_import(statement_import.pk, NOON) == f"Statement {statement_import.pk} has ended."
    assert fresh(statement_import).state == "canceled"


def test_another_worker_goes_on_where_one_was_killed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    statement_import = to_be_booked(text)
    with monkeypatch.context() as killed:
        killed.setattr(statement_imports, "PROGRESS_SECONDS", 0)
        progress, calls = statement_imports._Progress.__call__, []

        def die_at_the_second_line(self: object, text: str) -> None:
            calls.append(text)
            if len(calls) == 2:
                raise SystemExit
            progress(self, text)  # type: ignore[arg-type]

        killed.setattr(statement_imports._Progress, "__call__", die_at_the_second_line)
        with pytest.raises(SystemExit):
            run_import(statement_import.pk, NOON)
    assert (BankEvent.objects.count(), fresh(statement_import).state) == (1, "booking")
    run_import(statement_import.pk, NOON)
    assert (BankEvent.objects.count(), fresh(statement_import).state) == (2, "booked")
    assert [(group["result"], group["count"]) for group in fresh(statement_import).outcomes] == [
        ("already_known", 1),
        ("unknown_reference", 1),
    ]


def test_an_import_that_no_worker_took_or_finished_is_sent_again_and_ends_after_three_attempts(text: str) -> None:
    statement_import = requested(text)
    assert stalled_imports(NOON) == []
    assert stalled_imports(NOON + timedelta(minutes=1)) == [statement_import.pk], "the message was lost"
    StatementImport.objects.update(attempts=1)
    assert stalled_imports(NOON + timedelta(minutes=5)) == [], "a worker may still be at it"
    assert stalled_imports(NOON + timedelta(minutes=6)) == [statement_import.pk]
    StatementImport.objects.update(attempts=3)
    assert stalled_imports(NOON + timedelta(minutes=6)) == []
    fail_exhausted_imports(NOON + timedelta(minutes=5))
    assert fresh(statement_import).state == "checking", "a worker may still be at it"
    fail_exhausted_imports(NOON + timedelta(minutes=6))
    assert (fresh(statement_import).state, StatementFile.objects.count()) == ("failed", 0)
    assert "It was started 3 times" in fresh(statement_import).detail


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_book_each_line_once() -> None:
    """No lock is needed for it: the id of a line is the primary key of its bank event."""
    references = [inbound(pending(LoanFactory(), 5_000)).reference for _ in range(10)]
    statement_import = to_be_booked(csv(*(Payment("5000.00", reference, str(number)) for number, reference in enumerate(references))))
    assert "booked" in " ".join(str(result) for result in together(*[lambda: run_import(statement_import.pk, NOON)] * 3))
    assert BankEvent.objects.count() == 10
    assert set(Reservation.objects.values_list("received", "refunded")) == {(5_000, 0)}
