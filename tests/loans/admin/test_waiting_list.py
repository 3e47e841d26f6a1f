"""Staff see how long those on waiting lists have waited."""

from datetime import timedelta

import pytest
from django.test import Client

from loans.models import WaitingListEntry
from peerloans.database.clock import database_now
from tests.factories import LoanFactory, reserved, waiting

pytestmark = pytest.mark.django_db


def test_the_time_runs_while_an_entry_waits_and_stops_with_its_end(superuser: Client) -> None:
    at = database_now(None) - timedelta(minutes=90)
    loan = LoanFactory(overbooking_rate=0, now=at)
    reserved(loan, loan.amount, now=at)
    waiting(loan, now=at)
    ended = waiting(loan, now=at)
    WaitingListEntry.objects.filter(pk=ended.pk).update(state="left", ended_at=at + timedelta(minutes=20))
    page = superuser.get("/admin/loans/waitinglistentry/").content.decode()
    assert [page.count(waited) for waited in ("1:30:00", "0:20:00")] == [1, 1]
