"""Ask at once, from many addresses, for the page of a loan whose history has 300,000 transitions."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from tests.attack.site import REFERENCE, Result, Site, make_loans

TITLE = "twelve at once ask for a loan whose history has 300,000 transitions"
LOAN = "AT-LONG"
TRANSITIONS = 300_000
CALLERS, ROUNDS = 12, 8
PAUSE_SECONDS = 0.7
MOST_SLOWDOWN = 2.0
MOST_SECONDS = 2.0
# One reservation, made and canceled again and again, a second apart.
_INSERT = """
    INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, reason)
    SELECT now() - make_interval(secs => %(size)s - n), %(loan)s, %(reservation)s,
        CASE n %% 2 WHEN 0 THEN 'canceled_by_investor' ELSE 'reserved' END, CASE n %% 2 WHEN 0 THEN 'reserved' ELSE '' END,
        CASE n %% 2 WHEN 0 THEN 'canceled' ELSE 'reserved' END, 1000, '', 'investor', ''
    FROM generate_series(1, %(size)s) AS n
"""


def prepare(site: Site) -> None:
    from decimal import Decimal

    from django.db import connection

    from loans.models import Investor
    from loans.services.fill_values import record_new_fill_values
    from loans.services.reservations import reserve

    make_loans([LOAN])
    site.new_token("historian")
    made = reserve(reference=LOAN, investor=Investor.objects.get(user__username="historian"), amount=Decimal(1_000))
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, {"loan": made.loan_id, "reservation": made.pk, "size": TRANSITIONS})
        cursor.execute("ANALYZE loans_transition")
        # These have been announced; another attack is about messages.
        cursor.execute("UPDATE loans_outboxcursor SET txid = pg_current_xact_id(), transition_id = 0")
    record_new_fill_values()


def attack(site: Site) -> Result:
    result = Result(0)
    # The page of a loan without a history, by the same crowd, says what the crowd alone costs.
    usual = statistics.median(crowd(site, REFERENCE, result))
    long = crowd(site, LOAN, result)
    if statistics.median(long) > MOST_SLOWDOWN * usual:
        result.broken.append(f"the page took {statistics.median(long) / usual:.1f} times as long as that of a new loan")
    if max(long) > MOST_SECONDS:
        result.broken.append(f"the page took {max(long):.1f} s")
    return result


def crowd(site: Site, reference: str, result: Result) -> list[float]:
    """Ask for the loan's page by all callers at once, each second. Return the seconds of the answers."""

    def ask(number: int) -> float:
        started = time.monotonic()
        status, _ = site.ask("GET", f"/loans/{reference}/", X_Forwarded_For=f"203.0.113.{number}")
        if status != 200:
            result.broken.append(f"the page was answered {status}")
        return time.monotonic() - started

    seconds: list[float] = []
    with ThreadPoolExecutor(CALLERS) as callers:
        for _ in range(ROUNDS):
            seconds += callers.map(ask, range(CALLERS))
            time.sleep(PAUSE_SECONDS)
    result.times += len(seconds)
    return seconds
