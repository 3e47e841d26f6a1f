"""The demo's bank: the outcomes of transfers as tables, the command against a real server on this machine."""

import json
import os
import signal
import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django.fixtures import Settings
from standardwebhooks import Webhook

from loans.demo import sandbox_bank
from loans.demo.sandbox_bank import Habits
from loans.models import Reservation, Transfer
from loans.models.fields import new_secret
from loans.services.bank_events import record_bank_event
from tests import factories
from tests.factories import HOURS_24, NOON, LoanFactory
from tests.loans.notifications.listener import Listener

pytestmark = pytest.mark.django_db

DELAY = timedelta(seconds=20)
LATER = NOON + 2 * DELAY
SECRET = new_secret()


def habits(*, fail: float = 0, late: float = 0, short: float = 0, seed: int = 1) -> Habits:
    return Habits(DELAY, fail, late, short, seed)


@pytest.mark.parametrize(
    ("habit", "kind", "amount"),
    [
        (habits(), "transfer.cleared", "10000.00"),
        (habits(fail=1), "transfer.failed", "10000.00"),
        (habits(short=1), "transfer.cleared", "9999.99"),
        (habits(late=1), None, None),
    ],
)
def test_a_started_transfer_has_its_outcome_after_a_while(habit: Habits, kind: str | None, amount: str | None) -> None:
    transfer = factories.inbound(factories.pending(LoanFactory()))
    assert sandbox_bank.notice_of(transfer, habit, NOON + DELAY * 0.49) is None
    notice = sandbox_bank.notice_of(transfer, habit, LATER)
    assert (notice and notice.type, notice and str(notice.amount)) == (kind, amount)


def test_late_money_comes_after_its_deadline() -> None:
    reservation = factories.pending(LoanFactory())
    transfer = factories.inbound(reservation)
    assert reservation.expires_at
    assert sandbox_bank.notice_of(transfer, habits(late=1), reservation.expires_at - timedelta(seconds=1)) is None
    notice = sandbox_bank.notice_of(transfer, habits(late=1), reservation.expires_at)
    assert notice
    assert record_bank_event(notice, now=reservation.expires_at) == "late_money"


def test_refunds_due_are_paid_whatever_the_habits() -> None:
    reservation = factories.funded(LoanFactory())
    factories.money_comes(reservation, 500)
    (notice,) = sandbox_bank.notices(habits(fail=1), LATER)
    refund = Transfer.objects.get(direction="refund")
    assert (notice.type, notice.reference, notice.amount) == ("refund.paid", refund.reference, Decimal("500.00"))
    assert record_bank_event(notice, now=LATER) == "paid"
    assert list(sandbox_bank.notices(habits(), LATER + HOURS_24)) == []


def test_transfers_from_before_a_given_instant_are_ignored() -> None:
    factories.pending(LoanFactory())
    assert len(list(sandbox_bank.notices(replace(habits(), since=NOON), LATER))) == 1
    assert list(sandbox_bank.notices(replace(habits(), since=NOON + timedelta(seconds=1)), LATER)) == []


def test_the_same_seed_gives_the_same_outcomes_and_another_seed_others() -> None:
    transfers = [Transfer(reference=f"T-{n}", amount=Decimal(1000), created_at=NOON, direction="inbound") for n in range(300)]
    for transfer in transfers:
        transfer.reservation = Reservation(state="pending", expires_at=NOON + HOURS_24)

    def outcomes(seed: int) -> list[str]:
        habit = habits(fail=0.2, late=0.2, short=0.2, seed=seed)
        return [
            f"{notice.type} {notice.amount}" if (notice := sandbox_bank.notice_of(transfer, habit, LATER)) else "" for transfer in transfers
        ]

    first = outcomes(1)
    assert first == outcomes(1) != outcomes(2)
    shares = {outcome: first.count(outcome) / 300 for outcome in first}
    assert shares == {
        "transfer.cleared 1000": pytest.approx(0.4, abs=0.1),
        "transfer.failed 1000": pytest.approx(0.2, abs=0.1),
        "transfer.cleared 999.99": pytest.approx(0.2, abs=0.1),
        "": pytest.approx(0.2, abs=0.1),
    }


@pytest.fixture
def in_debug(settings: Settings) -> None:
    settings.DEBUG = True
    settings.BANK_WEBHOOK_SECRETS = [SECRET, "another"]


def run(listener: Listener, **options: Any) -> None:
    habits = {"delay": 0, "every": 0, "fail": 0, "late": 0, "short": 0}
    call_command("sandbox_bank", site=f"http://127.0.0.1:{listener.server_port}/", **(habits | options))


def test_events_are_signed_and_have_the_api_s_shape(in_debug: None, listener: Listener, capsys: pytest.CaptureFixture[str]) -> None:
    transfer = factories.inbound(factories.pending(LoanFactory()))
    run(listener, once=True)
    ((headers, body),) = listener.got
    event = Webhook(SECRET).verify(body, headers)
    assert event.keys() == {"id", "type", "reference", "amount", "occurred_at"}
    assert (event["type"], event["reference"], event["amount"]) == ("transfer.cleared", transfer.reference, "10000.00")
    assert event["id"] == headers["webhook-id"]
    assert listener.paths == ["/api/v1/bank-events/"]
    assert capsys.readouterr().out == f"transfer.cleared {transfer.reference} 10000.00\n"


def test_a_refused_event_is_sent_again_with_the_same_id(in_debug: None, listener: Listener) -> None:
    factories.pending(LoanFactory())
    listener.status = 503
    with pytest.raises(CommandError, match="did not take"):
        run(listener, once=True)
    listener.status = 202
    run(listener, once=True)
    assert len({json.loads(body)["id"] for _, body in listener.got}) == 1
    assert len(listener.got) == 2


def test_a_site_that_is_down_is_reported(in_debug: None, listener: Listener, capsys: pytest.CaptureFixture[str]) -> None:
    factories.pending(LoanFactory())
    with pytest.raises(CommandError):
        call_command("sandbox_bank", site="http://127.0.0.1:1", delay=0, once=True)
    assert "http://127.0.0.1:1/api/v1/bank-events/ does not answer" in capsys.readouterr().err


def test_sigterm_ends_the_command_cleanly(in_debug: None, listener: Listener) -> None:
    """The signal comes while the first event is being sent; the command ends without a second round."""
    factories.pending(LoanFactory())
    listener.then = threading.Event()
    killer = threading.Thread(target=lambda: (listener.then.wait(30), os.kill(os.getpid(), signal.SIGTERM)))  # type: ignore[union-attr]
    original = signal.signal(signal.SIGTERM, before := lambda *_: None)
    try:
        killer.start()
        run(listener, every=30)
        killer.join()
        assert listener.got
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        killer.join()
        signal.signal(signal.SIGTERM, original)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fail": 0.6, "short": 0.5}, "more than 1"),
        ({"site": "localhost:8000"}, "http://host:port"),
    ],
)
def test_contradicting_options_are_refused(in_debug: None, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("sandbox_bank", once=True, **options)


@pytest.mark.parametrize("option", ["--fail=2", "--late=-1", "--short=x", "--delay=-1", "--delay=nan", "--fail=nan"])
def test_numbers_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(CommandError, match=option[2:6]):
        call_command("sandbox_bank", option)


def test_without_debug_the_command_refuses() -> None:
    with pytest.raises(CommandError, match="only with DEBUG on"):
        call_command("sandbox_bank", once=True)
