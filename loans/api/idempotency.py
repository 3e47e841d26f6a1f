"""Answer a repeated POST with the first answer, for 24 hours (header Idempotency-Key).

A key is locked before anything else. Of two requests at once the second waits for the first; if that takes too long, it is
answered `request_in_progress`. Successes and the refusals of REMEMBERED_REFUSALS are stored, other errors are not.

Two decorators store them at different moments:

- `idempotent` stores the key, lets the view decide, and stores its answer, all in one transaction. A refusal is caught inside
  that transaction; the service's own `short_transaction` has already undone what the refusal must not leave behind.
- `idempotent_in_service` is for the one view that must cost one statement, a new reservation. Its service stores the key in the
  statement that writes the reservation, without a body: history has all that a repeat needs. A refusal, which writes no answer, is
  stored afterwards.
"""

import hashlib
import re
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import connection, transaction
from django.http import Http404, HttpResponse
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.serializers import ReservationSerializer
from loans.domain.errors import Busy, IdempotencyKeyReused, RequestInProgress
from loans.domain.first_answer import KEPT_FOR, AnsweredBefore, FirstAnswer, Key
from loans.ledger import locks
from loans.selectors.reservations import reservation_as_created
from peerloans.api import problem_details
from peerloans.api.renderers import JSONRenderer, as_json
from peerloans.database import replica
from peerloans.database.prepared import Prepared
from peerloans.errors import Problem

HEADER = "Idempotency-Key"
META_NAME = "HTTP_IDEMPOTENCY_KEY"  # request.headers would parse all other headers first
REMEMBERED_REFUSALS = {400, 403, 404, 409, 422}
MOST_REFUSAL_BYTES = 4_096  # of a refusal that is kept
UNDECIDED = 0  # the status of a key whose answer is not stored yet

# Returns no row where an answer is stored that still counts.
_STORE = Prepared(
    f"""
    WITH locked AS MATERIALIZED (SELECT pg_advisory_xact_lock({locks.KEY_LOCK}))
    INSERT INTO loans_idempotencykey AS stored (user_id, key, digest, status, body, created_at)
    SELECT %(user_id)s, %(key)s, %(digest)s, %(status)s, %(body)s, clock_timestamp() FROM locked
    ON CONFLICT (user_id, key) DO UPDATE
        SET digest = excluded.digest, status = excluded.status, body = excluded.body, reservation_id = NULL,
            created_at = excluded.created_at
        WHERE stored.created_at <= clock_timestamp() - %(kept_for)s
    RETURNING id
    """
)
_SET_ANSWER = Prepared("UPDATE loans_idempotencykey SET status = %(status)s, body = %(body)s WHERE id = %(id)s")
_READ = Prepared("SELECT digest, status, body, reservation_id FROM loans_idempotencykey WHERE user_id = %(user_id)s AND key = %(key)s")

View = Callable[..., Response]
IdempotentView = Callable[..., HttpResponse]


def idempotent(post: View) -> IdempotentView:
    """Make a view's `post` heed the Idempotency-Key header."""

    @wraps(post)
    def answer(view: Any, request: Request, **path: Any) -> HttpResponse:
        key = _key_of(request)
        decide = partial(post, view, request, **path)
        response = _decide_once(key, decide) if key else decide()
        replica.mark_write(request.user.pk)
        return response

    return answer


def idempotent_in_service(post: View) -> IdempotentView:
    """Make a `post` heed the header that passes its argument `key` to a service, which stores it, and writes nothing else."""

    @wraps(post)
    def answer(view: Any, request: Request, **path: Any) -> HttpResponse:
        key = _key_of(request)
        decide = partial(post, view, request, **path, key=key)
        response = _decide_once_in_service(key, decide) if key else decide()
        replica.mark_write(request.user.pk)
        return response

    return answer


def _key_of(request: Request) -> Key | None:
    """Return the request's key with a digest of method, path and body, or None without the header."""
    text = request.META.get(META_NAME)
    if text is None:
        return None
    if not re.fullmatch(r"[!-~]{1,255}", text):
        raise ValidationError({HEADER: ["1 to 255 printable ASCII characters without spaces, a UUID for instance."]})
    request_line = f"{request.method} {request.get_full_path()}\n".encode()
    return Key(request.user.pk, text, hashlib.sha256(request_line + request._request.body).hexdigest())  # type: ignore[arg-type]


def _decide_once(key: Key, decide: Callable[[], Response]) -> HttpResponse:
    with transaction.atomic(durable=True):
        key_id = _store(key, UNDECIDED, "")
        if key_id is None:
            return _replay(key, _stored_answer(key))
        response = _rendered(_decision(decide))
        with connection.cursor() as cursor:
            cursor.execute(_SET_ANSWER, {"id": key_id, "status": response.status_code, "body": response.content.decode()})
        return response


def _decide_once_in_service(key: Key, decide: Callable[[], Response]) -> HttpResponse:
    try:
        response = _decision(decide)
    except AnsweredBefore as before:
        return _replay(key, before.first)
    if response.status_code < 400:
        return response
    refusal = _rendered(response)
    if _store(key, refusal.status_code, refusal.content.decode()) is None:
        # Another request with the key was answered meanwhile.
        return _replay(key, _stored_answer(key))
    return refusal


def _decision(decide: Callable[[], Response]) -> Response:
    """Return the view's response, also where it is a refusal to remember. Every other error is raised."""
    try:
        return decide()
    except (Busy, RequestInProgress):
        raise
    except (Problem, APIException, Http404, PermissionDenied) as error:
        refusal = problem_details.exception_handler(error, {})
        if refusal.status_code not in REMEMBERED_REFUSALS:
            raise
        return refusal


def _rendered(response: Response) -> HttpResponse:
    """Return the response with its final bytes, which are also what is stored. A refusal that is too long to keep loses its data."""
    status, body = response.status_code, as_json(response.data)
    if status >= 400 and len(body) > MOST_REFUSAL_BYTES:
        document = problem_details.problem_document(response.data["code"], "Too much of the request is wrong to name it all.")
        body = as_json(document)
    rendered = HttpResponse(body, status=status, content_type=_media_type(status))
    rendered.data = response.data  # type: ignore[attr-defined]  # where metrics find the code of a refusal
    return rendered


def _media_type(status: int) -> str:
    return problem_details.MEDIA_TYPE if status >= 400 else JSONRenderer.media_type


def _store(key: Key, status: int, body: str) -> int | None:
    """Store an answer and hold the key's lock until the transaction ends.

    Returns the id of the key's row, or None if the key has been answered before.
    Raises: RequestInProgress.
    """
    values: dict[str, Any] = {
        "user_id": key.user_id,
        "key": key.text,
        "digest": key.digest,
        "status": status,
        "body": body,
        "kept_for": KEPT_FOR,
    }
    with locks.in_progress_if_late(), connection.cursor() as cursor:
        cursor.execute(_STORE, values)
        row = cursor.fetchone()
    return row[0] if row else None


def _stored_answer(key: Key) -> FirstAnswer:
    with connection.cursor() as cursor:
        cursor.execute(_READ, {"user_id": key.user_id, "key": key.text})
        return FirstAnswer(*cursor.fetchone())


def _replay(key: Key, first: FirstAnswer) -> HttpResponse:
    """Return the first answer again. Raises: IdempotencyKeyReused, if it answered another request."""
    if first.digest != key.digest:
        raise IdempotencyKeyReused("This Idempotency-Key has answered another request. Use a new key for each request.")
    body: str | bytes = first.body
    if first.reservation_id:
        body = as_json(ReservationSerializer((reservation_as_created(first.reservation_id), [])).data)
    return HttpResponse(body, status=first.status, content_type=_media_type(first.status), headers={"Idempotency-Replayed": "true"})
