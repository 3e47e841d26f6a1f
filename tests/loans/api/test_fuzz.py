"""Every request, valid or not, gets an answer that the schema declares, and never a fault."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.utils import timezone
from hypothesis import HealthCheck, settings
from knox.models import AuthToken
from schemathesis.checks import positive_data_acceptance

from loans.models import Loan, NamedToken, WebhookEndpoint
from tests.factories import LoanFactory, reserved, standing_order, waiting
from tests.loans.api.conftest import Caller

BRIEFLY, AT_LENGTH = 10, 500  # examples of each operation
NUMBER = r"[0-9]+"
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def described(*, coverage: bool) -> Any:
    """Return the API by its schema. `coverage` also tries every bound and every undeclared method on every address."""
    schema = schemathesis.openapi.from_path(Path(__file__).parents[2] / "openapi.json").include(path_regex="^/api/v1/")
    schema.app = get_wsgi_application()
    schema.config.phases.coverage.enabled = coverage
    schema.config.generation.with_security_parameters = False  # every request carries the investor's token
    return schema


in_brief, in_full = described(coverage=False), described(coverage=True)
# The schema cannot say everything: a cursor is signed, an amount may be more than is available.
Existing = dict[str, tuple[str, str]]
MAY_BE_REFUSED = [positive_data_acceptance]


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Keep requests from closing the connection of the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def reservation(investor: Caller, loan: Loan) -> str:
    return str(reserved(loan, investor=investor.investor, now=None).pk)


@pytest.fixture
def entry(investor: Caller) -> str:
    """An entry of the investor that waits for another, full loan."""
    full = LoanFactory(now=timezone.now(), overbooking_rate=0)
    reserved(full, full.amount, now=timezone.now())
    return str(waiting(full, 5_000, investor=investor.investor, now=timezone.now()).pk)


@pytest.fixture
def existing(investor: Caller, loan: Loan, reservation: str, entry: str) -> Existing:
    """What a path may name: its form, and what there is of it."""
    # Not by the test client, which would connect the signals above again.
    stored, _ = AuthToken.objects.create(investor.user)
    token = NamedToken.objects.create(user=investor.user, digest=stored.digest, name="A", scopes=["read"], expires_at=stored.expiry)
    return {
        "reference": (r"[-\w]+", loan.reference),
        "reservation_id": (UUID, reservation),
        "entry_id": (UUID, entry),
        "order_id": (UUID, str(standing_order(investor=investor.investor, now=timezone.now()).pk)),
        "token_id": (UUID, str(token.pk)),
        # On this machine, where no webhook is sent.
        "endpoint_id": (
            NUMBER,
            str(WebhookEndpoint.objects.create(investor=investor.investor, url="https://127.0.0.1/").pk),
        ),
        "delivery_id": (NUMBER, "1"),
    }


def check(case: schemathesis.Case, investor: Caller, existing: Existing) -> None:
    """Send the request. Half of the well-formed references and ids are replaced by existing ones."""
    for name, value in case.path_parameters.items():
        form, value_of_row = existing[name]
        if re.fullmatch(form, str(value), re.ASCII) and crc32(str(value).encode()) % 2:
            case.path_parameters[name] = value_of_row
    case.call_and_validate(headers=investor.headers, excluded_checks=MAY_BE_REFUSED)


@in_brief.parametrize()
@settings(max_examples=BRIEFLY, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request(case: schemathesis.Case, investor: Caller, existing: Existing) -> None:
    check(case, investor, existing)


@pytest.mark.long
@in_full.parametrize()
@settings(max_examples=AT_LENGTH, deadline=None, suppress_health_check=list(HealthCheck))
def test_many_requests(case: schemathesis.Case, investor: Caller, existing: Existing) -> None:
    check(case, investor, existing)
