from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from cbsa.models import Dataset
from loans import remaining_cache
from loans.audit.reconciliation import find_breaches
from loans.audit.verify_history import verify_loan_history
from loans.demo import scenario
from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK
from loans.domain.states import LIVE, Direction, LoanStatus, State, TransferStatus
from loans.models import Delivery, Investor, Loan, Reservation, ReviewItem, Transfer, Transition, User
from loans.notifications import outbox
from loans.selectors.loans import all_loan_ids
from loans.services.payments import Notice, record_bank_event
from loans.services.reservations import cancel_reservation

pytestmark = pytest.mark.django_db
ZERO = Decimal(0)


def seed(settings) -> str:  # type: ignore[no-untyped-def]
    settings.DEBUG = True
    said = StringIO()
    call_command("seed_demo", stdout=said)
    return said.getvalue()


@pytest.mark.django_db(transaction=True)
def test_it_shows_every_state_and_leaves_something_to_try(settings) -> None:  # type: ignore[no-untyped-def]
    settings.TIME_LAPSE = 100_000.0  # spoils the present alone, not the past
    said = seed(settings)
    assert settings.TIME_LAPSE == 100_000.0
    assert "password demo" in said
    assert Loan.objects.filter(market_msa__gt="").values("market_msa").distinct().count() >= 12
    assert set(Loan.objects.values_list("status", flat=True)) == set(LoanStatus)
    assert set(Reservation.objects.values_list("state", flat=True)) == set(State)
    seen = set(Transfer.objects.values_list("status", flat=True))
    assert seen == set(TransferStatus) - {TransferStatus.VOID}
    told = set(ReviewItem.objects.values_list("kind", flat=True))
    assert told == {"transfer_failed", "amount_differs", "late_money", "deadline_missed", "second_payment"}
    assert Loan.objects.filter(status="open", settled__gte=F("amount") * Decimal("0.95")).exists()
    assert Loan.objects.filter(status="open", claimed__gt=F("amount") - F("settled")).exists()
    users = {user.username: user for user in User.objects.all()}
    assert all(user.check_password("demo") for user in (users["staff"], users["investor20"]))
    assert users["staff"].is_superuser
    assert users["investor20"].investor
    assert Investor.objects.exclude(user__email="").count() == 20
    assert remaining_cache.compare(all_loan_ids()).drift == []

    assert outbox.fan_out() == 0  # of what was played nobody is told, but of what comes
    assert not Delivery.objects.exists()

    reserved = Reservation.objects.filter(state=State.RESERVED, expires_at__gt=timezone.now()).first()
    assert reserved
    cancel_reservation(reservation_id=reserved.pk, actor=Actor("investor"), investor_id=reserved.investor_id)
    coming = Transfer.objects.filter(status=TransferStatus.INITIATED, reservation__expires_at__gt=timezone.now()).first()
    assert coming
    notice = Notice("try", "transfer.cleared", coming.reference, coming.amount, timezone.now())
    assert record_bank_event(notice) == "funded"
    assert outbox.fan_out()
    assert Delivery.objects.exists()

    before = Loan.objects.count(), Transition.objects.count(), Dataset.objects.count()
    with pytest.raises(CommandError, match="only fills an empty database") as refusal:
        seed(settings)
    assert refusal.value.returncode == 1
    assert (Loan.objects.count(), Transition.objects.count(), Dataset.objects.count()) == before


def test_its_money_adds_up_and_the_same_happens_on_whichever_day_it_is_played() -> None:
    late_on_a_sunday, just_after_midnight_with_a_holiday_behind = "2026-11-22T23:58", "2026-07-08T00:02"
    assert told_on(late_on_a_sunday) == told_on(just_after_midnight_with_a_holiday_behind)


def told_on(day: str) -> list[tuple[str, str, Decimal]]:
    now = datetime.fromisoformat(day).replace(tzinfo=NEW_YORK)
    with transaction.atomic():
        scenario.fill(now)
        history = Transition.objects.order_by("loan__reference", "id")
        assert not history.filter(at__gt=now).exists()
        assert not history.filter(at__lt=now - timedelta(days=26)).exists()
        assert [loan.created_at for loan in Loan.objects.order_by("id")] == [
            row.at for row in history.filter(event="created").order_by("loan_id")
        ]
        told = list(history.values_list("loan__reference", "event", "amount"))
        assert_the_money_adds_up(now)
        transaction.set_rollback(True)
    return told


def assert_the_money_adds_up(now: datetime) -> None:
    def total(direction: Direction, *statuses: TransferStatus) -> Coalesce:
        asked = Q(transfers__direction=direction, transfers__status__in=statuses)
        return Coalesce(Sum("transfers__amount", filter=asked), ZERO)

    reservations = Reservation.objects.annotate(
        came=total(Direction.INBOUND, TransferStatus.CLEARED), goes=total(Direction.REFUND, TransferStatus.DUE, TransferStatus.PAID)
    )
    for reservation in reservations:
        waits = reservation.came - reservation.settled_amount - reservation.goes
        assert waits == reservation.waiting >= 0
        assert not waits or reservation.state == State.PENDING
    for loan in Loan.objects.all():
        sums = loan.reservations.aggregate(
            settled=Coalesce(Sum("settled_amount"), ZERO), claimed=Coalesce(Sum("amount", filter=Q(state__in=LIVE)), ZERO)
        )
        assert sums == {"settled": loan.settled, "claimed": loan.claimed}
    assert not [difference for _, differences in verify_loan_history() for difference in differences]
    assert not find_breaches(now)


def test_a_known_password_stays_on_machines_of_ones_own(settings) -> None:  # type: ignore[no-untyped-def]
    settings.DEBUG = False
    with pytest.raises(CommandError, match="DEBUG") as refusal:
        call_command("seed_demo")
    assert refusal.value.returncode == 1
    assert not Loan.objects.exists()
