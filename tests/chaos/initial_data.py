"""Make what a run begins with: loans under every settlement rule, open or announced, investors, staff, and jobs every few seconds."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from knox.models import AuthToken

from loans.domain.actors import SYSTEM
from loans.domain.investor_limits import DEFAULT_INVESTOR_SHARE
from loans.domain.loan_limits import DEFAULT_OVERBOOKING_RATE, LEAST_MINIMUM
from loans.domain.overbooking import DEFAULT_CAP, DEFAULT_RISK, OverbookingPolicy
from loans.domain.settlement_rules import RULES
from loans.models import Investor, Loan, User
from loans.services.loans import announce_loan, create_loan, open_loan

INVESTORS = 6
STAFF = ("olga", "otto")
PASSWORD = "while everything breaks"
FEWEST_OPEN_LOANS = 6
ANNOUNCED = [timedelta(seconds=seconds) for seconds in (20, 40, 80, 120)]  # loans that open so long after the start
SECONDS_BETWEEN_RUNS = 3


def make(draw: random.Random) -> list[str]:
    """Make everything, with STAFF in the group Operations, and return the investors' tokens."""
    interval, _ = IntervalSchedule.objects.get_or_create(every=SECONDS_BETWEEN_RUNS, period="seconds")
    PeriodicTask.objects.filter(task__startswith="loans.").update(interval=interval, crontab=None)
    for number in range(FEWEST_OPEN_LOANS):
        create_loan(Loan(**loan_fields(f"CH-{number}", draw)), actor=SYSTEM)
        open_loan(reference=f"CH-{number}", actor=SYSTEM)
    for number, opens_in in enumerate(ANNOUNCED):
        create_loan(Loan(**loan_fields(f"CH-A{number}", draw)), actor=SYSTEM)
        announce_loan(reference=f"CH-A{number}", opens_at=datetime.now(UTC) + opens_in, actor=SYSTEM)
    for name in STAFF:
        User.objects.create_user(name, password=PASSWORD, is_staff=True).groups.set(Group.objects.filter(name="Operations"))
    return [_investor(number) for number in range(INVESTORS)]


def loan_fields(reference: str, draw: random.Random) -> dict[str, Any]:
    """Return the fields of a loan that a few dozen reservations fill."""
    return {
        "reference": reference,
        "title": "Six flats",
        "address": "1 Main St",
        "city": "Austin",
        "state": "TX",
        "zip": "78701",
        "annual_rate": Decimal("9.50"),
        "term_months": 12,
        "ltv": Decimal("65.00"),
        "amount": Decimal(draw.randrange(5_000_000, 9_000_000)) / 100,
        "minimum": LEAST_MINIMUM,
        "overbooking_rate": DEFAULT_OVERBOOKING_RATE,
        "overbooking_policy": OverbookingPolicy.FIXED.value,
        "overbooking_risk": DEFAULT_RISK,
        "overbooking_cap": DEFAULT_CAP,
        "investor_share": DEFAULT_INVESTOR_SHARE,
        "settlement_rule": draw.choice(sorted(RULES)),
    }


def _investor(number: int) -> str:
    user = User.objects.create(username=f"investor{number}", email=f"investor{number}@example.org")
    accredited_until = datetime(2099, 1, 1, tzinfo=UTC).date()
    # A few investors reserve and cancel what hundreds would.
    limits = {"unfunded_limit": Decimal(1_000_000_000), "let_go_limit": 32_767}
    Investor.objects.create(user=user, name=f"Investor {number}", accredited_until=accredited_until, **limits)
    return str(AuthToken.objects.create(user)[1])
