"""Call the command as an operator does, whose database stands where an earlier one stood."""

import json
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from loans.models import Transition
from tests.factories import InvestorFactory, LoanFactory, reserved
from tests.peerloans.monitoring.test_request_log import line

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    call_command("after_restore", *arguments, stdout=(printed := StringIO()))
    return printed.getvalue()


def test_it_names_whom_something_was_told_that_may_be_lost(tmp_path: Path) -> None:
    investor = InvestorFactory()
    reserved(LoanFactory(now=timezone.now()), 5_000, investor=investor, now=timezone.now())
    newest = Transition.objects.latest("at").at
    known, lost, before = (
        line(at=(newest + timedelta(seconds=seconds)).isoformat(), user=user)
        for seconds, user in [(1, investor.user_id), (2, 999_999), (-1, investor.user_id)]
    )
    log = tmp_path / "web.log"
    log.write_text("\n".join([lost, before, known]))
    printed = run("--log", str(log)).splitlines()
    assert printed[-3] == "2 requests were answered with success after the newest transition:"
    assert printed[-2].endswith(f" UTC  {investor.user.username}  POST /api/v1/loans/PL-1/reservations/")
    assert "number 999999, who is lost too" in printed[-1]
    document = json.loads(run("--log", str(log), "--json"))
    assert document["acknowledged_later"][0]["user"] == investor.user.username
    assert (document["newest_transition"], document["newest_bank_report"]) == (newest.isoformat(), None)


def test_without_a_log_it_says_nothing_of_requests() -> None:
    assert "The newest transition is of no time: there is none." in (printed := run())
    assert "requests were answered" not in printed


def test_a_log_that_is_not_there_is_named() -> None:
    with pytest.raises(CommandError, match=r"nowhere\.log cannot be read"):
        run("--log", "nowhere.log")
