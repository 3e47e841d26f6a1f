"""Playing a history under the loan's own rule and rate gives what happened, to the cent: for random histories of every rule."""

import os
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from loans.domain.actors import Actor
from loans.domain.settlement_rules import RULES
from loans.models import Loan, Reservation, Transfer
from loans.selectors.what_if import WhatIf, what_if
from loans.services.bank_events import record_bank_event
from loans.services.expiry import expire_due
from loans.services.loans import close_loan_at_settled, extend_loan
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from loans.services.settlement import settle_ahead_of_turn, settle_due
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation, reinstate_reservation
from peerloans.errors import Problem
from tests.factories import NOON, STAFF, UNLIMITED, InvestorFactory, LoanFactory, notice
from tests.histories.test_histories import History

pytestmark = pytest.mark.django_db
BY_STAFF: dict[str, Any] = {"actor": STAFF, "reason": "a reason"}
STEPS = 60
USUAL_SEED = 99  # HISTORIES_SEED plays another


def assert_it_gives_what_happened(played: WhatIf) -> None:
    assert played.differences == []
    own = played.own.loan
    assert (own.status, own.amount, own.settled, own.closes_at) == (
        played.loan.status,
        played.loan.amount,
        played.loan.settled,
        played.loan.closes_at,
    )
    for reservation in Reservation.objects.filter(loan=played.loan).order_by("number"):
        row = own.reservations[reservation.pk]
        assert (row.number, row.settled) == (reservation.number, reservation.settled_amount)
        if reservation.state != "canceled":  # What a canceled reservation had asked for is not played.
            assert row.amount == reservation.amount
        lapsed = reservation.expires_at is not None and reservation.expires_at <= played.at
        assert (row.state, row.cause) == ("canceled", "expired") if lapsed else (reservation.state, reservation.cause)
        assert row.is_live or row.funded_at or not row.settled
    assert all(act.possible for act in played.own.staff_acts)


class ReplayedHistory(History):
    """The histories that the system and the model play, each played once more at its end."""

    def teardown(self) -> None:
        try:
            assert_it_gives_what_happened(what_if(self.reference, now=self.now))
        finally:
            super().teardown()


def test_the_histories_of_the_model_give_what_happened() -> None:
    first_seed = int(os.environ.get("HISTORIES_SEED") or USUAL_SEED)
    print(f"HISTORIES_SEED={first_seed}")  # noqa: T201 - pytest shows it when the test fails
    ReplayedHistory.investors = [InvestorFactory() for _ in range(3)]
    options = settings(
        max_examples=15,
        stateful_step_count=50,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(first_seed)(ReplayedHistory), settings=options)


class RandomLoan:
    """A loan of any rule, and random steps on it. A step that the system refuses changes nothing."""

    def __init__(self, draw: random.Random, rule: str, rate: str) -> None:
        self.draw, self.now = draw, NOON
        closes_at = NOON + timedelta(days=draw.choice([2, 9, 15]))
        self.loan: Loan = LoanFactory(
            settlement_rule=rule, overbooking_rate=Decimal(rate), amount=Decimal("9000.01"), now=NOON, closes_at=closes_at
        )
        self.investor = InvestorFactory(**UNLIMITED)
        self.steps: list[tuple[int, Callable[[], object]]] = [
            (6, self.reserve),
            (5, lambda: start_transfer(**self.by_investor("reserved"), method="ach")),
            (5, lambda: self.bank("transfer.cleared", "initiated")),
            (1, lambda: self.bank("transfer.cleared", "failed")),
            (1, lambda: self.bank("transfer.failed", "initiated")),
            (1, lambda: self.bank("transfer.failed", "cleared")),
            (1, lambda: cancel_reservation(**self.by_investor("reserved"))),
            (4, lambda: settle_due(self.now)),
            (1, lambda: expire_due(self.now)),
            (1, lambda: settle_ahead_of_turn(**self.by_staff("pending"))),
            (1, lambda: cancel_by_staff(**self.by_staff("pending"))),
            (1, lambda: accept_amount(**self.by_staff("pending"))),
            (1, lambda: reinstate_reservation(**self.by_staff("canceled"))),
            (1, lambda: extend_reservation(**self.by_staff("reserved"), expires_at=self.now + timedelta(days=2))),
            (1, lambda: extend_loan(**self.on_loan(), closes_at=self.now + timedelta(days=4))),
            (1, lambda: close_loan_at_settled(**self.on_loan())),
        ]

    def pick(self, state: str) -> Reservation:
        candidates = list(Reservation.objects.filter(loan=self.loan, state=state).order_by("number"))
        if not candidates:
            raise Problem(f"There is no {state} reservation.")
        return self.draw.choice(candidates)

    def reserve(self) -> None:
        amount = Decimal(self.draw.choice([1_000_00, 2_500_00, 3_333_33, 4_000_00, 6_000_01])).scaleb(-2)
        reserve(reference=self.loan.reference, investor=self.investor, amount=amount, now=self.now)

    def by_investor(self, state: str) -> dict[str, Any]:
        return {
            "reservation_id": self.pick(state).pk,
            "actor": Actor("investor"),
            "investor_id": self.investor.pk,
            "now": self.now,
        }

    def by_staff(self, state: str) -> dict[str, Any]:
        return {"reservation_id": self.pick(state).pk, "now": self.now, **BY_STAFF}

    def on_loan(self) -> dict[str, Any]:
        return {"reference": self.loan.reference, "now": self.now, **BY_STAFF}

    def bank(self, kind: str, status: str) -> None:
        transfer = Transfer.objects.filter(reservation__loan=self.loan, status=status).order_by("created_at", "id").first()
        if transfer:
            amount = transfer.amount - self.draw.choice([0, 0, 0, 1])
            record_bank_event(notice(kind, transfer.reference, amount, occurred_at=self.now), now=self.now)

    def play(self) -> datetime:
        for _ in range(STEPS):
            self.now += timedelta(hours=self.draw.choice([0, 0.1, 0.1, 1, 3, 20]), microseconds=1)
            (step,) = self.draw.choices([step for _, step in self.steps], [weight for weight, _ in self.steps])
            with suppress(Problem), transaction.atomic():
                step()
        return self.now


@pytest.mark.parametrize("rule", RULES)
def test_random_histories_of_every_rule_give_what_happened(rule: str) -> None:
    first_seed = int(os.environ.get("HISTORIES_SEED") or USUAL_SEED)
    print(f"HISTORIES_SEED={first_seed}")  # noqa: T201 - pytest shows it when the test fails
    settled = 0
    for number in range(60):
        if number >= 6 and settled:
            break
        draw = random.Random(first_seed + number)
        history = RandomLoan(draw, rule, draw.choice(["0", "0.20", "0.85"]))
        now = history.play()
        assert_it_gives_what_happened(what_if(history.loan.reference, now=now))
        settled += Reservation.objects.filter(loan=history.loan, state="settled").count()
        for other in RULES:
            played = what_if(history.loan.reference, rule=other, overbooking_rate=Decimal("0.10"), now=now)
            loan = played.other.loan
            assert loan.settled == sum(row.settled for row in loan.reservations.values()) <= loan.amount
            assert (loan.status == "funded") == (loan.settled == loan.amount)
            assert len(played.changes) == loan.reservations.__len__() == history.loan.reservations.count()
    assert settled, "the histories settle something"
