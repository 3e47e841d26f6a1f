"""Was this very request decided before? Then the first answer is given again, for 24 hours.

The answer is kept in the transaction of what it tells about, as its last statement, so that both come to be or neither.
Of two requests at once with one key the second works, waits at the first's lock or at its key, finds the key taken and
undoes its own work. A refusal is caught inside the transaction: a service's own `short_transaction` has then undone what
the service wants undone, and what it wants kept (the lapsed claims that `reserve` swept) is committed with the key.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection, transaction
from django.http import Http404, HttpResponse
from psycopg.errors import LockNotAvailable
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from loans import selectors
from loans.errors import Busy, IdempotencyKeyReused, RequestInProgress
from loans.models import IdempotencyKey
from peerloans import problems
from peerloans.errors import Problem
from peerloans.renderers import JSONRenderer

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=24)
REMEMBERED_REFUSALS = {400, 403, 404, 409, 422}
FORGOTTEN = (Busy, RequestInProgress)

# Takes the key unless a younger answer holds it. Waits for whoever is about to commit the same key.
_KEEP = """
    INSERT INTO loans_idempotencykey AS kept (user_id, key, digest, status, body, created_at)
    VALUES (%(user_id)s, %(key)s, %(digest)s, %(status)s, %(body)s, clock_timestamp())
    ON CONFLICT (user_id, key) DO UPDATE
        SET digest = excluded.digest, status = excluded.status, body = excluded.body, created_at = excluded.created_at
        WHERE kept.created_at <= clock_timestamp() - %(kept_for)s
    RETURNING id
"""
_FIND = """
    SELECT digest, status, body FROM loans_idempotencykey
    WHERE user_id = %(user_id)s AND key = %(key)s AND created_at > clock_timestamp() - %(kept_for)s
"""

View = Callable[..., Response]


class _Taken(Exception):
    """Another request had the key first."""


def keyed(post: View) -> Callable[..., HttpResponse]:
    """Makes a view's `post` heed the Idempotency-Key header."""

    @wraps(post)
    def answer(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        if HEADER not in request.headers:
            return post(view, request, *args, **kwargs)
        return _once(request, lambda: post(view, request, *args, **kwargs))

    return answer


def _once(request: Request, decide: Callable[[], Response]) -> HttpResponse:
    who = {"user_id": request.user.pk, "key": _key(request), "kept_for": KEPT_FOR}
    digest = _digest(request)
    try:
        with transaction.atomic(durable=True):
            response = _rendered(_decision(decide))
            _keep(who | {"digest": digest, "status": response.status_code, "body": response.content.decode()})
            return response
    except (_Taken, Busy) as error:
        # Busy, too: the first may have been done just before the lock was given up.
        return _first_answer(who, digest, error)


def _key(request: Request) -> str:
    key = request.headers[HEADER]
    if not re.fullmatch(r"[!-~]{1,255}", key):
        raise ValidationError({HEADER: ["1 to 255 printable ASCII characters without spaces, a UUID for instance."]})
    return key


def _digest(request: Request) -> str:
    asked = f"{request.method} {request.get_full_path()}\n".encode()
    return hashlib.sha256(asked + request._request.body).hexdigest()


def _decision(decide: Callable[[], Response]) -> Response:
    """The answer, also where it is a refusal that is remembered; everything else is raised."""
    try:
        return decide()
    except FORGOTTEN:
        raise
    except (Problem, APIException, Http404, PermissionDenied) as error:
        response = problems.handler(error, {})
        if response is None or response.status_code not in REMEMBERED_REFUSALS:
            raise
        return response


def _rendered(response: Response) -> HttpResponse:
    return HttpResponse(JSONRenderer().render(response.data), status=response.status_code, content_type=_media_type(response.status_code))


def _media_type(status: int) -> str:
    return problems.MEDIA_TYPE if status >= 400 else JSONRenderer.media_type


def _keep(values: dict[str, Any]) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_KEEP, values)
            if not cursor.fetchone():
                raise _Taken
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise RequestInProgress("The first request with this Idempotency-Key is still running; try again in a moment.") from error
        raise


def _first_answer(who: dict[str, Any], digest: str, error: Exception) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(_FIND, who)
        found = cursor.fetchone()
    if not found:
        raise error if isinstance(error, Busy) else RequestInProgress("Try again in a moment.")
    first_digest, status, body = found
    if first_digest != digest:
        raise IdempotencyKeyReused("This Idempotency-Key has answered another request; take a new one for each request.")
    return HttpResponse(body, status=status, content_type=_media_type(status), headers={"Idempotency-Replayed": "true"})


def prune(now: datetime | None = None) -> int:
    """Forget answers that are given no more; returns how many."""
    count, _ = IdempotencyKey.objects.filter(created_at__lte=selectors.instant(now) - KEPT_FOR).delete()
    return count
