"""Reserve all that is left of twelve loans at once, without a cent, then reserve and let go again and again."""

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from tests.attack.site import Result, Site, make_loans

TITLE = "one investor reserves twelve loans at once, and lets go 60 times"
LOANS = [f"AT-HOLD-{number}" for number in range(12)]
PIECES = ("30000.00", "20000.00", "10000.00", "1000.00")
MOST_UNFUNDED, MOST_LET_GO = Decimal(250_000), 10
ROUNDS = 60


def prepare(site: Site) -> None:
    make_loans(LOANS)


def attack(site: Site) -> Result:
    from django.db import connections
    from django.db.models import Sum

    from loans.models import Reservation

    token, result = site.new_token("holder"), Result(0)
    own = Reservation.objects.filter(investor__user__username="holder")

    def reserve(loan: str, amount: str, by: str = token) -> tuple[int, dict[str, str]]:
        result.times += 1
        body = json.dumps({"amount": amount}).encode()
        status, answer = site.ask("POST", f"/api/v1/loans/{loan}/reservations/", body, Authorization=f"Bearer {by}")
        return status, json.loads(answer)

    def take_all(loan: str) -> list[str]:
        return [reserve(loan, amount)[1].get("code", "") for amount in PIECES * 3]

    with ThreadPoolExecutor(len(LOANS)) as crowd:
        codes = {code for some in crowd.map(take_all, LOANS) for code in some}
    held = own.filter(state="reserved").aggregate(dollars=Sum("amount"))["dollars"]
    if held > MOST_UNFUNDED or "investor_limit" not in codes:
        result.broken.append(f"one investor holds ${held:,} without a cent")

    for _ in range(ROUNDS):
        for reservation in own.filter(state="reserved").order_by("number")[:1]:
            site.ask("POST", f"/api/v1/reservations/{reservation.pk}/cancel/", b"{}", Authorization=f"Bearer {token}")
        codes.add(reserve(LOANS[0], "1000.00")[1].get("code", ""))
    made = own.count()
    for _ in range(ROUNDS):
        reserve(LOANS[1], "1000.00")
    if own.count() > made:
        result.broken.append(f"after {own.filter(state='canceled').count()} of its reservations were let go, it reserved again")
    other = site.new_token("latecomer")
    if not any(reserve(loan, "1000.00", other)[0] == 201 for loan in LOANS):
        result.broken.append("nobody else could reserve")
    connections.close_all()
    return result
