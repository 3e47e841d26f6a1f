"""Watchers are told once of an opening and of dollars that are available again, and again only when they looked or a day passed."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail

from loans.domain.actors import Actor
from loans.domain.watches import QUIET
from loans.models import Delivery, Investor, Loan, Reservation, Watch, WatchNotice
from loans.notifications.deliveries import deliver_due
from loans.notifications.watches import notify_watchers
from loans.services.loans import announce_loan, extend_loan, open_announced_loans, withdraw_loan
from loans.services.reservations import cancel_reservation
from loans.services.watches import note_that_seen, stop_watching, watch_loan
from tests.factories import NOON, STAFF, DraftFactory, InvestorFactory, LoanFactory, fresh, reserved, waiting

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def minutes(number: int) -> datetime:
    return NOON + number * MINUTE


def watching(loan: Loan, *, now: datetime = NOON, **fields: Any) -> Investor:
    investor: Investor = InvestorFactory(**fields)
    watch_loan(investor_id=investor.pk, reference=loan.reference, now=now)
    return investor


def look(investor: Investor, loan: Loan, now: datetime) -> None:
    assert note_that_seen(investor_id=investor.pk, reference=loan.reference, now=now)


def full_loan(**fields: Any) -> tuple[Loan, Reservation]:
    """A loan of which nothing is available, and the reservation that holds all of it."""
    loan = LoanFactory(overbooking_rate=Decimal(0), **fields)
    return loan, reserved(loan, 100_000)


def give_up(reservation: Reservation, now: datetime) -> None:
    actor = Actor("investor", reservation.investor.user_id)
    cancel_reservation(reservation_id=reservation.pk, actor=actor, investor_id=reservation.investor_id, now=now)


def events() -> list[tuple[str, str]]:
    return [(notice.watch.investor.user.email, notice.event) for notice in WatchNotice.objects.order_by("at", "watch_id")]


def test_dollars_that_are_available_again_are_told_once() -> None:
    loan, held = full_loan(title="A house")
    kim = watching(loan, user__username="kim", name="Kim")
    assert notify_watchers(minutes(1)) == 0
    give_up(held, minutes(2))
    assert [notify_watchers(minutes(number)) for number in (3, 4, 60)] == [1, 0, 0]
    assert notify_watchers(minutes(3) + 2 * QUIET) == 0, "nothing has changed since"
    deliver_due(minutes(4))
    (email,) = [email for email in mail.outbox if email.to == [kim.user.email]]
    assert email.subject == f"Dollars of loan {loan.reference} are available"
    assert "up to $100,000.00" in email.body
    assert "Hello Kim," in email.body
    assert "A house" in email.body
    delivery = Delivery.objects.get(watch_notice__watch__investor=kim)
    assert (delivery.status, delivery.endpoint, delivery.transition) == ("sent", None, None)
    assert email.extra_headers["Message-ID"].startswith(f"<msg_{delivery.watch_notice_id.hex}@")


def test_the_second_time_within_a_day_is_told_when_the_day_is_over() -> None:
    loan, held = full_loan()
    watching(loan)
    give_up(held, minutes(2))
    assert notify_watchers(minutes(3)) == 1
    held = reserved(loan, 100_000, now=minutes(4))
    assert notify_watchers(minutes(5)) == 0
    give_up(held, minutes(6))
    assert [notify_watchers(minutes(number)) for number in (7, 8)] == [0, 0]
    assert notify_watchers(minutes(3) + QUIET - MINUTE) == 0
    assert notify_watchers(minutes(3) + QUIET) == 1


def test_who_has_looked_is_told_of_what_changes_afterwards() -> None:
    loan, held = full_loan()
    kim = watching(loan)
    give_up(held, minutes(2))
    assert notify_watchers(minutes(3)) == 1
    look(kim, loan, minutes(4))
    assert notify_watchers(minutes(5)) == 0, "they have seen it"
    held = reserved(loan, 100_000, now=minutes(6))
    notify_watchers(minutes(7))
    give_up(held, minutes(8))
    assert notify_watchers(minutes(9)) == 1


def test_who_sees_a_full_loan_before_the_job_does_is_told_all_the_same() -> None:
    """The job last saw the loan available. It was full when the investor looked, and is free when the job looks again."""
    loan = LoanFactory(overbooking_rate=Decimal(0))
    kim = watching(loan)
    notify_watchers(minutes(1))
    held = reserved(loan, 100_000, now=minutes(2))
    look(kim, loan, minutes(3))
    give_up(held, minutes(4))
    assert notify_watchers(minutes(5)) == 1
    lea_held = reserved(loan, 100_000, now=minutes(6))
    watching(loan, now=minutes(7), user__username="lea")
    give_up(lea_held, minutes(8))
    notify_watchers(minutes(9))
    assert ("lea@example.org", "available") in events()


def test_who_sees_the_dollars_themselves_is_not_told() -> None:
    loan, held = full_loan()
    kim = watching(loan)
    give_up(held, minutes(2))
    look(kim, loan, minutes(3))
    assert notify_watchers(minutes(4)) == 0


@pytest.mark.parametrize("is_full", [False, True])
def test_an_opening_is_told_even_where_nothing_is_left(is_full: bool) -> None:
    draft = DraftFactory(overbooking_rate=Decimal(0))
    loan = announce_loan(reference=draft.reference, opens_at=minutes(60), closes_at=minutes(6000), actor=STAFF, now=NOON)
    watching(loan, user__username="kim")
    assert notify_watchers(minutes(59)) == 0
    open_announced_loans(minutes(60))
    if is_full:
        reserved(loan, 100_000, now=minutes(60))
    assert [notify_watchers(minutes(number)) for number in (61, 62)] == [1, 0]
    assert events() == [("kim@example.org", "opened")]
    deliver_due(minutes(61))
    (email,) = [email for email in mail.outbox if email.to == ["kim@example.org"]]
    assert email.subject == f"Loan {loan.reference} has opened"
    assert ("All of it is reserved" in email.body) == is_full
    assert ("up to $100,000.00" in email.body) != is_full


def test_less_than_anybody_may_reserve_is_not_told() -> None:
    loan = LoanFactory(overbooking_rate=Decimal(0), minimum=Decimal(5_000))
    part, _ = reserved(loan, 6_000), reserved(loan, 94_000)
    watching(loan)
    waits = waiting(loan, 3_000 + 2_000)
    give_up(part, minutes(1))
    assert fresh(waits).state == "placed"
    assert notify_watchers(minutes(2)) == 0, "1,000 dollars are below the minimum"


def test_dollars_of_the_waiting_list_are_not_told() -> None:
    loan, held = full_loan()
    watching(loan)
    waiting(loan, 100_000)
    give_up(held, minutes(1))
    assert notify_watchers(minutes(2)) == 0


def test_who_stopped_and_loans_that_are_gone_are_left_out() -> None:
    loan, held = full_loan()
    stopped = watching(loan)
    watching(loan, user__email="")
    watching(loan, user__is_active=False)
    stop_watching(investor_id=stopped.pk, reference=loan.reference, now=minutes(1))
    stop_watching(investor_id=stopped.pk, reference=loan.reference, now=minutes(2))
    assert Watch.objects.get(investor=stopped).ended_at == minutes(1)
    give_up(held, minutes(2))
    assert notify_watchers(minutes(3)) == 0
    withdrawn, _ = full_loan()
    watching(withdrawn)
    withdraw_loan(reference=withdrawn.reference, actor=STAFF, reason="a test", now=minutes(4))
    assert notify_watchers(minutes(5)) == 0
    past, held = full_loan(closes_at=minutes(600))
    watching(past)
    give_up(held, minutes(1))
    assert notify_watchers(past.closes_at) == 0


def test_a_run_makes_a_batch_and_the_next_one_the_rest() -> None:
    loan, held = full_loan()
    for _ in range(5):
        watching(loan)
    give_up(held, minutes(1))
    assert [notify_watchers(minutes(2), batch=2) for _ in range(4)] == [2, 2, 1, 0]
    assert Delivery.objects.exclude(watch_notice=None).count() == 5


def test_an_extended_loan_is_told() -> None:
    loan = LoanFactory(closes_at=minutes(60))
    watching(loan)
    assert notify_watchers(minutes(61)) == 0
    extend_loan(reference=loan.reference, closes_at=minutes(6000), actor=STAFF, reason="a test", now=minutes(62))
    assert notify_watchers(minutes(63)) == 1
