"""Every question about ZIPs and areas, valid or not, gets an answer that the schema declares, and never a fault."""

import gc
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.checks import positive_data_acceptance
from schemathesis.specs.openapi.checks import ignored_auth

from tests.cbsa.api.test_area_views import DIVIDED, SPLIT
from tests.cbsa.conftest import Import

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # see _unread_answers_are_closed
]

BRIEFLY, AT_LENGTH = 20, 500  # examples of each operation
EXISTING = {
    "zip_code": (r"\w+", ["10002", "10001", "10006-1234", "10002,10003", "77777"]),
    "code": (r"\w+", ["20000", "20004", "10300", "10900"]),
}


def described(*, coverage: bool) -> Any:
    """Return the calls by their schema. `coverage` also tries every bound and every undeclared method on every address."""
    schema = schemathesis.openapi.from_path(Path(__file__).parents[2] / "openapi.json").include(path_regex="^/(ziptocbsa|cbsa)")
    schema.app = get_wsgi_application()
    schema.config.phases.coverage.enabled = coverage
    schema.config.checks.negative_data_rejection.expected_statuses.append("413")  # too long a list may be too large a body
    return schema


in_brief, in_full = described(coverage=False), described(coverage=True)
# The schema cannot say everything: most texts are no ZIP, and a cursor is signed.
MAY_BE_REFUSED = [positive_data_acceptance, ignored_auth]


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Keep requests from closing the connection of the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(autouse=True)
def _unread_answers_are_closed() -> Iterator[None]:
    """Close what Schemathesis has not read, as the answer to HEAD (a server closes it), before another test meets it."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def vintages(run: Import) -> None:
    run(SPLIT, DIVIDED)
    run(SPLIT.replace("10002,20004", "10002,10200"), DIVIDED, "2016")


def check(case: schemathesis.Case) -> None:
    """Send the request. Half of the well-formed ZIPs, codes and vintages are replaced by existing ones."""
    for name, value in case.path_parameters.items():
        form, values = EXISTING[name]
        number = crc32(str(value).encode("utf-8", "surrogatepass"))
        if re.fullmatch(form, str(value), re.ASCII) and number % 2:
            case.path_parameters[name] = values[number % len(values)]
    vintage = case.query.get("vintage") if case.query else None
    if isinstance(vintage, str) and crc32(vintage.encode("utf-8", "surrogatepass")) % 2:
        case.query["vintage"] = "2015"
    case.call_and_validate(excluded_checks=MAY_BE_REFUSED)


@in_brief.parametrize()
@settings(max_examples=BRIEFLY, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_question(case: schemathesis.Case, vintages: None) -> None:
    check(case)


@pytest.mark.long
@in_full.parametrize()
@settings(max_examples=AT_LENGTH, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_questions(case: schemathesis.Case, vintages: None) -> None:
    check(case)
