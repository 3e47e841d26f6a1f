"""Play random histories on the system and on the model: investors, the bank, the clock, staff and jobs in any order.

After each step, every reservation is compared with the model's, and the sums of the loan and of its reservations are computed again
from the rows that they are sums of. HISTORIES_SEED repeats a run.
"""

import os
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from loans.domain.actors import Actor
from loans.models import Investor, Loan, Reservation, ReviewItem, Transfer
from loans.selectors.offers import loan_offer
from loans.services import reservations as reservation_services
from loans.services import staff_overrides
from loans.services.bank_events import record_bank_event
from loans.services.expiry import expire_due
from loans.services.loans import close_loan_at_settled, extend_loan, withdraw_loan
from loans.services.reservations import cancel_reservation, start_transfer
from loans.services.settlement import settle_ahead_of_turn, settle_due
from loans.services.staff_overrides import extend_reservation, reinstate_reservation
from peerloans.errors import Problem
from tests.factories import NOON, STAFF, UNLIMITED, InvestorFactory, LoanFactory, notice
from tests.histories import model

pytestmark = pytest.mark.django_db
AMOUNT, PERCENT, OPEN_FOR = 10_000_00, 20, timedelta(days=12)
STEPS_EACH = 50
BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a reason"}
RESERVATIONS_WITH_SUMS = """
    SELECT reservation.*,
        (SELECT COALESCE(sum(amount), 0) FROM loans_transfer WHERE reservation_id = reservation.id AND status = 'cleared') AS cleared,
        (SELECT COALESCE(sum(amount), 0) FROM loans_transfer
            WHERE reservation_id = reservation.id AND status IN ('due', 'paid')) AS going_back,
        (
            SELECT to_state FROM loans_transition WHERE reservation_id = reservation.id AND transfer_id IS NULL ORDER BY id DESC LIMIT 1
        ) AS last_state
    FROM loans_reservation AS reservation WHERE loan_id = %s ORDER BY number
"""

any_reservation = st.integers(0, 15)  # an even number picks among the live reservations, if there are any; 0 and 1 pick the newest
how_far = st.sampled_from(["reserved", "pending", "funded", "funded"])
sums = st.one_of(st.sampled_from([1_000_00, 2_500_00, 3_333_33, 6_000_00, 9_999_99]), st.integers(900_00, 10_000_00))
surplus = st.sampled_from([0, 0, 0, 0, 0, -1, 1, -200_00, 500_00])


def dollars(cents: int) -> Decimal:
    return Decimal(cents).scaleb(-2)


def cents(amount: Decimal) -> int:
    return int(amount.scaleb(2))


class History(RuleBasedStateMachine):
    investors: ClassVar[list[Investor]] = []
    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.undone = transaction.atomic()
        self.undone.__enter__()
        loan = LoanFactory(amount=dollars(AMOUNT), now=NOON, closes_at=NOON + OPEN_FOR)
        self.loan_id, self.reference = loan.pk, loan.reference
        self.model = model.Model(AMOUNT, PERCENT, NOON, NOON + OPEN_FOR)
        self.ids: list[Any] = []  # of the system's reservations, in the model's order
        self.references: dict[model.Payments, str] = {}
        self.last_event: Any = None

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undone.__exit__(None, None, None)

    # --- One step, in the system and in the model ---------------------------------------------------------------------
    def step(self, in_system: Callable[[], Any], in_model: Callable[[], None]) -> Any:
        """Let both do it, or both refuse it. Time moves on a little."""
        History.steps += 1
        self.pass_time(timedelta(microseconds=1))
        try:
            in_model()
        except model.Refused:
            with pytest.raises(Problem), transaction.atomic():
                in_system()
            return None
        return in_system()

    def pass_time(self, time: timedelta) -> None:
        self.now += time
        self.model.pass_time(self.now)

    def pick(self, number: int) -> tuple[model.Reservation, Any]:
        among = (not number % 2 and self.model.live) or self.model.reservations
        reservation = among[-1 - number // 2 % len(among)]
        return reservation, self.ids[reservation.number - 1]

    def on(self, reservation_id: Any, verb: Callable[..., Any], **values: Any) -> Callable[[], Any]:
        return lambda: verb(reservation_id=reservation_id, now=self.now, **values)

    have_reservations = precondition(lambda self: self.ids)
    have_transfers = precondition(lambda self: self.references)

    # --- Investors ----------------------------------------------------------------------------------------------------
    def reserve_cents(self, amount: int) -> None:
        investor = self.investors[len(self.ids) % len(self.investors)]
        reserved = self.step(
            lambda: reservation_services.reserve(reference=self.reference, investor=investor, amount=dollars(amount), now=self.now),
            lambda: self.model.reserve(amount),
        )
        if reserved:
            self.ids.append(reserved.pk)

    @rule(amount=sums)
    def reserve(self, amount: int) -> None:
        self.reserve_cents(amount)

    @rule(more=st.sampled_from([0, 0, 1, -1]))
    def reserve_what_is_available(self, more: int) -> None:
        self.reserve_cents(max(1, self.model.available + more))

    @initialize(reservations=st.lists(st.tuples(sums, how_far), min_size=2, max_size=4))
    def start_with_some_reservations(self, reservations: list[tuple[int, str]]) -> None:
        for amount, far in reservations:
            self.reserve_and_go_on(min(amount, max(self.model.available, 1)), far)

    @rule(amount=sums, far=how_far)
    def reserve_and_go_on(self, amount: int, far: str) -> None:
        reservations = len(self.ids)
        self.reserve_cents(amount)
        if len(self.ids) > reservations and far != "reserved":
            self.start_transfer(0)
        if len(self.ids) > reservations and far == "funded":
            self.money_clears(0, 0)

    @have_reservations
    @rule(newest=any_reservation)
    def start_transfer(self, newest: int) -> None:
        reservation, reservation_id = self.pick(newest)
        owner = Reservation.objects.get(pk=reservation_id).investor_id
        self.step(
            self.on(reservation_id, start_transfer, method="ach", actor=Actor("investor"), investor_id=owner),
            lambda: self.model.start_transfer(reservation),
        )
        if reservation.transfers and reservation.transfers[-1] not in self.references:
            newest_transfer = Transfer.objects.filter(reservation=reservation_id, direction="inbound", payment_number=1).latest(
                "created_at"
            )
            self.references[reservation.transfers[-1]] = newest_transfer.reference

    @have_reservations
    @rule(newest=any_reservation)
    def cancel(self, newest: int) -> None:
        reservation, reservation_id = self.pick(newest)
        owner = Reservation.objects.get(pk=reservation_id).investor_id
        self.step(
            self.on(reservation_id, cancel_reservation, actor=Actor("investor"), investor_id=owner), lambda: self.model.cancel(reservation)
        )

    # --- The bank -----------------------------------------------------------------------------------------------------
    def bank_reports(self, kind: str, payments: model.Payments, amount: int, in_model: Callable[[], None]) -> None:
        event = notice(kind, self.references[payments], dollars(amount), occurred_at=self.now + timedelta(microseconds=1))
        self.last_event = event, self.step(lambda: record_bank_event(event, now=self.now), in_model)

    @precondition(lambda self: self.last_event)
    @rule()
    def the_bank_repeats_itself(self) -> None:
        event, outcome = self.last_event
        again = self.step(lambda: record_bank_event(event, now=self.now), lambda: None)
        assert again == outcome

    def pick_payments(self, newest: int) -> tuple[model.Reservation, model.Payments]:
        payments = list(self.references)[-1 - newest % len(self.references)]
        return next(reservation for reservation in self.model.reservations if payments in reservation.transfers), payments

    @have_transfers
    @rule(newest=any_reservation, surplus=surplus)
    def money_clears(self, newest: int, surplus: int) -> None:
        reservation, payments = self.pick_payments(newest)
        amount = max(1, reservation.amount + surplus)
        self.bank_reports("transfer.cleared", payments, amount, lambda: self.model.clear(reservation, payments, amount))

    @precondition(lambda self: any(payments.status == "initiated" for payments in self.references))
    @rule(surplus=surplus)
    def awaited_money_clears(self, surplus: int) -> None:
        payments = next(payments for payments in self.references if payments.status == "initiated")
        reservation = next(reservation for reservation in self.model.reservations if payments in reservation.transfers)
        amount = max(1, reservation.amount + surplus)
        self.bank_reports("transfer.cleared", payments, amount, lambda: self.model.clear(reservation, payments, amount))

    @have_transfers
    @rule(newest=any_reservation, surplus=surplus)
    def money_fails(self, newest: int, surplus: int) -> None:
        reservation, payments = self.pick_payments(newest)
        amount = max(1, reservation.amount + surplus)
        self.bank_reports("transfer.failed", payments, amount, lambda: self.model.fail(reservation, payments, amount))

    @precondition(lambda self: any(reservation.due for reservation in self.model.reservations))
    @rule()
    def refund_is_paid(self) -> None:
        # A reservation that lapsed at this instant may not have expired yet, and then has no refund yet.
        refund = Transfer.objects.filter(status="due", reservation__loan=self.loan_id).order_by("created_at", "id").first()
        if refund:
            reservation = self.model.reservations[self.ids.index(refund.reservation_id)]
            self.step(
                lambda: record_bank_event(notice("refund.paid", refund.reference, refund.amount), now=self.now),
                lambda: self.model.pay(reservation, cents(refund.amount)),
            )

    # --- Clock and jobs -----------------------------------------------------------------------------------------------
    @rule(hours=st.sampled_from([0.1, 0.1, 0.1, 1, 1, 6, 24, 72]))
    def time_passes(self, hours: float) -> None:
        self.step(lambda: None, lambda: self.pass_time(timedelta(hours=hours)))

    @precondition(lambda self: any(reservation.expires_at for reservation in self.model.live))
    @rule(early=st.integers(0, 2))
    def time_passes_to_a_deadline(self, early: int) -> None:
        deadline = min(reservation.expires_at for reservation in self.model.live if reservation.expires_at) - timedelta(microseconds=early)
        if deadline > self.now:
            self.step(lambda: None, lambda: self.pass_time(deadline - self.now))

    @rule(batch=st.sampled_from([0, 0, 1, 2]))
    def job_runs(self, batch: int) -> None:
        if batch:
            self.step(lambda: expire_due(self.now, batch=batch), lambda: None)
            assert not Reservation.objects.filter(expires_at__lte=self.now).exists()
        else:
            self.step(lambda: settle_due(self.now), self.model.settle)
        assert not ReviewItem.objects.filter(kind="job_failed").exists()

    # --- Staff --------------------------------------------------------------------------------------------------------
    @have_reservations
    @rule(newest=any_reservation, verb=st.sampled_from(["cancel_by_staff", "accept_amount"]))
    def staff_act(self, newest: int, verb: str) -> None:
        reservation, reservation_id = self.pick(newest)
        self.step(self.on(reservation_id, getattr(staff_overrides, verb), **BY_STAFF), lambda: getattr(self.model, verb)(reservation))

    @precondition(lambda self: any(reservation.state == "canceled" for reservation in self.model.reservations))
    @rule(newest=st.integers(0, 3))
    def reinstate(self, newest: int) -> None:
        canceled = [reservation for reservation in self.model.reservations if reservation.state == "canceled"]
        reservation = canceled[-1 - newest % len(canceled)]
        self.step(self.on(self.ids[reservation.number - 1], reinstate_reservation, **BY_STAFF), lambda: self.model.reinstate(reservation))

    @have_reservations
    @rule(newest=any_reservation)
    def settle_ahead(self, newest: int) -> None:
        reservation, reservation_id = self.pick(newest)
        self.step(self.on(reservation_id, settle_ahead_of_turn, **BY_STAFF), lambda: self.model.settle_ahead(reservation))

    @have_reservations
    @rule(newest=any_reservation, hours=st.sampled_from([1, 30, 300]))
    def extend_reservation(self, newest: int, hours: int) -> None:
        reservation, reservation_id = self.pick(newest)
        until = self.now + timedelta(hours=hours)
        self.step(
            self.on(reservation_id, extend_reservation, expires_at=until, **BY_STAFF),
            lambda: self.model.extend_reservation(reservation, until),
        )

    @rule(days=st.integers(1, 12), rarely=st.integers(0, 9))
    def loan_verbs(self, days: int, rarely: int) -> None:
        closes_at: datetime = self.now + timedelta(days=days)
        verbs: list[tuple[Callable[[], Any], Callable[[], None]]] = [
            (
                lambda: extend_loan(reference=self.reference, closes_at=closes_at, now=self.now, **BY_STAFF),
                lambda: self.model.extend_loan(closes_at),
            ),
            (lambda: close_loan_at_settled(reference=self.reference, now=self.now, **BY_STAFF), self.model.close_at_settled),
            (lambda: withdraw_loan(reference=self.reference, now=self.now, **BY_STAFF), self.model.withdraw),
        ]
        if rarely < 2 or (rarely == 2 and days < 4):
            self.step(*verbs[rarely])

    # --- What must hold after each step -------------------------------------------------------------------------------
    @invariant()
    def the_system_agrees_with_the_model_and_its_sums_are_right(self) -> None:
        offer, rows = loan_offer(self.reference, self.now), self.rows()
        loan = offer.loan
        self.check_sums(loan, rows)
        expected = self.model
        assert (loan.status, cents(loan.amount), loan.closes_at) == (expected.status, expected.amount, expected.closes_at)
        assert cents(loan.remaining) == expected.remaining
        assert cents(offer.available) == expected.available
        for row, reservation in zip(rows, expected.reservations, strict=True):
            if row.expires_at and row.expires_at <= self.now:  # lapsed, and not expired yet
                row.state, row.cause, row.expires_at, row.refunded = "canceled", "expired", None, row.received + row.lost
            actual = (row.number, row.state, row.cause, cents(row.amount), cents(row.settled_amount), row.expires_at, bool(row.funded_at))
            assert actual == (
                reservation.number,
                reservation.state,
                reservation.cause,
                reservation.amount,
                reservation.settled,
                reservation.expires_at,
                reservation.funded,
            )
            money = tuple(cents(amount) for amount in (row.received, row.refunded, row.lost, row.waiting))
            assert money == (reservation.received, reservation.due + reservation.paid, reservation.lost, reservation.waiting)

    def check_sums(self, loan: Loan, rows: list[Any]) -> None:
        assert loan.claimed == sum(row.amount for row in rows if row.state in model.LIVE)
        assert loan.settled == sum(row.settled_amount for row in rows)
        assert loan.last_number == len(rows)
        for row in rows:
            assert (row.received, row.refunded) == (row.cleared, row.going_back)
            assert row.last_state == row.state, "history ends where the row stands"

    def rows(self) -> list[Any]:
        return list(Reservation.objects.raw(RESERVATIONS_WITH_SUMS, [self.loan_id]))


def play(steps: int, phases: Sequence[Phase]) -> None:
    first_seed = int(os.environ.get("HISTORIES_SEED") or random.getrandbits(32))
    print(f"HISTORIES_SEED={first_seed}")  # noqa: T201 - pytest shows it when the test fails
    History.investors, History.steps = [InvestorFactory(**UNLIMITED) for _ in range(model.INVESTORS)], 0
    options = settings(
        max_examples=10,
        stateful_step_count=STEPS_EACH,
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    while History.steps < steps:
        run_state_machine_as_test(seed(first_seed + History.steps)(History), settings=options)


def test_random_histories_leave_the_system_where_the_model_is() -> None:
    play(2_000, [Phase.generate])  # shrinking a failing history can take minutes, so only the long run does it


@pytest.mark.long
def test_many_random_histories_leave_the_system_where_the_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        play(100_000, [Phase.generate, Phase.shrink])
