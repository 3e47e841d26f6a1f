"""What becomes of an import that staff asked for? It waits, is taken up by any worker, and is loaded beside the data in use, or refused.

A worker holds a lease with a token, renewed with its progress; one that was killed lets it run out, and another takes over.
Whatever a worker writes, it writes only while the token is its own.
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
UNDONE = (State.WAITING, State.RUNNING)

UPLOAD_BYTES = 16 * 2**20
LIMITS = Limits(size_bytes=64 * 2**20, stall_seconds=20, total_seconds=60, allowed=safe_http.is_public)
LEASE = timedelta(minutes=5)  # not shorter than a task may run
PROGRESS_SECONDS = 1.0
MOST_ATTEMPTS = 3
AT_ONCE = 5


class Lost(Exception):
    """The request was dropped, or another worker has it."""


def ask(*, vintage: str, sources: Mapping[str, str | tuple[str, bytes]], actor: str, send: Callable[[int], object]) -> ImportRequest:
    """Note the request for `zips` and `metros`, each an address or a file's name and bytes; `send` gets its id once it is kept."""
    names = {kind: source if isinstance(source, str) else source[0] for kind, source in sources.items()}
    with transaction.atomic():
        request = ImportRequest.objects.create(vintage=vintage, actor=actor, **names)
        for kind, source in sources.items():
            if not isinstance(source, str):
                Upload.objects.create(request=request, kind=kind, content=source[1])
        transaction.on_commit(lambda: send(request.pk))
    return request


def due() -> list[int]:
    """The requests that nobody works on, oldest first; those tried often enough are marked failed."""
    free = ImportRequest.objects.filter(Q(leased_until=None) | Q(leased_until__lte=timezone.now()), state__in=UNDONE)
    for request in free.filter(attempts__gte=MOST_ATTEMPTS).order_by("pk")[:AT_ONCE]:
        _end(request.pk, request.lease, State.FAILED, f"It was begun {MOST_ATTEMPTS} times and never came to an end. Ask for it again.")
    return list(free.filter(attempts__lt=MOST_ATTEMPTS).order_by("pk").values_list("pk", flat=True)[:AT_ONCE])


def carry_out(request_id: int) -> str:
    """Check and load what the request names, unless it is in another worker's hands; in words what came of it."""
    request = _take(request_id)
    if request is None:
        return f"Request {request_id} is not free."
    try:
        with tempfile.TemporaryDirectory(prefix="cbsa-") as name:
            sources = _sources(request, Path(name))
            service.run(
                zips=sources["zips"],
                metros=sources["metros"],
                vintage=request.vintage,
                actor=request.actor,
                use=False,
                loaded=lambda record: _loaded(request, record),
                progress=_Renewal(request),
                limits=LIMITS,
            )
    except Lost:
        return f"Request {request_id} was dropped or taken over."
    except Problem as refusal:
        _end(request_id, request.lease, State.REFUSED, refusal.detail, rejects=refusal.data.get("rejects", []))
        return f"Request {request_id} was refused: {refusal.detail}"
    return f"Request {request_id} is loaded."


def drop(*, request_id: int, actor: str, reason: str) -> None:
    """End a request that is wanted no more, and delete what it loaded. Raises ImportRefused where that is in use."""
    with transaction.atomic():
        request = ImportRequest.objects.select_for_update().get(pk=request_id)
        if request.state not in (*UNDONE, State.LOADED):
            raise ImportRefused(f"This request is {request.state} already.")
        if request.dataset and request.dataset.active:
            raise ImportRefused(f"{request.vintage} is in use. Bring another dataset into use first.")
        dataset_id = request.dataset_id if request.report.get("outcome") == ImportRun.Outcome.LOADED else None
        request.state, request.lease, request.finished_at = State.DROPPED, None, timezone.now()
        request.detail = f"Dropped by {actor}: {reason}"
        request.save()
        request.uploads.all().delete()
    if dataset_id:
        service.discard(dataset_id)


def _take(request_id: int) -> ImportRequest | None:
    with transaction.atomic():
        request = ImportRequest.objects.select_for_update().filter(pk=request_id, state__in=UNDONE, attempts__lt=MOST_ATTEMPTS).first()
        now = timezone.now()
        if request is None or (request.leased_until and request.leased_until > now):
            return None
        request.state, request.lease, request.leased_until = State.RUNNING, uuid.uuid4(), now + LEASE
        request.attempts += 1
        request.save()
    return request


def _sources(request: ImportRequest, folder: Path) -> dict[str, str | Path]:
    sources: dict[str, str | Path] = {"zips": request.zips, "metros": request.metros}
    for upload in request.uploads.order_by("kind"):
        path = folder / upload.kind / getattr(request, upload.kind)
        path.parent.mkdir()
        path.write_bytes(upload.content)
        sources[upload.kind] = path
    return sources


class _Renewal:
    """Shows how far it is, renews the lease, and stops the work once it is lost."""

    def __init__(self, request: ImportRequest) -> None:
        self.request, self.shown_at = request, 0.0

    def __call__(self, text: str) -> None:
        if time.monotonic() - self.shown_at < PROGRESS_SECONDS:
            return
        self.shown_at = time.monotonic()
        mine = ImportRequest.objects.filter(pk=self.request.pk, lease=self.request.lease, state=State.RUNNING)
        if not mine.update(progress=text[:600], leased_until=timezone.now() + LEASE):
            raise Lost


def _loaded(request: ImportRequest, record: ImportRun) -> None:
    report = {name: getattr(record, name) for name in ("outcome", "counts", "absent", "rejects", "files")}
    if not _end(request.pk, request.lease, State.LOADED, dataset_id=record.dataset_id, **report):
        raise Lost


def _end(
    request_id: int, lease: uuid.UUID | None, state: str, detail: str = "", *, dataset_id: int | None = None, **report: object
) -> bool:
    """Close the request where it is still in this lease; what was uploaded goes. Tells whether it was."""
    with transaction.atomic():
        request = ImportRequest.objects.select_for_update().filter(pk=request_id, lease=lease, state__in=UNDONE).first()
        if request is None:
            return False
        request.state, request.detail, request.report, request.dataset_id = state, detail, report, dataset_id
        request.finished_at, request.progress = timezone.now(), ""
        if not request.uploads.exists():
            request.zips, request.metros = without_secrets(request.zips), without_secrets(request.metros)
        request.save()
        request.uploads.all().delete()
    return True
