"""What is there when it begins? Open loans under every rule, investors with tokens, and jobs that come every few seconds."""

import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from knox.models import AuthToken

from loans.domain.actors import SYSTEM
from loans.domain.limits import DEFAULT_OVERBOOKING_RATE, LEAST_MINIMUM
from loans.domain.settlement_rules import RULES
from loans.models import Investor, Loan, User
from loans.services.loans import create_loan, open_loan

INVESTORS = 6
STAFF = ("olga", "otto")
PASSWORD = "while everything breaks"
FEWEST_OPEN = 6
SECONDS_BETWEEN_RUNS = 3


def set_up(draw: random.Random) -> list[str]:
    """Make it, with STAFF in Operations; returns the investors' tokens."""
    often, _ = IntervalSchedule.objects.get_or_create(every=SECONDS_BETWEEN_RUNS, period="seconds")
    PeriodicTask.objects.filter(task__startswith="loans.").update(interval=often, crontab=None)
    for number in range(FEWEST_OPEN):
        create_loan(Loan(**terms(f"CH-{number}", draw)), actor=SYSTEM)
        open_loan(reference=f"CH-{number}", actor=SYSTEM)
    for name in STAFF:
        User.objects.create_user(name, password=PASSWORD, is_staff=True).groups.set(Group.objects.filter(name="Operations"))
    return [_investor(number) for number in range(INVESTORS)]


def terms(reference: str, draw: random.Random) -> dict[str, Any]:
    """What is written down of a loan that a few dozen reservations fill."""
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
        "settlement_rule": draw.choice(sorted(RULES)),
    }


def _investor(number: int) -> str:
    user = User.objects.create(username=f"investor{number}", email=f"investor{number}@example.org")
    Investor.objects.create(user=user, name=f"Investor {number}", accredited_until=datetime(2099, 1, 1, tzinfo=UTC).date())
    return str(AuthToken.objects.create(user)[1])
