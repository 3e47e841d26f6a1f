"""Was this very request decided before? Then the first answer is given again, for 24 hours.

The key's row is written before anything else, so of two requests at once the second waits for the first, and is answered
`request_in_progress` where that takes too long. The answer is kept in the transaction of what it tells about, so that
both come to be or neither. A refusal is caught inside the transaction: a service's own `short_transaction` has then
undone what the service wants undone, and what it wants kept (the lapsed claims that `reserve` swept) is committed.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial, wraps
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.http import Http404, HttpResponse
from psycopg.errors import LockNotAvailable
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from loans import selectors
from loans.errors import Busy, IdempotencyKeyReused, RequestInProgress
from loans.models import IdempotencyKey
from peerloans import problems, replica
from peerloans.cursors import Prepared
from peerloans.errors import Problem
from peerloans.renderers import JSONRenderer

HEADER = "Idempotency-Key"
KEPT_FOR = timedelta(hours=24)
REMEMBERED_REFUSALS = {400, 403, 404, 409, 422}

# Nobody else sees the new row before our transaction ends, and who comes with the same key waits for that. Where an answer
# was kept and still counts, no row comes back.
_CLAIM = Prepared(
    """
    INSERT INTO loans_idempotencykey AS held (user_id, key, digest, status, body, created_at)
    VALUES (%(user_id)s, %(key)s, %(digest)s, 0, '', clock_timestamp())
    ON CONFLICT (user_id, key) DO UPDATE SET digest = excluded.digest, created_at = excluded.created_at
        WHERE held.created_at <= clock_timestamp() - %(kept_for)s
    RETURNING id
    """
)
_FIND = "SELECT digest, status, body FROM loans_idempotencykey WHERE user_id = %(user_id)s AND key = %(key)s"
_KEEP = Prepared("UPDATE loans_idempotencykey SET status = %(status)s, body = %(body)s WHERE id = %(id)s")

View = Callable[..., Response]


def keyed(post: View) -> Callable[..., HttpResponse]:
    """Makes a view's `post` heed the Idempotency-Key header. What it wrote, the user's next lists show."""

    @wraps(post)
    def answer(view: Any, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        decide = partial(post, view, request, *args, **kwargs)
        response = _once(request, decide) if HEADER in request.headers else decide()
        replica.wrote(request.user.pk)
        return response

    return answer


def _once(request: Request, decide: Callable[[], Response]) -> HttpResponse:
    asked: dict[str, Any] = {"user_id": request.user.pk, "key": _key(request), "digest": _digest(request), "kept_for": KEPT_FOR}
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        ours = _claimed(cursor, asked)
        if ours is None:
            cursor.execute(_FIND, asked)
            return _again(cursor.fetchone(), asked["digest"])
        response = _rendered(_decision(decide))
        cursor.execute(_KEEP, {"id": ours, "status": response.status_code, "body": response.content.decode()})
        return response


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
    except Busy:
        raise
    except (Problem, APIException, Http404, PermissionDenied) as error:
        response = problems.handler(error, {})
        if response.status_code not in REMEMBERED_REFUSALS:
            raise
        return response


def _rendered(response: Response) -> HttpResponse:
    return HttpResponse(JSONRenderer().render(response.data), status=response.status_code, content_type=_media_type(response.status_code))


def _media_type(status: int) -> str:
    return problems.MEDIA_TYPE if status >= 400 else JSONRenderer.media_type


def _claimed(cursor: CursorWrapper, asked: dict[str, Any]) -> int | None:
    """The row that is ours until our transaction ends; None where the key was answered before."""
    try:
        cursor.execute(_CLAIM, asked)
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise RequestInProgress("The first request with this Idempotency-Key is still running; try again in a moment.") from error
        raise
    row = cursor.fetchone()
    return row[0] if row else None


def _again(first: tuple[str, int, str], digest: str) -> HttpResponse:
    first_digest, status, body = first
    if first_digest != digest:
        raise IdempotencyKeyReused("This Idempotency-Key has answered another request; take a new one for each request.")
    return HttpResponse(body, status=status, content_type=_media_type(status), headers={"Idempotency-Replayed": "true"})


def prune(now: datetime | None = None) -> int:
    """Forget answers that are given no more; returns how many."""
    count, _ = IdempotencyKey.objects.filter(created_at__lte=selectors.instant(now) - KEPT_FOR).delete()
    return count
