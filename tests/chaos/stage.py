"""What is there when it begins? Open loans under every rule, investors with tokens, and jobs that come every few seconds."""

import random
from datetime import UTC, datetime
from decimal import Decimal

from django.contrib.auth.models import User
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from knox.models import AuthToken

from loans import lending
from loans.ledger import Actor
from loans.models import Investor, Loan
from loans.settlement_rules import RULES

INVESTORS = 6
FEWEST_OPEN = 6
SECONDS_BETWEEN_RUNS = 3


def set_up(draw: random.Random) -> list[str]:
    """Make it; returns the investors' tokens."""
    often, _ = IntervalSchedule.objects.get_or_create(every=SECONDS_BETWEEN_RUNS, period="seconds")
    PeriodicTask.objects.filter(task__startswith="loans.").update(interval=often, crontab=None)
    for number in range(FEWEST_OPEN):
        new_loan(f"CH-{number}", draw)
    return [_investor(number) for number in range(INVESTORS)]


def new_loan(reference: str, draw: random.Random) -> Loan:
    """An open loan that a few dozen claims fill."""
    actor = Actor("staff")
    loan = Loan(
        reference=reference,
        title="Six flats",
        address="1 Main St",
        city="Austin",
        state="TX",
        zip="78701",
        annual_rate=Decimal("9.50"),
        term_months=12,
        ltv=Decimal("65.00"),
        amount=Decimal(draw.randrange(5_000_000, 9_000_000)) / 100,
        settlement_rule=draw.choice(sorted(RULES)),
    )
    lending.create(loan, actor=actor)
    return lending.open_loan(reference=reference, actor=actor)


def _investor(number: int) -> str:
    user = User.objects.create(username=f"investor{number}", email=f"investor{number}@example.org")
    Investor.objects.create(user=user, name=f"Investor {number}", accredited_until=datetime(2099, 1, 1, tzinfo=UTC).date())
    return str(AuthToken.objects.create(user)[1])
