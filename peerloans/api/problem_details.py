"""Answer every error of the API with a problem document (RFC 9457, application/problem+json).

`exception_handler` answers the errors of DRF's views. The views at the end answer Django's own errors, which happen
outside of any DRF view: programs get a problem document there, people get Django's page.
"""

import logging
import math
import sys
import uuid
from http import HTTPStatus
from typing import Any

from django.core import signals
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import Resolver404, resolve
from django.utils.log import log_response
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from peerloans.api.error_statuses import RETRY_AFTER_SECONDS, STATUSES
from peerloans.errors import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
PATHS_OF_PROGRAMS = ("/api/", "/ziptocbsa", "/cbsa")

NOTHING_HERE = "There is nothing at this address."
FORBIDDEN = "You may not do this."
MALFORMED = "The request is malformed."
BODY_REFUSED = {
    "too_large": "The body of the request is too large.",
    "too_slow": "The body of the request did not arrive in time.",
}
NON_FIELD = "non_field_errors"
# Of the codes of which some errors come from libraries, and some from the apps with the same title.
TITLES = {"invalid": "Invalid request", "not_found": "Not found", "permission_denied": "Not permitted"}


def problem_document(code: str, detail: str, title: str | None = None, **data: Any) -> dict[str, Any]:
    """Return the members of RFC 9457, then the code and the data."""
    status = STATUSES[code]
    document = {
        "type": f"urn:problem-type:peerloans:{code}",
        "title": title or TITLES.get(code) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }
    return document | data


def document_of(error: BaseException | None) -> dict[str, Any] | None:
    """Return the problem document of an expected error, or None for a fault of ours."""
    match error:
        case Problem():
            return problem_document(error.code, error.detail, error.title, **error.data)
        case Http404():
            return problem_document("not_found", NOTHING_HERE)
        case PermissionDenied():
            return problem_document("permission_denied", FORBIDDEN)
        case RequestDataTooBig():
            return problem_document("too_large", BODY_REFUSED["too_large"])
        case SuspiciousOperation():
            return problem_document("invalid", MALFORMED, errors={NON_FIELD: [MALFORMED]})
        case exceptions.ParseError():
            return problem_document("invalid", str(error.detail), errors={NON_FIELD: [str(error.detail)]})
        case exceptions.ValidationError():
            errors = error.detail if isinstance(error.detail, dict) else {NON_FIELD: error.detail}
            return problem_document("invalid", "Some values are missing or wrong.", errors=errors)
        case exceptions.APIException():
            code = str(getattr(error.detail, "code", error.default_code))
            return problem_document("not_authenticated" if code == "authentication_failed" else code, str(error.detail))
        case OperationalError() | InterfaceError():
            # If the connection broke at the very end, the request may have been carried out all the same.
            logger.error("The database did not answer: %s", error)
            return problem_document(
                "unavailable", "The database does not answer. Try again in a moment, a POST with the same Idempotency-Key."
            )
    return None


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Return the answer for an error in a DRF view. DRF calls this as its EXCEPTION_HANDLER."""
    set_rollback()
    if document := document_of(error):
        headers = _retry_after(document["code"], getattr(error, "wait", None))
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
        return Response(document, status=document["status"], headers=headers, content_type=MEDIA_TYPE)
    # DRF would raise the fault again, and Django would show its traceback in debug.
    request = context["request"]._request
    signals.got_request_exception.send(sender=None, request=request)
    document = _fault_document()
    response = Response(document, status=document["status"], content_type=MEDIA_TYPE)
    _log_fault(document, error, request, response)
    return response


def _retry_after(code: str, seconds: float | None = None) -> dict[str, str]:
    seconds = RETRY_AFTER_SECONDS.get(code, seconds)
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}


def _fault_document() -> dict[str, Any]:
    """Return a document that reveals nothing of the fault, only the id under which the log has it."""
    detail = "The fault is on our side. Send us this id, and we find in our log what happened."
    return problem_document("server_error", detail, id=str(uuid.uuid4()))


def _log_fault(document: dict[str, Any], error: BaseException | None, request: HttpRequest, response: HttpResponse) -> None:
    """Log the fault with its id, in place of Django's own line, which has none."""
    message = "Fault %s: %s %s"
    log_response(message, document["id"], request.method, request.path, response=response, request=request, exception=error)


# --- Django's own errors --------------------------------------------------------------------------------------------
def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler400."""
    if _is_program(request):
        return _json(problem_document("invalid", MALFORMED))
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    if _is_program(request):
        return _json(problem_document("permission_denied", FORBIDDEN))
    return defaults.permission_denied(request, exception)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's handler404, and the view of every unknown address of the API."""
    if _is_program(request):
        return _json(problem_document("not_found", NOTHING_HERE + _slash_hint(request.path)))
    return defaults.page_not_found(request, exception)


def body_refused(request: HttpRequest, code: str) -> HttpResponse:
    """Return the answer to a request whose body was not taken, `too_large` or `too_slow`. The connection ends with it."""
    document = problem_document(code, BODY_REFUSED[code])
    if _is_program(request):
        return _json(document)
    return HttpResponse(f"{document['detail']}\n", status=document["status"], content_type="text/plain")


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    error = sys.exception()
    if not _is_program(request):
        page = defaults.server_error(request)
        if isinstance(error, OperationalError | InterfaceError):
            page.status_code = STATUSES["unavailable"]
            page.headers["Retry-After"] = str(RETRY_AFTER_SECONDS["unavailable"])
        return page
    if document := document_of(error):
        return _json(document)
    document = _fault_document()
    response = _json(document)
    _log_fault(document, error, request, response)
    return response


def _is_program(request: HttpRequest) -> bool:
    return request.path.startswith(PATHS_OF_PROGRAMS)


def _json(document: dict[str, Any]) -> JsonResponse:
    return JsonResponse(document, status=document["status"], content_type=MEDIA_TYPE, headers=_retry_after(document["code"]))


def _slash_hint(path: str) -> str:
    """Return a sentence that names the address with its final slash if only that is missing, else nothing."""
    try:
        match = resolve(f"{path}/")
    except Resolver404:
        return ""
    return f" Did you mean {path}/?" if match.url_name else ""  # the route of all unknown addresses has no name
