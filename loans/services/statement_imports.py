"""Run the imports of bank statements that staff request: a worker checks the file, staff read the preview, a worker books the lines.

A worker may be killed at any point, and two may run the same import: a line is booked only once. So an import whose worker is silent
is simply run again.
"""

import hashlib
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet

from loans.domain.errors import IllegalTransition, NotFound, StatementRefused
from loans.models import StatementFile, StatementImport
from loans.services.statements import book_statement, check_statement, grouped, preview_statement
from peerloans.database.clock import database_now

State = StatementImport.State
RUNNING = (State.CHECKING, State.BOOKING)
CANCELABLE = (State.CHECKING, State.CHECKED)

UNTAKEN_FOR = timedelta(minutes=1)  # No worker has taken the import.
SILENT_FOR = timedelta(minutes=6)  # Its worker has reported no progress; longer than a task may run.
PROGRESS_SECONDS = 1.0
MOST_ATTEMPTS = 3
DISPATCHED_AT_ONCE = 20
LINES_SHOWN = 200  # of each kind and outcome


class _Ended(Exception):
    """Staff canceled the import, or another worker finished it."""


def request_import(
    *, file_name: str, content: bytes, requested_by: str, send: Callable[[int], object], now: datetime | None = None
) -> StatementImport:
    """Store the file and return the import. After the commit, `send` is called with its id."""
    at = database_now(now)
    with transaction.atomic():
        statement_import = StatementImport.objects.create(
            file_name=file_name,
            sha256=hashlib.sha256(content).hexdigest(),
            state=State.CHECKING,
            requested_by=requested_by,
            requested_at=at,
            progress_at=at,
        )
        StatementFile.objects.create(statement_import=statement_import, content=content)
        transaction.on_commit(lambda: send(statement_import.pk))
    return statement_import


def request_booking(
    *,
    import_id: int,
    booked_by: str,
    reason: str,
    accept_doubtful: bool,
    send: Callable[[int], object],
    now: datetime | None = None,
) -> None:
    """Have a worker book the lines of a checked import.

    Raises:
        NotFound.
        IllegalTransition: it is not checked, or it is booked already.
    """
    with transaction.atomic():
        statement_import = _locked(import_id, State.CHECKED)
        statement_import.state, statement_import.attempts = State.BOOKING, 0
        statement_import.booked_by, statement_import.reason = booked_by, reason
        statement_import.accept_doubtful, statement_import.detail = accept_doubtful, ""
        statement_import.progress_at = database_now(now)
        statement_import.save()
        transaction.on_commit(lambda: send(import_id))


def cancel_import(*, import_id: int, canceled_by: str, reason: str, now: datetime | None = None) -> None:
    """End an import that has booked nothing.

    Raises:
        NotFound.
        IllegalTransition: it is being booked, or has ended.
    """
    with transaction.atomic():
        statement_import = _locked(import_id, *CANCELABLE)
        _finish(statement_import, State.CANCELED, f"Canceled by {canceled_by}: {reason}", now)


def run_import(import_id: int, now: datetime | None = None) -> str:
    """Check or book an import, as its state says. Return a sentence about the result."""
    started = StatementImport.objects.filter(pk=import_id, state__in=RUNNING, attempts__lt=MOST_ATTEMPTS)
    if not started.update(attempts=F("attempts") + 1, progress_at=database_now(now)):
        return f"Statement {import_id} waits for no worker."
    try:
        statement_import = StatementImport.objects.select_related("file").get(pk=import_id, state__in=RUNNING)
        _run(statement_import, now)
    except (_Ended, StatementImport.DoesNotExist):
        return f"Statement {import_id} has ended."
    return f"Statement {import_id} is {statement_import.state}."


def stalled_imports(now: datetime | None = None) -> list[int]:
    """Return the ids of the imports whose worker or message was lost and that may be started again, oldest first."""
    return list(_stalled(now).filter(attempts__lt=MOST_ATTEMPTS).values_list("pk", flat=True)[:DISPATCHED_AT_ONCE])


def fail_exhausted_imports(now: datetime | None = None) -> None:
    """End the imports that have been started MOST_ATTEMPTS times and whose worker was lost each time."""
    for import_id in _stalled(now).filter(attempts__gte=MOST_ATTEMPTS).values_list("pk", flat=True)[:DISPATCHED_AT_ONCE]:
        with transaction.atomic():
            statement_import = StatementImport.objects.select_for_update().filter(pk=import_id, state__in=RUNNING).first()
            if statement_import:
                detail = f"It was started {MOST_ATTEMPTS} times and never finished. Import the file again; what is booked stays booked."
                _finish(statement_import, State.FAILED, detail, now)


def _stalled(now: datetime | None) -> QuerySet[StatementImport]:
    at = database_now(now)
    is_lost = Q(attempts=0, progress_at__lte=at - UNTAKEN_FOR) | Q(progress_at__lte=at - SILENT_FOR)
    return StatementImport.objects.filter(is_lost, state__in=RUNNING).order_by("pk")


def record_finished_booking(
    *, file_name: str, content: bytes, booked_by: str, statement_format: str, outcomes: list[dict[str, object]], now: datetime | None = None
) -> None:
    """Record an import that `manage.py import_statement` has booked."""
    at = database_now(now)
    StatementImport.objects.create(
        file_name=file_name,
        sha256=hashlib.sha256(content).hexdigest(),
        format=statement_format,
        state=State.BOOKED,
        requested_by=booked_by,
        booked_by=booked_by,
        requested_at=at,
        progress_at=at,
        finished_at=at,
        outcomes=outcomes,
    )


def _run(statement_import: StatementImport, now: datetime | None) -> None:
    """Do the work, and store what came of it unless the import has ended in the meantime."""
    former = statement_import.state
    content = bytes(statement_import.file.content)
    try:
        statement = check_statement(content, statement_import.file_name, now)
        statement_import.format = statement.format
        if former == State.CHECKING:
            statement_import.preview = grouped(preview_statement(statement), most_lines=LINES_SHOWN)
            statement_import.state = State.CHECKED
        else:
            reported = book_statement(
                statement,
                file_name=statement_import.file_name,
                accept_doubtful=statement_import.accept_doubtful,
                progress=_Progress(statement_import.pk),
                now=now,
            )
            statement_import.outcomes = grouped(reported, most_lines=LINES_SHOWN)
            statement_import.state = State.BOOKED
    except StatementRefused as refusal:
        statement_import.state, statement_import.detail = State.REFUSED, refusal.detail
        statement_import.bad_lines = refusal.data.get("bad_lines", [])
    with transaction.atomic():
        if not StatementImport.objects.select_for_update().filter(pk=statement_import.pk, state=former).exists():
            raise _Ended
        statement_import.progress_at = database_now(now)
        if statement_import.state == State.CHECKED:
            statement_import.save()
        else:
            _finish(statement_import, statement_import.state, statement_import.detail, now)


class _Progress:
    """Store the progress at most once a second. Raises _Ended once the import has ended."""

    def __init__(self, import_id: int) -> None:
        self.import_id, self.stored_at = import_id, 0.0

    def __call__(self, progress: str) -> None:
        if time.monotonic() - self.stored_at < PROGRESS_SECONDS:
            return
        self.stored_at = time.monotonic()
        running = StatementImport.objects.filter(pk=self.import_id, state=State.BOOKING)
        if not running.update(progress=progress, progress_at=database_now(None)):
            raise _Ended


def _locked(import_id: int, *states: str) -> StatementImport:
    statement_import = StatementImport.objects.select_for_update().filter(pk=import_id).first()
    if statement_import is None:
        raise NotFound("There is no such import.")
    if statement_import.state not in states:
        raise IllegalTransition(f"This import is {statement_import.state} already.", state=statement_import.state, possible=[])
    return statement_import


def _finish(statement_import: StatementImport, state: str, detail: str, now: datetime | None) -> None:
    """Store the end of a locked import, and delete its file."""
    statement_import.state, statement_import.detail = state, detail
    statement_import.finished_at, statement_import.progress = database_now(now), ""
    statement_import.save()
    StatementFile.objects.filter(statement_import=statement_import).delete()
