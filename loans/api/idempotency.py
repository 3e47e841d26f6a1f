"""Was this very request decided before? Then the first answer is given again, for 24 hours.

A key is locked before anything else, so of two requests at once the second waits for the first, and is answered
`request_in_progress` where that takes too long.

A new reservation is written together with its key, and the answer to its repeat is rendered anew from what history has of its
beginning; a refusal, which writes nothing, is kept once it is known. Every other step is decided between the writing of
its key and the keeping of its answer, in one transaction, so that both come to be or neither. A refusal is caught inside
that transaction: a service's own `short_transaction` has then undone what the service wants undone.
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
from loans.domain.idempotency import KEPT_FOR, AnsweredBefore, FirstAnswer, Key
from loans.ledger import locks
from loans.selectors.reservations import reservation_as_created
from peerloans.api import problem_details
from peerloans.api.renderers import JSONRenderer, as_json
from peerloans.database import replica
from peerloans.database.prepared import Prepared
from peerloans.errors import Problem

HEADER = "Idempotency-Key"
AS_IT_COMES = "HTTP_IDEMPOTENCY_KEY"  # request.headers would first read all others
REMEMBERED_REFUSALS = {400, 403, 404, 409, 422}

# Where an answer was kept and still counts, no row comes back.
_KEEP = Prepared(
    f"""
    WITH mine AS MATERIALIZED (SELECT pg_advisory_xact_lock({locks.KEY_LOCK}))
    INSERT INTO loans_idempotencykey AS held (user_id, key, digest, status, body, created_at)
    SELECT %(user_id)s, %(key)s, %(digest)s, %(status)s, %(body)s, clock_timestamp() FROM mine
    ON CONFLICT (user_id, key) DO UPDATE
        SET digest = excluded.digest, status = excluded.status, body = excluded.body, reservation_id = NULL,
            created_at = excluded.created_at
        WHERE held.created_at <= clock_timestamp() - %(kept_for)s
    RETURNING id
    """
)
_FIND = Prepared("SELECT digest, status, body, reservation_id FROM loans_idempotencykey WHERE user_id = %(user_id)s AND key = %(key)s")
_ANSWER = Prepared("UPDATE loans_idempotencykey SET status = %(status)s, body = %(body)s WHERE id = %(id)s")
UNDECIDED = 0

View = Callable[..., Response]


def _once(key: Key | None, decide: Callable[[], Response]) -> HttpResponse:
    if not key:
        return decide()
    with transaction.atomic(durable=True):
        ours = _keep(key, UNDECIDED, "")
        if ours is None:
            return _again(_found(key), key)
        response = _rendered(_decision(decide))
        with connection.cursor() as cursor:
            cursor.execute(_ANSWER, {"id": ours, "status": response.status_code, "body": response.content.decode()})
        return response


def _once_by_service(key: Key | None, decide: Callable[..., Response]) -> HttpResponse:
    if not key:
        return decide(key=None)
    try:
        response = _decision(partial(decide, key=key))
    except AnsweredBefore as before:
        return _again(before.first, key)
    if response.status_code < 400:
        return response
    refusal = _rendered(response)
    kept = _keep(key, refusal.status_code, refusal.content.decode())
    return refusal if kept else _again(_found(key), key)


def _keyed(once: Callable[..., HttpResponse]) -> Callable[[View], Callable[..., HttpResponse]]:
    """Makes a view's `post` heed the Idempotency-Key header. What it wrote, the user's next lists show."""

    def decorate(post: View) -> Callable[..., HttpResponse]:
        @wraps(post)
        def answer(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
            key = _key(request) if AS_IT_COMES in request.META else None
            response = once(key, partial(post, view, request, *args, **kwargs))
            replica.wrote(request.user.pk)
            return response

        return answer

    return decorate


keyed = _keyed(_once)
# For a `post` that hands its `key`, or None, to a service which keeps it with what it writes, and writes nothing else.
keyed_by_service = _keyed(_once_by_service)


def _key(request: Request) -> Key:
    user_id = request.user.pk
    assert user_id  # noqa: S101
    text = request.META[AS_IT_COMES]
    if not re.fullmatch(r"[!-~]{1,255}", text):
        raise ValidationError({HEADER: ["1 to 255 printable ASCII characters without spaces, a UUID for instance."]})
    asked = f"{request.method} {request.get_full_path()}\n".encode()
    return Key(user_id, text, hashlib.sha256(asked + request._request.body).hexdigest())


def _decision(decide: Callable[[], Response]) -> Response:
    """The answer, also where it is a refusal that is remembered; everything else is raised."""
    try:
        return decide()
    except (Busy, RequestInProgress):
        raise
    except (Problem, APIException, Http404, PermissionDenied) as error:
        response = problem_details.exception_handler(error, {})
        if response.status_code not in REMEMBERED_REFUSALS:
            raise
        return response


def _rendered(response: Response) -> HttpResponse:
    status = response.status_code
    answer: Any = HttpResponse(as_json(response.data), status=status, content_type=_media_type(status))
    answer.data = response.data  # where metrics find what came of it
    return answer  # type: ignore[no-any-return]


def _media_type(status: int) -> str:
    return problem_details.MEDIA_TYPE if status >= 400 else JSONRenderer.media_type


def _keep(key: Key, status: int, body: str) -> int | None:
    """The id of the key's row, which is ours until our transaction ends; None where the key was answered before."""
    values: dict[str, Any] = {
        "user_id": key.user_id,
        "key": key.text,
        "digest": key.digest,
        "status": status,
        "body": body,
        "kept_for": KEPT_FOR,
    }
    with locks.in_progress_if_late(), connection.cursor() as cursor:
        cursor.execute(_KEEP, values)
        row = cursor.fetchone()
    return row[0] if row else None


def _found(key: Key) -> FirstAnswer:
    with connection.cursor() as cursor:
        cursor.execute(_FIND, {"user_id": key.user_id, "key": key.text})
        return FirstAnswer(*cursor.fetchone())


def _again(first: FirstAnswer, key: Key) -> HttpResponse:
    if first.digest != key.digest:
        raise IdempotencyKeyReused("This Idempotency-Key has answered another request; take a new one for each request.")
    body: Any = first.body
    if first.reservation_id:
        body = as_json(ReservationSerializer((reservation_as_created(first.reservation_id), [])).data)
    return HttpResponse(body, status=first.status, content_type=_media_type(first.status), headers={"Idempotency-Replayed": "true"})
