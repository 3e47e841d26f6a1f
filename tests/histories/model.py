"""What should have come of a history? The rules of one fifo loan told a second time, small, in whole cents.

Shares no code with the system but for banking days. Claims end at the very instant at which they lapse, so here is no
sweeping, no locking and nothing to be late with.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from loans.banking_days import money_deadline

MINIMUM = 1_000_00
LIVE = ("reserved", "pending")


class Refused(Exception):
    """The rules do not allow this; nothing has changed."""


@dataclass(eq=False)
class Payments:
    """What came under one reference: `here` has the cents of each payment, by its number, that cleared and stayed."""

    status: str = "initiated"  # of the first
    here: dict[int, int] = field(default_factory=dict)
    count: int = 1


@dataclass(eq=False)
class Claim:
    place: int
    amount: int
    expires_at: datetime | None
    state: str = "reserved"
    cause: str = ""
    funded: bool = False
    accepted: bool = False
    settled: int = 0
    due: int = 0
    paid: int = 0
    lost: int = 0
    transfers: list[Payments] = field(default_factory=list)

    @property
    def received(self) -> int:
        return sum(sum(payments.here.values()) for payments in self.transfers)

    @property
    def waiting(self) -> int:
        return self.received + self.lost - self.settled - self.due - self.paid

    @property
    def own_came(self) -> int:
        """Cents that the newest transfer brought."""
        return self.transfers[-1].here.get(1, 0) if self.transfers else 0

    def take_back(self, cents: int) -> None:
        void = min(self.due, cents)
        self.due -= void
        self.lost += cents - void

    def square(self) -> None:
        """Owe what the claim's state does not keep; take back what was owed of money that it keeps or that is gone."""
        keeps = 0
        if self.state == "pending":
            keeps = self.amount if self.funded else max(self.waiting, 0)
        if self.waiting >= keeps:
            self.due += self.waiting - keeps
        else:
            self.take_back(keeps - self.waiting)


def allow(condition: object) -> None:
    if not condition:
        raise Refused


class Model:
    def __init__(self, amount: int, percent: int, now: datetime, closes_at: datetime) -> None:
        self.amount, self.percent, self.now, self.closes_at = amount, percent, now, closes_at
        self.status = "open"
        self.claims: list[Claim] = []

    # --- What is to be seen -------------------------------------------------------------------------------------------
    @property
    def live(self) -> list[Claim]:
        return [claim for claim in self.claims if claim.state in LIVE]

    @property
    def remaining(self) -> int:
        return self.amount - sum(claim.settled for claim in self.claims)

    @property
    def takes_reservations(self) -> bool:
        return self.status == "open" and self.now < self.closes_at

    @property
    def available(self) -> int:
        limit = self.remaining * (100 + self.percent) // 100
        free = min(self.remaining, limit - sum(claim.amount for claim in self.live))
        return max(0, free) if self.takes_reservations else 0

    # --- Time ---------------------------------------------------------------------------------------------------------
    def pass_time(self, until: datetime) -> None:
        self.now = until
        for claim in self.live:
            if claim.expires_at and claim.expires_at <= until:
                self.end(claim, "expired")

    def end(self, claim: Claim, cause: str) -> None:
        claim.state, claim.cause, claim.expires_at, claim.funded, claim.settled = "canceled", cause, None, False, 0
        claim.square()
        if self.status == "funded" and self.remaining:
            self.status = "open"

    # --- Investors ----------------------------------------------------------------------------------------------------
    def reserve(self, amount: int) -> None:
        allow(self.takes_reservations)
        allow(amount >= MINIMUM or amount == self.remaining)
        allow(amount <= self.available)
        self.claims.append(Claim(len(self.claims) + 1, amount, self.now + timedelta(hours=24)))

    def start_transfer(self, claim: Claim) -> None:
        if claim.state in {"pending", "settled"}:
            return  # a repeat
        allow(claim.state == "reserved")
        claim.state, claim.expires_at = "pending", money_deadline(self.now)
        claim.transfers.append(Payments())

    def cancel(self, claim: Claim) -> None:
        allow(claim.state == "reserved" or claim.cause == "canceled_by_investor")
        if claim.state == "reserved":
            self.end(claim, "canceled_by_investor")

    # --- The bank -----------------------------------------------------------------------------------------------------
    def clear(self, claim: Claim, payments: Payments, amount: int) -> None:
        if payments.status not in {"initiated", "failed"}:
            payments.count += 1
            payments.here[payments.count] = amount
            claim.due += amount
            return
        payments.status, payments.here[1] = "cleared", amount
        if claim.state != "pending" or claim.funded or payments is not claim.transfers[-1]:
            claim.due += amount
        elif amount >= claim.amount:
            claim.funded, claim.expires_at = True, None
            claim.square()

    def fail(self, claim: Claim, payments: Payments, amount: int) -> None:
        own = payments is claim.transfers[-1]
        if payments.status == "initiated":
            payments.status = "failed"
            if own and claim.state == "pending":
                self.end(claim, "transfer_failed")
        elif payments.here:
            number = max(payments.here, key=lambda number: (payments.here[number] == amount, number))
            gone = payments.here.pop(number)
            if number == 1:
                payments.status = "returned"
            if number == 1 and own and claim.state in {"pending", "settled"}:
                self.end(claim, "payment_returned")
            else:
                claim.take_back(gone)

    def pay(self, claim: Claim, amount: int) -> None:
        claim.due -= amount
        claim.paid += amount

    # --- Settlement ---------------------------------------------------------------------------------------------------
    def settle(self) -> None:
        if self.status != "open":
            return
        free, all_decided = self.remaining, True
        for claim in self.live:
            share = min(claim.amount, free)
            free -= share
            if claim.funded and share and (share == claim.amount or all_decided):
                self.buy(claim, share)
            else:
                all_decided = False
        self.close_if_full()

    def buy(self, claim: Claim, share: int) -> None:
        claim.state, claim.settled = "settled", share
        claim.square()

    def close_if_full(self) -> None:
        if self.remaining == 0:
            self.status = "funded"
            self.end_live("loan_funded")

    def end_live(self, cause: str) -> None:
        for claim in self.live:
            self.end(claim, cause)

    # --- Staff --------------------------------------------------------------------------------------------------------
    def settle_ahead(self, claim: Claim) -> None:
        if claim.state == "settled":
            return
        allow(claim.funded)
        self.buy(claim, min(claim.amount, self.remaining))
        self.close_if_full()

    def cancel_by_staff(self, claim: Claim) -> None:
        allow(claim.state in LIVE or claim.cause == "canceled_by_staff")
        if claim.state in LIVE:
            self.end(claim, "canceled_by_staff")

    def extend_claim(self, claim: Claim, until: datetime) -> None:
        allow(claim.expires_at and until > claim.expires_at)
        claim.expires_at = until

    def accept_amount(self, claim: Claim) -> None:
        if claim.accepted and claim.funded and claim.amount == claim.own_came:
            return
        allow(claim.state == "pending" and not claim.funded and claim.own_came >= MINIMUM)
        claim.amount, claim.funded, claim.accepted, claim.expires_at = claim.own_came, True, True, None
        claim.square()

    def reinstate(self, claim: Claim) -> None:
        allow(claim.state == "canceled" and self.takes_reservations)
        allow(claim.amount <= self.available and not claim.paid)
        claim.cause = ""
        if claim.own_came >= claim.amount:
            claim.state, claim.funded = "pending", True
        elif claim.transfers and claim.transfers[-1].status == "initiated":
            claim.state, claim.expires_at = "pending", money_deadline(self.now)
        else:
            claim.state, claim.expires_at = "reserved", self.now + timedelta(hours=24)
        claim.square()

    def withdraw(self) -> None:
        allow(self.status in {"open", "withdrawn"})
        self.status = "withdrawn"
        for claim in self.claims:
            if claim.state != "canceled":
                self.end(claim, "loan_withdrawn")

    def extend_loan(self, closes_at: datetime) -> None:
        allow(self.status == "open" and closes_at > self.closes_at)
        self.closes_at = closes_at

    def close_at_settled(self) -> None:
        allow(self.status in {"open", "funded"} and (self.status == "funded" or self.now >= self.closes_at))
        self.settle()
        if self.status == "open":
            allow(self.remaining < self.amount)
            self.amount, self.status = self.amount - self.remaining, "funded"
            self.end_live("loan_funded")
