"""When a session ends, of staff and of investors, and what is answered where one cannot be saved."""

from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.test import Client

from tests.factories import InvestorFactory, UserFactory

pytestmark = pytest.mark.django_db
NOON = "2026-07-01T16:00:00Z"


@pytest.mark.parametrize("page", ["/admin/", "/account/"])
@pytest.mark.parametrize(("minutes", "steps", "stays"), [(59, 1, True), (61, 1, False), (50, 14, True), (50, 15, False)])
def test_a_session_ends_when_idle_and_after_twelve_hours(client: Client, page: str, minutes: int, steps: int, stays: bool) -> None:
    def is_logged_in() -> bool:
        return client.get(page).status_code == 200

    with time_machine.travel(NOON, tick=False) as clock:
        client.force_login(UserFactory(is_staff=True) if page == "/admin/" else InvestorFactory().user)
        assert is_logged_in()
        for _ in range(steps):
            clock.shift(60 * minutes)
            was_in = is_logged_in()
        assert was_in is stays


@pytest.mark.parametrize(("fault", "status"), [(OperationalError("the connection is lost"), 503), (None, 400)])
def test_a_session_that_cannot_be_saved_differs_from_one_that_has_ended(client: Client, fault: Exception | None, status: int) -> None:
    client.force_login(UserFactory(is_staff=True))

    def meanwhile(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith('UPDATE "django_session"'):
            if fault:
                raise fault
            Session.objects.all().delete()
        return execute(sql, *rest)

    client.raise_request_exception = False
    with connection.execute_wrapper(meanwhile):
        answer = client.get("/admin/")
    assert (answer.status_code, answer.headers.get("Retry-After")) == (status, "2" if fault else None)
