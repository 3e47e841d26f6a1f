"""Run the imports that staff request, in the background: check and load the files beside the data in use, or refuse them.

A worker holds a lease on its request, named by a token, and renews it with its progress. Where a worker is killed its lease
runs out, and another worker takes the request. A worker writes only while the token is its own.
"""

import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from cbsa.errors import ImportRefused
from cbsa.imports import service
from cbsa.imports.sources import Limits, without_secrets
from cbsa.models import ImportRequest, ImportRun, Upload
from peerloans import safe_http
from peerloans.errors import Problem

State = ImportRequest.State
KINDS = ("zips", "metros", "more_metros")  # the files of a request; the last is optional
UNFINISHED = (State.WAITING, State.RUNNING)

UPLOAD_BYTES = 16 * 2**20
LIMITS = Limits(size_bytes=64 * 2**20, stall_seconds=20, total_seconds=60, allowed=safe_http.is_public)
LEASE = timedelta(minutes=5)  # not shorter than a task may run
PROGRESS_SECONDS = 1.0
MOST_ATTEMPTS = 3
DISPATCHED_AT_ONCE = 5


class LeaseLost(Exception):
    """The request was canceled, or another worker has it."""


def create_request(
    *, vintage: str, sources: Mapping[str, str | tuple[str, bytes]], actor: str, send: Callable[[int], object]
) -> ImportRequest:
    """Record a request and return it.

    `sources` has `zips`, `metros` and perhaps `more_metros`, each an address or a file's name and bytes. `send` is called with
    the request's id once the transaction has committed.
    """
    names = {kind: source if isinstance(source, str) else source[0] for kind, source in sources.items()}
    with transaction.atomic():
        request = ImportRequest.objects.create(vintage=vintage, actor=actor, **names)
        for kind, source in sources.items():
            if not isinstance(source, str):
                Upload.objects.create(request=request, kind=kind, content=source[1])
        transaction.on_commit(lambda: send(request.pk))
    return request


def unleased_requests() -> list[int]:
    """Return the ids of unfinished requests that no worker holds, oldest first. Mark those tried MOST_ATTEMPTS times as failed."""
    unleased = ImportRequest.objects.filter(Q(leased_until=None) | Q(leased_until__lte=timezone.now()), state__in=UNFINISHED)
    for request in unleased.filter(attempts__gte=MOST_ATTEMPTS).order_by("pk")[:DISPATCHED_AT_ONCE]:
        detail = f"It was started {MOST_ATTEMPTS} times and never finished. Request it again."
        _finish(request.pk, request.lease, State.FAILED, detail)
    return list(unleased.filter(attempts__lt=MOST_ATTEMPTS).order_by("pk").values_list("pk", flat=True)[:DISPATCHED_AT_ONCE])


def run_request(request_id: int) -> str:
    """Check and load the files of a request, unless another worker has it. Returns a sentence about the result."""
    request = _lease(request_id)
    if request is None:
        return f"Request {request_id} is not free."
    try:
        with tempfile.TemporaryDirectory(prefix="cbsa-") as name:
            sources = _sources(request, Path(name))
            service.run(
                zips=sources["zips"],
                metros=[sources[kind] for kind in ("metros", "more_metros") if kind in sources],
                vintage=request.vintage,
                actor=request.actor,
                use=False,
                loaded=lambda record: _finish_loaded(request, record),
                progress=_LeaseRenewal(request),
                limits=LIMITS,
            )
    except LeaseLost:
        return f"Request {request_id} was canceled, or another worker has it."
    except Problem as refusal:
        _finish(request_id, request.lease, State.REFUSED, refusal.detail, rejects=refusal.data.get("rejects", []))
        return f"Request {request_id} was refused: {refusal.detail}"
    return f"Request {request_id} is loaded."


def cancel_request(*, request_id: int, actor: str, reason: str) -> None:
    """End a request and delete the dataset that it loaded.

    Raises:
        ImportRefused: the request has ended otherwise, or its dataset is in use.
    """
    with transaction.atomic():
        request = ImportRequest.objects.select_for_update().get(pk=request_id)
        if request.state not in (*UNFINISHED, State.LOADED):
            raise ImportRefused(f"This request is {request.state} already.")
        if request.dataset and request.dataset.active:
            raise ImportRefused(f"{request.vintage} is in use. Bring another dataset into use first.")
        dataset_id = request.dataset_id if request.report.get("outcome") == ImportRun.Outcome.LOADED else None
        request.state, request.lease, request.finished_at = State.CANCELED, None, timezone.now()
        request.detail = f"Canceled by {actor}: {reason}"
        request.save()
        request.uploads.all().delete()
    if dataset_id:
        service.discard(dataset_id)


def _lease(request_id: int) -> ImportRequest | None:
    """Take the request for this worker. Returns None where it has ended or another worker holds it."""
    with transaction.atomic():
        request = ImportRequest.objects.select_for_update().filter(pk=request_id, state__in=UNFINISHED, attempts__lt=MOST_ATTEMPTS).first()
        now = timezone.now()
        if request is None or (request.leased_until and request.leased_until > now):
            return None
        request.state, request.lease, request.leased_until = State.RUNNING, uuid.uuid4(), now + LEASE
        request.attempts += 1
        request.save()
    return request


def _sources(request: ImportRequest, folder: Path) -> dict[str, str | Path]:
    """Return the address of each file, or the path in `folder` to which its upload was written."""
    sources: dict[str, str | Path] = {kind: address for kind in KINDS if (address := getattr(request, kind))}
    for upload in request.uploads.order_by("kind"):
        path = folder / upload.kind / getattr(request, upload.kind)
        path.parent.mkdir()
        path.write_bytes(upload.content)
        sources[upload.kind] = path
    return sources


class _LeaseRenewal:
    """Store the progress and renew the lease, at most once a second. Raises LeaseLost once the lease is gone."""

    def __init__(self, request: ImportRequest) -> None:
        self.request, self.renewed_at = request, 0.0

    def __call__(self, progress: str) -> None:
        if time.monotonic() - self.renewed_at < PROGRESS_SECONDS:
            return
        self.renewed_at = time.monotonic()
        leased = ImportRequest.objects.filter(pk=self.request.pk, lease=self.request.lease, state=State.RUNNING)
        if not leased.update(progress=progress[:600], leased_until=timezone.now() + LEASE):
            raise LeaseLost


def _finish_loaded(request: ImportRequest, record: ImportRun) -> None:
    report = {name: getattr(record, name) for name in ("outcome", "counts", "absent", "rejects", "left_out", "warnings", "files")}
    if not _finish(request.pk, request.lease, State.LOADED, dataset_id=record.dataset_id, **report):
        raise LeaseLost


def _finish(
    request_id: int, lease: uuid.UUID | None, state: str, detail: str = "", *, dataset_id: int | None = None, **report: object
) -> bool:
    """End the request and delete its uploads, if it still has this lease. Returns whether it had."""
    with transaction.atomic():
        request = ImportRequest.objects.select_for_update().filter(pk=request_id, lease=lease, state__in=UNFINISHED).first()
        if request is None:
            return False
        request.state, request.detail, request.report, request.dataset_id = state, detail, report, dataset_id
        request.finished_at, request.progress = timezone.now(), ""
        for kind in KINDS:
            setattr(request, kind, without_secrets(getattr(request, kind)))
        request.save()
        request.uploads.all().delete()
    return True
