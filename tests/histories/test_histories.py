"""Play random histories on the system and on the model: investors, the bank, the clock, staff and jobs in any order.

After each step, every reservation is compared with the model's, and the sums of the loan and of its reservations are computed again
from the rows that they are sums of. HISTORIES_SEED repeats a run.
"""

import os
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from loans.domain.actors import Actor
from loans.models import (
    Investor,
    Loan,
    Reservation,
    ReviewItem,
    StandingOrder,
    StandingOrderTransition,
    Transfer,
    WaitingListEntry,
)
from loans.selectors.offers import loan_offer
from loans.selectors.standing_orders import used_dollars
from loans.services import reservations as reservation_services
from loans.services import staff_overrides
from loans.services.bank_events import Notice, answer_another_payment, answer_same_payment, assign_bank_event, record_bank_event
from loans.services.expiry import expire_due
from loans.services.loans import announce_loan, close_loan_at_settled, extend_loan, open_announced_loans, open_loan, withdraw_loan
from loans.services.payment_files import send_refunds
from loans.services.reservations import cancel_reservation, start_transfer
from loans.services.settlement import settle_ahead_of_turn, settle_due
from loans.services.staff_overrides import extend_reservation, reinstate_reservation
from loans.services.standing_orders import end_standing_order, pause_standing_order, resume_standing_order
from loans.services.waiting_list import join_waiting_list, leave_waiting_list, remove_from_waiting_list, serve_waiting_lists
from peerloans.errors import Problem
from tests.factories import NOON, STAFF, UNLIMITED, DraftFactory, InvestorFactory, standing_order
from tests.histories import model
from tests.histories.bank import SOURCES, Account, Report

pytestmark = pytest.mark.django_db
AMOUNT, PERCENT, OPENS_IN, OPEN_FOR = 10_000_00, 20, timedelta(hours=1), timedelta(days=12)
STEPS_EACH = 50
USUAL_SEED = 101  # of the short run; the long one draws another each time
NOTICE_TYPES: dict[tuple[bool, bool], Any] = {  # by whether it is inbound, and whether the money moved onward
    (True, True): "transfer.cleared",
    (True, False): "transfer.failed",
    (False, True): "refund.paid",
    (False, False): "refund.failed",
}
BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a reason"}
RESERVATIONS_WITH_SUMS = """
    SELECT reservation.*,
        (SELECT COALESCE(sum(moved), 0) FROM loans_transfer WHERE reservation_id = reservation.id AND direction = 'inbound') AS cleared,
        (
            SELECT COALESCE(sum(CASE WHEN status IN ('due', 'sent') THEN amount ELSE moved END), 0)
            FROM loans_transfer WHERE reservation_id = reservation.id AND direction = 'refund'
        ) AS going_back,
        (
            SELECT to_state FROM loans_transition WHERE reservation_id = reservation.id AND transfer_id IS NULL ORDER BY id DESC LIMIT 1
        ) AS last_state
    FROM loans_reservation AS reservation WHERE loan_id = %s ORDER BY number
"""

any_reservation = st.integers(0, 15)  # an even number picks among the live reservations, if there are any; 0 and 1 pick the newest
any_investor = st.integers(0, model.INVESTORS - 1)
how_far = st.sampled_from(["reserved", "pending", "funded", "funded"])
sums = st.one_of(st.sampled_from([1_000_00, 2_500_00, 3_333_33, 6_000_00, 9_999_99]), st.integers(900_00, 10_000_00))
ORDER_VERBS: dict[str, tuple[Callable[..., Any], str]] = {
    "pause": (pause_standing_order, "paused"),
    "resume": (resume_standing_order, "active"),
    "end": (end_standing_order, "ended"),
}
orders = st.builds(
    lambda investor, amount, less, cap, is_for_this_state: model.Order(investor, amount, amount - less, cap, is_for_this_state),
    any_investor,
    sums,
    st.sampled_from([0, 0, 500_00, 4_000_00, 9_000_00, -1]),
    st.sampled_from([3_000_00, 6_000_00, 50_000_00]),
    st.sampled_from([True, True, True, False]),
)
minutes = st.sampled_from([1, 1, 1, 0, 0, -1, -60, -1_440, -4_320, 60, 2_880])  # 0 is the time of what the bank did last
first_sources = st.sampled_from(["notice", "notice", "notice", "statement", "staff", None])  # None: not reported yet

# What the bank moves, from the amount that we expect and the balance of the reference: all, the rest, or a part, in cents.
Part = Callable[[int, int], int]
PARTS: list[Part] = [
    *[lambda amount, balance: amount] * 5,
    *[lambda amount, balance: max(1, amount - balance)] * 2,
    lambda amount, balance: max(1, amount // 2),
    lambda amount, balance: max(1, amount - 1),
    lambda amount, balance: amount + 1,
    lambda amount, balance: amount + 500_00,
    lambda amount, balance: 1,
]
parts = st.sampled_from(PARTS)
parts_back = st.sampled_from([*PARTS[:7], lambda amount, balance: balance, lambda amount, balance: 100_00, PARTS[-1]])
parts_out = st.sampled_from([*PARTS[:5], PARTS[7], PARTS[-1]])

Style = Callable[[str], str]
STYLES: list[Style | None] = [
    *[str] * 6,
    str.lower,
    lambda reference: f"Payment {reference.replace('-', ' ').lower()} of Ms. Payer",
    None,  # cannot be read
]
styles = st.sampled_from(STYLES)


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
        loan = DraftFactory(amount=dollars(AMOUNT), now=NOON)
        announce_loan(reference=loan.reference, opens_at=NOON + OPENS_IN, closes_at=NOON + OPEN_FOR, actor=STAFF, now=NOON)
        self.loan_id, self.reference = loan.pk, loan.reference
        self.model = model.Model(AMOUNT, PERCENT, NOON, NOON + OPEN_FOR)
        self.ids: list[Any] = []  # of the system's reservations, in the model's order
        self.orders: list[tuple[model.Order, StandingOrder]] = []
        self.entry_ids: list[Any] = []  # of its entries of the waiting list, in the model's order
        self.accounts: list[Account] = []  # of the bank, one for each reference
        self.delivered: list[tuple[Account, Report, str]] = []

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.undone.__exit__(None, None, None)

    # --- One step, in the system and in the model ---------------------------------------------------------------------
    def step(self, in_system: Callable[[], Any], in_model: Callable[[], None], *, serves: bool = True) -> Any:
        """Let both do it, or both refuse it. Time moves on a little. What became free by then is the waiting list's."""
        History.steps += 1
        self.pass_time(timedelta(microseconds=1))
        if self.model.waiting:
            expire_due(self.now)
            serve_waiting_lists(self.now)
            self.model.serve()
            self.meet_reservations()
        try:
            in_model()
        except model.Refused:
            with pytest.raises(Problem), transaction.atomic():
                in_system()
            return None
        outcome = in_system()
        if serves:
            self.model.serve()
        self.meet_reservations()
        return outcome

    def meet_reservations(self) -> None:
        self.ids = list(Reservation.objects.filter(loan=self.loan_id).order_by("number").values_list("pk", flat=True))
        self.meet_refunds()

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
    have_transfers = precondition(lambda self: self.accounts)

    # --- Investors ----------------------------------------------------------------------------------------------------
    def reserve_cents(self, amount: int, at_least: int | None = None) -> None:
        turn, least = len(self.ids) % len(self.investors), amount if at_least is None else at_least
        of_loan = {"reference": self.reference, "investor": self.investors[turn]}
        self.step(
            lambda: reservation_services.reserve(amount=dollars(amount), at_least=dollars(least), now=self.now, **of_loan),
            lambda: self.model.reserve(turn, amount, least),
        )

    @rule(amount=sums)
    def reserve(self, amount: int) -> None:
        self.reserve_cents(amount)

    @rule(amount=sums, less=st.sampled_from([0, 1, 500_00, 2_500_00, -1]))
    def reserve_what_there_is(self, amount: int, less: int) -> None:
        self.reserve_cents(amount, max(1, amount - less))

    # --- Standing orders ----------------------------------------------------------------------------------------------
    @rule(order=orders)
    def keep_a_standing_order(self, order: model.Order) -> None:
        stored = self.step(
            lambda: standing_order(
                dollars(order.amount),
                at_least=dollars(order.at_least),
                cap=dollars(order.cap),
                states=["CA"] if order.is_for_this_state else ["WA"],
                investor=self.investors[order.investor],
                now=self.now,
            ),
            lambda: self.model.keep_order(order),
        )
        if stored:
            self.orders.append((order, stored))

    @precondition(lambda self: self.orders)
    @rule(newest=st.integers(0, 3), verb=st.sampled_from(sorted(ORDER_VERBS)))
    def change_a_standing_order(self, newest: int, verb: str) -> None:
        order, stored = self.orders[-1 - newest % len(self.orders)]
        change, state = ORDER_VERBS[verb]
        self.step(
            lambda: change(order_id=stored.pk, investor=self.investors[order.investor], now=self.now),
            lambda: self.model.change_order(order, state),
        )

    @precondition(lambda self: self.orders)
    @rule(amount=st.sampled_from([2_000_00, 5_000_01, 30_000_00]))
    def another_loan_opens(self, amount: int) -> None:
        draft = DraftFactory(amount=dollars(amount), now=self.now)
        amounts: list[int] = []
        self.step(
            lambda: open_loan(reference=draft.reference, actor=STAFF, now=self.now),
            lambda: amounts.extend(self.model.open_another(amount)),
        )
        self.check_opening(draft, amounts)

    def check_opening(self, loan: Loan, amounts: list[int]) -> None:
        outcomes = StandingOrderTransition.objects.filter(loan=loan).order_by("id").values_list("amount", flat=True)
        assert [cents(amount or Decimal(0)) for amount in outcomes] == amounts

    # --- The waiting list ---------------------------------------------------------------------------------------------
    @rule(investor=any_investor, amount=sums, less=st.sampled_from([0, 0, 500_00, 2_500_00, 9_000_00, -1]))
    def join_the_waiting_list(self, investor: int, amount: int, less: int) -> None:
        at_least = max(1, amount - less)
        of_loan = {"reference": self.reference, "investor": self.investors[investor]}
        entry = self.step(
            lambda: join_waiting_list(amount=dollars(amount), at_least=dollars(at_least), now=self.now, **of_loan),
            lambda: self.model.join(investor, amount, at_least),
        )
        if entry and entry.pk not in self.entry_ids:
            self.entry_ids.append(entry.pk)

    @precondition(lambda self: self.entry_ids)
    @rule(newest=st.integers(0, 3), by_staff=st.booleans())
    def leave_the_waiting_list(self, newest: int, by_staff: bool) -> None:
        which = -1 - newest % len(self.entry_ids)
        entry, entry_id = self.model.entries[which], self.entry_ids[which]
        if by_staff:
            remove = partial(remove_from_waiting_list, entry_id=entry_id, **BY_STAFF)
            self.step(lambda: remove(now=self.now), lambda: self.model.end_entry(entry, "removed"))
        else:
            leave = partial(leave_waiting_list, entry_id=entry_id, investor=self.investors[entry.investor])
            self.step(lambda: leave(now=self.now), lambda: self.model.end_entry(entry, "left"))

    @rule(more=st.sampled_from([0, 0, 1, -1]))
    def reserve_what_is_available(self, more: int) -> None:
        self.reserve_cents(max(1, self.model.available + more))

    @initialize(orders=st.lists(orders, max_size=4), reservations=st.lists(st.tuples(sums, how_far), min_size=2, max_size=4))
    def start_with_an_opening_and_some_reservations(self, orders: list[model.Order], reservations: list[tuple[int, str]]) -> None:
        for order in orders:
            self.keep_a_standing_order(order)
        self.reserve_cents(1_000_00)  # is refused
        self.step(lambda: None, lambda: self.pass_time(NOON + OPENS_IN - self.now), serves=False)
        amounts: list[int] = []
        self.step(lambda: open_announced_loans(self.now), lambda: amounts.extend(self.model.open()))
        self.check_opening(Loan.objects.get(pk=self.loan_id), amounts)
        for amount, far in reservations:
            self.reserve_and_go_on(min(amount, max(self.model.available, 1)), far)

    @rule(amount=sums, far=how_far)
    def reserve_and_go_on(self, amount: int, far: str) -> None:
        reservations = len(self.ids)
        self.reserve_cents(amount)
        if len(self.ids) > reservations and far != "reserved":
            self.start_transfer(0)
        if len(self.ids) > reservations and far == "funded":
            self.money_comes(0, PARTS[0], 1, "notice")

    @have_reservations
    @rule(newest=any_reservation)
    def start_transfer(self, newest: int) -> None:
        reservation, reservation_id = self.pick(newest)
        owner = Reservation.objects.get(pk=reservation_id).investor_id
        started: list[bool] = []
        self.step(
            self.on(reservation_id, start_transfer, method="ach", actor=Actor("investor"), investor_id=owner),
            lambda: started.append(self.model.start_transfer(reservation)),
        )
        if any(started):
            reference = Transfer.objects.filter(reservation=reservation_id, direction="inbound").latest("created_at").reference
            self.accounts.append(Account(reference, inbound=True))
            self.model.add_transfer(reservation, self.accounts[-1])

    @have_reservations
    @rule(newest=any_reservation)
    def cancel(self, newest: int) -> None:
        reservation, reservation_id = self.pick(newest)
        owner = Reservation.objects.get(pk=reservation_id).investor_id
        self.step(
            self.on(reservation_id, cancel_reservation, actor=Actor("investor"), investor_id=owner), lambda: self.model.cancel(reservation)
        )

    # --- The bank -----------------------------------------------------------------------------------------------------
    def owner(self, account: Account) -> model.Reservation:
        return next(
            reservation
            for reservation in self.model.reservations
            if account in reservation.transfers or account.reference in reservation.refunds
        )

    def pick_account(self, newest: int, *, inbound: bool | None = None) -> Account:
        accounts = [account for account in self.accounts if inbound in {None, account.inbound}]
        return accounts[-1 - newest % len(accounts)]

    def bank_time(self, account: Account, minutes: int) -> datetime:
        """Return a whole minute so far from now; 0 means the time of the last thing that the bank did under this reference."""
        if not minutes and account.movements:
            return account.movements[-1].at
        return self.now.replace(second=0, microsecond=0) + timedelta(minutes=minutes)

    def deliver(self, account: Account, report: Report, text: str | None = None) -> None:
        """Let a report reach us, in the model and in the system."""
        text = text or (account.reference if report.readable else "Payment from Mr. Unreadable")
        event = Notice(
            report.id,
            NOTICE_TYPES[account.inbound, report.movement.onward],
            text,
            dollars(report.movement.amount),
            report.at,
            report.source,
        )
        is_first = all(report is not delivered for _, delivered, _ in self.delivered)
        self.delivered.append((account, report, text))
        outcome = self.step(
            lambda: record_bank_event(event, now=self.now, **self.by(report)),
            lambda: self.hear(account, not report.movement.onward, lambda: account.hear(report)),
        )
        if is_first:
            assert (outcome == "possible_duplicate") == (report in [line.first for line in account.doubtful])

    def by(self, report: Report) -> dict[str, Any]:
        return BY_STAFF if report.source == "staff" else {}

    def hear(self, account: Account, fails: bool, take: Callable[[], bool]) -> None:
        """Let the model take a report or an answer about it, and follow it."""
        reservation = self.owner(account)
        payment = reservation.payment
        refund = reservation.refunds.get(account.reference)
        gone_before = refund.gone if refund else 0
        if refund and not gone_before:
            refund.was_void |= Transfer.objects.get(reference=account.reference).status == "void"
        is_new = take()
        if refund and (is_new or refund.gone != gone_before):
            self.model.refund_reported(refund, gone_before, fails=fails)
        self.model.follow_payment(reservation, payment)

    def move(self, account: Account, *, onward: bool, amount: int, minutes: int, change: int, source: str | None) -> None:
        """Let the bank move money or fail to, and report it at once if a source is named."""
        movement = account.move(onward=onward, amount=amount, at=self.bank_time(account, minutes), change=change)
        if movement and source:
            self.deliver(account, account.report(movement, source))

    @have_transfers
    @rule(newest=any_reservation, part=parts, minutes=minutes, source=first_sources)
    def money_comes(self, newest: int, part: Part, minutes: int, source: str | None) -> None:
        account = self.pick_account(newest, inbound=True)
        amount = part(self.owner(account).amount, account.balance)
        self.move(account, onward=True, amount=amount, minutes=minutes, change=amount, source=source)

    @precondition(lambda self: any(account.inbound and not account.movements for account in self.accounts))
    @rule(part=parts, minutes=minutes)
    def awaited_money_comes(self, part: Part, minutes: int) -> None:
        account = next(account for account in self.accounts if account.inbound and not account.movements)
        amount = part(self.owner(account).amount, 0)
        self.move(account, onward=True, amount=amount, minutes=minutes, change=amount, source="notice")

    @have_transfers
    @rule(newest=any_reservation, part=parts_back, minutes=minutes, source=first_sources)
    def money_goes_back(self, newest: int, part: Part, minutes: int, source: str | None) -> None:
        account = self.pick_account(newest)
        amount = part(account.movements[-1].amount if account.movements else 0, account.balance)
        if 0 < amount <= account.balance:
            self.move(account, onward=False, amount=amount, minutes=minutes, change=-amount, source=source)

    @have_transfers
    @rule(newest=any_reservation, minutes=minutes, source=first_sources)
    def an_attempt_fails(self, newest: int, minutes: int, source: str | None) -> None:
        account = self.pick_account(newest)
        self.move(account, onward=False, amount=self.owner(account).amount, minutes=minutes, change=0, source=source)

    @precondition(lambda self: any(not account.inbound for account in self.accounts))
    @rule(newest=any_reservation, part=parts_out, minutes=minutes, source=first_sources)
    def bank_pays_a_refund(self, newest: int, part: Part, minutes: int, source: str | None) -> None:
        account = self.pick_account(newest, inbound=False)
        refund = Transfer.objects.get(reference=account.reference)
        amount = part(cents(refund.amount), account.balance)
        self.move(account, onward=True, amount=amount, minutes=minutes, change=amount, source=source)

    @precondition(lambda self: any(account.movements for account in self.accounts))
    @rule(newest=any_reservation, which=st.integers(0, 5), source=st.sampled_from(SOURCES), style=styles)
    def bank_reports(self, newest: int, which: int, source: str, style: Style | None) -> None:
        """Report something that the bank did; perhaps once more, under a new id."""
        accounts = [account for account in self.accounts if account.movements]
        account = accounts[-1 - newest % len(accounts)]
        movement = account.movements[-1 - which % len(account.movements)]
        may_repeat = movement.onward and source == "notice"
        if may_repeat or not account.is_reported(movement, source):
            readable = style is not None or source == "staff"
            text = style(account.reference) if style else None
            self.deliver(account, account.report(movement, source, readable=readable), text)

    @precondition(lambda self: self.delivered)
    @rule(which=st.integers(0, 9))
    def bank_repeats_a_report(self, which: int) -> None:
        self.deliver(*self.delivered[-1 - which % len(self.delivered)])

    @rule(rarely=st.integers(0, 3))
    def bank_reports_everything(self, rarely: int) -> None:
        """Report everything, and let staff answer every question: then our books agree with the bank's account."""
        if rarely:
            return
        for account in self.accounts:
            self.staff_answer_for(account)
            while unreported := [movement for movement in account.movements if not account.is_reported(movement)]:
                self.deliver(account, account.report(unreported[0], "statement"))
                self.staff_answer_for(account)
            assert account.is_told

    # --- Staff and the bank -------------------------------------------------------------------------------------------
    def staff_answer_for(self, account: Account) -> None:
        for report in list(account.unreadable):
            self.step(
                lambda report=report: assign_bank_event(bank_event_id=report.id, reference=account.reference, now=self.now, **BY_STAFF),
                lambda report=report: self.hear(account, not report.movement.onward, lambda: account.assign(report)),
            )
        while account.doubtful:
            line = account.doubtful[0]
            is_another = account.is_another(line)
            answer = answer_another_payment if is_another else answer_same_payment
            self.step(
                partial(answer, bank_event_id=line.first.id, now=self.now, **BY_STAFF),
                partial(self.hear, account, False, partial(account.answer, line, is_another=is_another)),
            )

    @precondition(lambda self: any(account.doubtful or account.unreadable for account in self.accounts))
    @rule()
    def staff_answer(self) -> None:
        self.staff_answer_for(next(account for account in self.accounts if account.doubtful or account.unreadable))

    @precondition(lambda self: any(reservation.due for reservation in self.model.reservations))
    @rule(some=st.integers(0, 3))
    def staff_send_refunds(self, some: int) -> None:
        self.pass_time(timedelta(microseconds=1))
        expire_due(self.now)
        refunds = list(Transfer.objects.filter(status="due", reservation__loan=self.loan_id).order_by("created_at", "reservation__number"))[
            : some or None
        ]
        self.meet_refunds()

        def in_model() -> None:
            for refund in refunds:
                reservation = self.model.reservations[self.ids.index(refund.reservation_id)]
                self.model.send(reservation.refunds[refund.reference], cents(refund.amount - refund.moved))

        if refunds:
            self.step(lambda: send_refunds(refund_ids=[refund.pk for refund in refunds], now=self.now, **BY_STAFF), in_model)

    def meet_refunds(self) -> None:
        """Let the bank and the model know the references of our refunds."""
        references = {account.reference for account in self.accounts}
        for refund in Transfer.objects.filter(direction="refund", reservation__loan=self.loan_id).order_by(
            "created_at", "reservation__number"
        ):
            if refund.reference not in references:
                account = Account(refund.reference, inbound=False)
                self.accounts.append(account)
                self.model.reservations[self.ids.index(refund.reservation_id)].refunds[refund.reference] = model.Refund(account)

    # --- Clock and jobs -----------------------------------------------------------------------------------------------
    @rule(hours=st.sampled_from([0.1, 0.1, 0.1, 1, 1, 6, 24, 72]))
    def time_passes(self, hours: float) -> None:
        self.step(lambda: None, lambda: self.pass_time(timedelta(hours=hours)), serves=False)

    @precondition(lambda self: any(reservation.expires_at for reservation in self.model.live))
    @rule(early=st.integers(0, 2))
    def time_passes_to_a_deadline(self, early: int) -> None:
        deadline = min(reservation.expires_at for reservation in self.model.live if reservation.expires_at) - timedelta(microseconds=early)
        if deadline > self.now:
            self.step(lambda: None, lambda: self.pass_time(deadline - self.now), serves=False)

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
        self.check_waiting_list(loan)
        self.check_line()
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
            money = tuple(cents(amount) for amount in (row.received, row.refunded, row.lost, row.waiting_money))
            refunded = reservation.due + reservation.sent + reservation.gone
            assert money == (reservation.received, refunded, reservation.lost, reservation.waiting)
            self.check_bank_account(row, reservation)

    def check_waiting_list(self, loan: Loan) -> None:
        entries = list(WaitingListEntry.objects.filter(loan=loan).select_related("reservation").order_by("number"))
        assert [(entry.state, cents(entry.amount), entry.reservation and entry.reservation.number) for entry in entries] == [
            (entry.state, entry.amount, entry.number) for entry in self.model.entries
        ]
        amounts = [entry.amount for entry in entries if entry.state == "waiting"]
        assert (loan.waiting_entries, loan.waiting_dollars) == (len(amounts), sum(amounts))

    def check_line(self) -> None:
        ids = {order: stored.pk for order, stored in self.orders}
        line = StandingOrder.objects.exclude(state="ended").order_by("place").values_list("pk", "state")
        assert list(line) == [(ids[order], order.state) for order in self.model.line if order.state != "ended"]
        used = used_dollars(ids.values(), self.now)
        assert {pk: cents(amount) for pk, amount in used.items() if amount} == {
            pk: self.model.used(order) for order, pk in ids.items() if self.model.used(order)
        }

    def check_bank_account(self, row: Any, reservation: model.Reservation) -> None:
        """Compare with what the bank holds, by its own account, where it has reported everything and staff have answered."""
        refunds = [refund.account for refund in reservation.refunds.values()]
        if all(account.is_told for account in [*reservation.transfers, *refunds]):
            gone = sum(account.balance for account in refunds)
            held = sum(account.balance for account in reservation.transfers) - gone
            in_books = cents(row.settled_amount + row.refunded + row.waiting_money - row.lost) - gone
            assert held == in_books, "\n".join(["the bank's account agrees", *map(str, reservation.transfers), *map(str, refunds)])

    def check_sums(self, loan: Loan, rows: list[Any]) -> None:
        assert loan.claimed == sum(row.amount for row in rows if row.state in model.LIVE)
        assert loan.settled == sum(row.settled_amount for row in rows)
        assert loan.last_number == len(rows)
        for row in rows:
            assert (row.received, row.refunded) == (row.cleared, row.going_back)
            assert row.last_state == row.state, "history ends where the row stands"

    def rows(self) -> list[Any]:
        return list(Reservation.objects.raw(RESERVATIONS_WITH_SUMS, [self.loan_id]))


def play(steps: int, phases: Sequence[Phase], usual_seed: int) -> None:
    first_seed = int(os.environ.get("HISTORIES_SEED") or usual_seed)
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
    play(2_000, [Phase.generate], USUAL_SEED)  # shrinking a failing history can take minutes, so only the long run does it


@pytest.mark.long
def test_many_random_histories_leave_the_system_where_the_model_is(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        play(100_000, [Phase.generate, Phase.shrink], random.getrandbits(32))
