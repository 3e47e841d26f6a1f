"""Whatever the schema allows or forbids, the answer is one that the schema declares, and never a fault of ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.checks import positive_data_acceptance

from loans.models import Loan
from peerloans.wsgi import application
from tests.loans.api.conftest import Caller

schema = schemathesis.openapi.from_path(Path(__file__).parents[2] / "openapi.json").include(path_regex="^/api/v1/")
schema.app = application
schema.config.phases.coverage.enabled = False  # every method that is not there, on every address: half of the time
# The schema cannot say everything: a cursor is signed, an amount may be more than is available.
MAY_BE_REFUSED = [positive_data_acceptance]


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """A request must not close the connection that the test's transaction is on."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@schema.parametrize()
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request(case: schemathesis.Case, investor: Caller, loan: Loan) -> None:
    if len(str(case.path_parameters.get("reference", ""))) % 2:
        case.path_parameters["reference"] = loan.reference
    case.call_and_validate(headers=investor.headers, excluded_checks=MAY_BE_REFUSED)
