"""Does everything still add up? Recounts each invariant of loans, reservations, money, history and what is shown.

Each invariant is one query over the tables as they are at one moment. It gives the loan, the reservation where it is about
one, what is expected and what is found. A breach becomes a review item for staff; nothing is repaired here.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from redis.exceptions import RedisError

from loans import remaining_cache
from loans.domain.business_calendar import close_of, closed_banking_days
from loans.ledger.review_items import open_review_item
from loans.models import ReviewItem
from loans.selectors.closing_values import loans_without_closing_value
from loans.selectors.loans import all_loan_ids
from loans.services.closing_values import BATCH_SHOWN, report_drift
from peerloans.database.clock import database_now

logger = logging.getLogger(__name__)

# The expire job comes every minute; a reservation that lies lapsed for longer than this tells that it does not run.
SWEPT_WITHIN = timedelta(minutes=10)
CLOSED_WITHIN = timedelta(hours=2)
MOST_LISTED = 1_000  # Of one invariant in one night: where more is wrong, a thousand review_items tell as much.


@dataclass(frozen=True)
class Invariant:
    """A sentence that must hold, and the query for where it does not: loan, reservation, expected, found."""

    says: str
    breaches: str


@dataclass(frozen=True)
class Breach:
    says: str
    loan_id: int
    reservation_id: UUID | None
    expected: object
    found: object

    @property
    def detail(self) -> str:
        return f"{self.says}: {self.expected} expected, {self.found} found."


# What a reservation's money may wait for; every other state keeps nothing that waits.
_MAY_WAIT = """
    CASE WHEN state = 'pending' AND funded_at IS NOT NULL THEN waiting = amount
         WHEN state = 'pending' THEN waiting >= 0 AND waiting < amount
         ELSE waiting = 0 END
"""

INVARIANTS = [
    Invariant(
        "A loan's settled sum is that of its settled pieces",
        """
        SELECT loan.id, NULL, COALESCE(sum(reservation.settled_amount), 0), loan.settled
        FROM loans_loan loan LEFT JOIN loans_reservation reservation ON reservation.loan_id = loan.id
        GROUP BY loan.id HAVING loan.settled <> COALESCE(sum(reservation.settled_amount), 0)
        """,
    ),
    Invariant(
        "A loan's claimed sum is that of its reserved and pending reservations",
        """
        SELECT loan.id, NULL, COALESCE(sum(reservation.amount), 0), loan.claimed
        FROM loans_loan loan LEFT JOIN loans_reservation reservation
            ON reservation.loan_id = loan.id AND reservation.state IN ('reserved', 'pending')
        GROUP BY loan.id HAVING loan.claimed <> COALESCE(sum(reservation.amount), 0)
        """,
    ),
    Invariant(
        "A loan's reservations are numbered without a gap",
        """
        SELECT loan.id, NULL, loan.last_number || ' numbers given',
            count(reservation.id) || ' reservations, the last number ' || COALESCE(max(reservation.number), 0)
        FROM loans_loan loan LEFT JOIN loans_reservation reservation ON reservation.loan_id = loan.id
        GROUP BY loan.id HAVING loan.last_number <> count(reservation.id) OR loan.last_number <> COALESCE(max(reservation.number), 0)
        """,
    ),
    Invariant(
        "A loan's settled sum is within its amount",
        "SELECT id, NULL, 'at most ' || amount, settled FROM loans_loan WHERE settled > amount OR settled < 0",
    ),
    Invariant(
        "A loan is funded if and only if all of it has settled",
        """
        SELECT id, NULL, CASE WHEN settled = amount THEN 'funded' ELSE 'not funded with ' || settled || ' of ' || amount END, status
        FROM loans_loan WHERE (status = 'funded') <> (settled = amount)
        """,
    ),
    Invariant(
        "Only an open loan has live reservations",
        """
        SELECT loan.id, reservation.id, 'none on a ' || loan.status || ' loan', reservation.state || ' with ' || reservation.amount
        FROM loans_loan loan JOIN loans_reservation reservation ON reservation.loan_id = loan.id
        WHERE loan.status <> 'open' AND reservation.state IN ('reserved', 'pending')
        """,
    ),
    Invariant(
        "Only an open or funded loan has settled pieces",
        """
        SELECT loan.id, reservation.id, 'none on a ' || loan.status || ' loan', reservation.settled_amount
        FROM loans_loan loan JOIN loans_reservation reservation ON reservation.loan_id = loan.id
        WHERE loan.status NOT IN ('open', 'funded') AND reservation.state = 'settled'
        """,
    ),
    Invariant(
        "A settled piece is more than nothing and at most its reservation, and no other reservation has settled",
        """
        SELECT loan_id, id, CASE WHEN state = 'settled' THEN 'up to ' || amount ELSE 'nothing while ' || state END, settled_amount
        FROM loans_reservation
        WHERE CASE WHEN state = 'settled' THEN settled_amount <= 0 OR settled_amount > amount ELSE settled_amount <> 0 END
        """,
    ),
    Invariant(
        "A clock runs for a live reservation without its money, and for no other",
        """
        SELECT loan_id, id, CASE WHEN ticking THEN 'a deadline' ELSE 'none' END, COALESCE(expires_at::text, 'none')
        FROM (
            SELECT *, state = 'reserved' OR (state = 'pending' AND funded_at IS NULL) AS ticking FROM loans_reservation
        ) AS reservation
        WHERE ticking <> (expires_at IS NOT NULL)
        """,
    ),
    Invariant(
        "Lapsed reservations are swept within minutes",
        """
        SELECT loan_id, NULL, 'none', count(*) || ' reservations of ' || sum(amount) || ' dollars lapsed since ' || min(expires_at)
        FROM loans_reservation WHERE expires_at <= %(swept_by)s GROUP BY loan_id
        """,
    ),
    Invariant(
        "A pending reservation has one transfer on its way or here, and a reserved one has none on its way",
        """
        SELECT reservation.loan_id, reservation.id,
            CASE WHEN reservation.state = 'pending' THEN 'a transfer of ' || reservation.amount ELSE 'none' END,
            count(inbound.id) FILTER (WHERE inbound.status = 'initiated') || ' on the way, '
                || count(inbound.id) FILTER (WHERE inbound.status = 'cleared') || ' here'
        FROM loans_reservation reservation
        LEFT JOIN loans_transfer inbound ON inbound.reservation_id = reservation.id AND inbound.direction = 'inbound'
        WHERE reservation.state IN ('reserved', 'pending')
        GROUP BY reservation.id
        HAVING CASE WHEN reservation.state = 'pending'
            THEN count(*) FILTER (WHERE inbound.status IN ('initiated', 'cleared')) = 0
                OR count(*) FILTER (WHERE inbound.status = 'initiated') > 1
            ELSE count(*) FILTER (WHERE inbound.status = 'initiated') > 0 END
        """,
    ),
    Invariant(
        "What a reservation received is the sum of its cleared transfers",
        """
        SELECT reservation.loan_id, reservation.id, COALESCE(sum(inbound.amount), 0), reservation.received
        FROM loans_reservation reservation
        LEFT JOIN loans_transfer inbound
            ON inbound.reservation_id = reservation.id AND inbound.direction = 'inbound' AND inbound.status = 'cleared'
        GROUP BY reservation.id HAVING reservation.received <> COALESCE(sum(inbound.amount), 0)
        """,
    ),
    Invariant(
        "What a reservation is refunded is the sum of its refunds due and paid",
        """
        SELECT reservation.loan_id, reservation.id, COALESCE(sum(refund.amount), 0), reservation.refunded
        FROM loans_reservation reservation
        LEFT JOIN loans_transfer refund
            ON refund.reservation_id = reservation.id AND refund.direction = 'refund' AND refund.status <> 'void'
        GROUP BY reservation.id HAVING reservation.refunded <> COALESCE(sum(refund.amount), 0)
        """,
    ),
    Invariant(
        "Money that came is settled, refunded, or waits for its reservation's turn",
        f"""
        SELECT loan_id, id,
            CASE WHEN state = 'pending' AND funded_at IS NOT NULL THEN amount || ' waiting'
                 WHEN state = 'pending' THEN 'less than ' || amount || ' waiting' ELSE 'nothing waiting while ' || state END,
            waiting || ' (' || received || ' received, ' || lost || ' lost, ' || refunded || ' refunded, ' || settled_amount || ' settled)'
        FROM (SELECT *, received + lost - refunded - settled_amount AS waiting FROM loans_reservation) AS reservation
        WHERE NOT ({_MAY_WAIT})
        """,
    ),
    Invariant(
        "A loan stands where its history ends",
        """
        SELECT loan.id, NULL, COALESCE(last.to_state || ' with ' || last.amount, 'no such loan'), loan.status || ' with ' || loan.amount
        FROM loans_loan loan LEFT JOIN LATERAL (
            SELECT to_state, amount FROM loans_transition WHERE loan_id = loan.id AND reservation_id IS NULL ORDER BY id DESC LIMIT 1
        ) AS last ON true
        WHERE (last.to_state, last.amount) IS DISTINCT FROM (loan.status, loan.amount)
        """,
    ),
    Invariant(
        "A reservation stands where its history ends",
        """
        SELECT reservation.loan_id, reservation.id, COALESCE(last.to_state, 'no such reservation'),
            reservation.state || ' with ' || reservation.amount
        FROM loans_reservation reservation LEFT JOIN (
            SELECT DISTINCT ON (reservation_id) reservation_id, to_state FROM loans_transition
            WHERE reservation_id IS NOT NULL AND transfer_id IS NULL ORDER BY reservation_id, id DESC
        ) AS last ON last.reservation_id = reservation.id
        WHERE last.to_state IS DISTINCT FROM reservation.state
        """,
    ),
    Invariant(
        "A transfer stands where its history ends",
        """
        SELECT reservation.loan_id, reservation.id,
            transfer.reference || ' ' || COALESCE(last.to_state || ' with ' || last.amount, 'unknown'),
            transfer.status || ' with ' || transfer.amount
        FROM loans_transfer transfer JOIN loans_reservation reservation ON reservation.id = transfer.reservation_id
        LEFT JOIN (
            SELECT DISTINCT ON (transfer_id) transfer_id, to_state, amount FROM loans_transition
            WHERE transfer_id IS NOT NULL ORDER BY transfer_id, id DESC
        ) AS last ON last.transfer_id = transfer.id
        WHERE (last.to_state, last.amount) IS DISTINCT FROM (transfer.status, transfer.amount)
        """,
    ),
]


def find_breaches(now: datetime | None = None) -> int:
    """Recount everything and list each breach, once for as long as its review item is open; returns how many breaches there are."""
    at = database_now(now)
    found = sum(_report(_breaches(invariant, at), at) for invariant in INVARIANTS)
    return found + _report(_missing_closing_values(at), at) + _drifted(at)


def _breaches(invariant: Invariant, at: datetime) -> list[Breach]:
    statement = f"""
        SELECT loan_id, reservation_id::uuid, expected, found
        FROM ({invariant.breaches}) AS breach (loan_id, reservation_id, expected, found)
        ORDER BY loan_id, reservation_id LIMIT %(most)s
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, {"swept_by": at - SWEPT_WITHIN, "most": MOST_LISTED})
        return [Breach(invariant.says, *row) for row in cursor.fetchall()]


def _missing_closing_values(at: datetime) -> list[Breach]:
    (day,) = closed_banking_days(at - CLOSED_WITHIN, 1)
    says = "An open or funded loan has a closing value of each banking day"
    missing = loans_without_closing_value(day, close_of(day))[:MOST_LISTED]
    return [Breach(says, loan_id, None, f"one of {day}", "none") for loan_id in missing]


def _report(breaches: list[Breach], at: datetime) -> int:
    """Open a review item for each breach that has none open, whatever its amounts were then."""
    if breaches:
        known = set(
            ReviewItem.objects.filter(kind="breach", resolved_at=None, detail__startswith=breaches[0].says + ":").values_list(
                "loan_id", "reservation_id"
            )
        )
        for breach in breaches:
            logger.error("Breach on loan %s, reservation %s: %s", breach.loan_id, breach.reservation_id, breach.detail)
            if (breach.loan_id, breach.reservation_id) not in known:
                open_review_item("breach", breach.detail, at=at, loan_id=breach.loan_id, reservation_id=breach.reservation_id)
    return len(breaches)


def _drifted(at: datetime) -> int:
    drifted = 0
    loan_ids = all_loan_ids()
    for start in range(0, len(loan_ids), BATCH_SHOWN):
        try:
            drift = remaining_cache.compare(loan_ids[start : start + BATCH_SHOWN]).drift
        except RedisError as error:
            logger.warning("Redis is away and was not compared: %s", error)
            break
        report_drift(drift, at)
        drifted += len(drift)
    return drifted
