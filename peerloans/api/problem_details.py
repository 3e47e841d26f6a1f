"""How does an error look to a program? As problem+json (RFC 9457)."""

import logging
import math
import sys
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core import signals
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import is_valid_path, resolve
from django.utils.log import log_response
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from peerloans.errors import Problem

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MACHINE_PATHS = ("/api/", "/ziptocbsa")

# How soon a database that does not answer may be asked again.
RETRY_SECONDS = 2

NON_FIELD = "non_field_errors"

# DRF's own names where the contract has others.
CODES = {"authentication_failed": "not_authenticated", "parse_error": "invalid", "error": "invalid"}


def body(status: int, code: str, detail: str, title: str | None = None, **data: Any) -> dict[str, Any]:
    """The members of RFC 9457, then `code` and what helps beside it."""
    return {
        "type": f"urn:problem-type:peerloans:{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **data,
    }


def handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: the answer for every error, also for a fault of ours."""
    match error:
        case Problem():
            answer = body(error.status, error.code, error.detail, error.title, **error.data)
            headers = _retry_after(error.retry_after_seconds)
        case Http404() | PermissionDenied() | SuspiciousOperation():
            return handler(_as_api_exception(error), context)
        case exceptions.APIException():
            answer, headers = _of_api_exception(error)
        case OperationalError() | InterfaceError():
            answer, headers = _of_no_database(error), _retry_after(RETRY_SECONDS)
        case _:
            return _of_fault(error, context["request"]._request)
    set_rollback()
    return Response(answer, status=answer["status"], headers=headers, content_type=MEDIA_TYPE)


def _as_api_exception(error: Exception) -> exceptions.APIException:
    match error:
        case Http404():
            return exceptions.NotFound()
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case RequestDataTooBig():
            return TooLarge()
    return exceptions.ParseError("The request is malformed.")


class TooLarge(exceptions.APIException):
    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = "The body of the request is too large."
    default_code = "too_large"


def _of_api_exception(error: exceptions.APIException) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if isinstance(error, exceptions.ValidationError):
        fields = error.detail if isinstance(error.detail, dict) else {NON_FIELD: error.detail}
        return body(error.status_code, "invalid", "Some values are missing or wrong.", errors=fields), headers
    if isinstance(error, exceptions.Throttled):
        headers |= _retry_after(getattr(error, "wait", None))
    code = str(getattr(error.detail, "code", error.default_code))
    answer = body(error.status_code, CODES.get(code, code), str(error.detail))
    if code == "parse_error":
        answer["errors"] = {NON_FIELD: [str(error.detail)]}
    return answer, headers


def _of_no_database(error: BaseException) -> dict[str, Any]:
    """The database is away, or gave up; what was asked may even have been done, if the connection broke at the very end."""
    logger.error("The database did not answer: %s", error)
    detail = "The database does not answer; try again in a moment, a POST with the same Idempotency-Key."
    return body(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail)


def _of_fault(error: Exception, request: HttpRequest) -> Response:
    # Django, left to itself, would show the trace in debug. Its signal and its log hear of the fault as ever.
    set_rollback()
    signals.got_request_exception.send(sender=None, request=request)
    answer = _fault()
    response = Response(answer, status=answer["status"], content_type=MEDIA_TYPE)
    _log(answer, error, request, response)
    return response


def _fault() -> dict[str, Any]:
    """Says nothing of what went wrong, but where that is to be found: the log names the same `id`."""
    detail = "The fault is on our side. Tell us this id, and we find in our log what happened."
    return body(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error", detail, id=str(uuid.uuid4()))


def _log(answer: dict[str, Any], error: BaseException | None, request: HttpRequest, response: HttpResponse) -> None:
    """In place of Django's own line, which names no id."""
    message = "Fault %s: %s %s"
    log_response(message, answer["id"], request.method, request.path, response=response, request=request, exception=error)


def _retry_after(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(math.ceil(seconds))}


def _outside_drf(status: HTTPStatus, code: str, detail: str, page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A view for Django's own error: problem+json where programs call, Django's page where people do."""

    def view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.path.startswith(MACHINE_PATHS):
            return JsonResponse(body(status, code, detail + _hint(request, status)), status=status, content_type=MEDIA_TYPE)
        return page(request, *args, **kwargs)

    return view


def _hint(request: HttpRequest, status: HTTPStatus) -> str:
    """That only the last slash is missing, where it is so."""
    if status != HTTPStatus.NOT_FOUND:
        return ""
    meant = f"{request.path}/"
    found = resolve(meant) if is_valid_path(meant) else None
    return f" There is at {meant}." if found and found.url_name else ""


bad_request = _outside_drf(HTTPStatus.BAD_REQUEST, "invalid", "The request is malformed.", defaults.bad_request)
permission_denied = _outside_drf(HTTPStatus.FORBIDDEN, "permission_denied", "You may not do this.", defaults.permission_denied)
not_found = _outside_drf(HTTPStatus.NOT_FOUND, "not_found", "There is nothing at this address.", defaults.page_not_found)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500, for faults outside of DRF."""
    error = sys.exception()
    away = isinstance(error, OperationalError | InterfaceError)
    if not request.path.startswith(MACHINE_PATHS):
        page = defaults.server_error(request)
        return _as_unavailable(page) if away else page
    if error is not None and away:
        return _as_unavailable(JsonResponse(_of_no_database(error), content_type=MEDIA_TYPE))
    answer = _fault()
    response = JsonResponse(answer, status=answer["status"], content_type=MEDIA_TYPE)
    _log(answer, error, request, response)
    return response


def _as_unavailable(response: HttpResponse) -> HttpResponse:
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    for name, value in _retry_after(RETRY_SECONDS).items():
        response[name] = value
    return response
