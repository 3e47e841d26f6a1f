"""Every error has the same shape for programs."""

import json
from types import ModuleType
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from django.test import Client, RequestFactory
from rest_framework import exceptions, serializers

import cbsa.errors
import loans.domain.errors
from loans.domain.errors import Busy, Invalid, NotFound, NotPermitted, OverLimit
from peerloans.api import problem_details
from peerloans.api.error_statuses import STATUSES
from peerloans.errors import Problem


def invalid() -> exceptions.ValidationError:
    class Form(serializers.Serializer):
        amount = serializers.DecimalField(max_digits=5, decimal_places=2)

    form = Form(data={"amount": "much"})
    form.is_valid()
    return exceptions.ValidationError(form.errors)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverLimit("That is too much."), 409, "over_limit"),
        (Http404(), 404, "not_found"),
        (PermissionDenied(), 403, "permission_denied"),
        (RequestDataTooBig(), 413, "too_large"),
        (exceptions.NotFound(), 404, "not_found"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed("It has ended.", code="token_expired"), 401, "token_expired"),
        (exceptions.PermissionDenied(code="not_accredited"), 403, "not_accredited"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.UnsupportedMediaType("text/csv"), 415, "unsupported_media_type"),
        (exceptions.Throttled(wait=1.5), 429, "throttled"),
        (exceptions.ParseError(), 400, "invalid"),
        (exceptions.ValidationError("Not so."), 400, "invalid"),
        (invalid(), 400, "invalid"),
    ],
)
def test_one_shape(error: Exception, status: int, code: str) -> None:
    response = problem_details.exception_handler(error, {})
    assert response.content_type == "application/problem+json"
    assert list(response.data)[:5] == ["type", "title", "status", "detail", "code"]
    assert (response.status_code, response.data["status"], response.data["code"]) == (status, status, code)
    assert response.data["type"].endswith(code)
    assert isinstance(response.data["detail"], str)


@pytest.mark.parametrize("app", [loans.domain.errors, cbsa.errors])
def test_every_problem_has_a_status(app: ModuleType) -> None:
    codes = {kind.code for kind in vars(app).values() if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem}
    assert codes
    assert codes <= STATUSES.keys()


@pytest.mark.parametrize("app", [loans.domain.errors, cbsa.errors])
def test_a_code_has_one_title_whether_an_app_or_a_library_refuses(app: ModuleType) -> None:
    kinds = [kind for kind in vars(app).values() if isinstance(kind, type) and issubclass(kind, Problem) and kind is not Problem]
    titles = problem_details.TITLES
    assert {kind.code: kind.title for kind in kinds if kind.code in titles}.items() <= titles.items()


@pytest.mark.parametrize(
    ("library", "own"), [(invalid(), Invalid("No.")), (Http404(), NotFound("No.")), (PermissionDenied(), NotPermitted("No."))]
)
def test_an_error_of_a_library_has_the_title_of_ours(library: Exception, own: Problem) -> None:
    titles = {problem_details.exception_handler(error, {}).data["title"] for error in (library, own)}
    assert titles == {own.title}


def test_data_and_headers() -> None:
    over_limit = problem_details.exception_handler(OverLimit("That is too much.", available="0.00"), {})
    assert over_limit.data["available"] == "0.00"
    assert "Retry-After" not in over_limit.headers
    assert problem_details.exception_handler(Busy("Try again."), {}).headers["Retry-After"] == "1"
    assert problem_details.exception_handler(exceptions.Throttled(wait=1.2), {}).headers["Retry-After"] == "2"
    assert list(problem_details.exception_handler(invalid(), {}).data["errors"]) == ["amount"]
    assert problem_details.exception_handler(exceptions.ValidationError("Not so."), {}).data["errors"] == {"non_field_errors": ["Not so."]}


@pytest.mark.parametrize("path", ["/api/nowhere", "/api/v1/", "/ziptocbsa/1/2/3"])
def test_an_unknown_address_of_the_api(client: Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (404, "application/problem+json")


def test_people_get_a_page(client: Client) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert response.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize(
    ("path", "broken"), [("/api/v1/loans/", "loans.api.loans.LoanList.get_queryset"), ("/ziptocbsa/90266", "cbsa.api.views.zip_answers")]
)
def test_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch, settings: Any, caplog: Any, debug: bool, path: str, broken: str) -> None:
    settings.DEBUG = debug
    monkeypatch.setattr(broken, lambda *_: 1 / 0)
    response = Client(raise_request_exception=False).get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (500, "application/problem+json")
    assert response.json()["code"] == "server_error"
    assert "zero" not in response.text
    assert_logged(response.json()["id"], caplog)


def assert_logged(fault_id: str, caplog: Any) -> None:
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert fault_id in line.getMessage()
    assert line.exc_info[0] is ZeroDivisionError


def test_a_fault_outside_of_any_view(rf: RequestFactory, caplog: Any) -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        response = problem_details.server_error(rf.get("/api/v1/loans/"))
    assert (response.status_code, response.headers["Content-Type"]) == (500, "application/problem+json")
    assert_logged(json.loads(response.content)["id"], caplog)


def test_djangos_signal_of_a_fault_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loans.api.loans.LoanList.get_queryset", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Client().get("/api/v1/loans/")


def test_people_get_a_page_for_a_fault_too(rf: RequestFactory) -> None:
    assert problem_details.server_error(rf.get("/")).headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize(
    ("path", "broken"), [("/api/v1/loans/", "loans.api.loans.LoanList.get_queryset"), ("/ziptocbsa/90266", "cbsa.api.views.zip_answers")]
)
def test_no_database(monkeypatch: pytest.MonkeyPatch, path: str, broken: str) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("connection to server at 10.0.0.7 failed")

    monkeypatch.setattr(broken, away)
    response = Client(raise_request_exception=False).get(path)
    assert (response.status_code, response.headers["Content-Type"]) == (503, "application/problem+json")
    assert (response.json()["code"], response.headers["Retry-After"]) == ("unavailable", "2")
    assert "10.0.0.7" not in response.text


@pytest.mark.parametrize(("path", "media_type"), [("/api/v1/loans/", "application/problem+json"), ("/admin/", "text/html; charset=utf-8")])
def test_no_database_outside_of_any_view(rf: RequestFactory, path: str, media_type: str) -> None:
    try:
        raise InterfaceError("connection already closed")
    except InterfaceError:
        response = problem_details.server_error(rf.get(path))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.headers["Content-Type"] == media_type
