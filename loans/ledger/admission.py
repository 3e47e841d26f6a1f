"""Take a new reservation into a loan's queue, or refuse it, in one statement.

One statement decides, counts, and writes the reservation, its history and the Idempotency-Key. Run outside of a transaction, it is its
own: the rows of the loan and the investor are locked only while it runs. Inside a longer transaction its locks last until that ends. A
refusal changes neither row; it may lock the loan's, and it may delete an outdated key. The statement's plan is kept (see
docs/performance.md).

What counts in the investor's limits is read in the statement's snapshot. The investor's row is changed with each reservation, and only
if it still has the version that the snapshot shows; otherwise more may count by now, and the statement fails as a whole. The caller then
tries again with both rows locked, and with the investor's dollars counted anew (`locks.recount_unfunded`).
"""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from psycopg.errors import NotNullViolation, UniqueViolation

from loans.domain.actors import Actor
from loans.domain.deadlines import TIME_TO_START_TRANSFER
from loans.domain.first_answer import KEPT_FOR, FirstAnswer, Key
from loans.domain.investor_limits import LET_GO_WITHIN
from loans.domain.states import ReservationState
from loans.ledger.bulk_write import refuse_extra_decimals
from loans.ledger.locks import KEY_LOCK
from loans.models import KEY_UNIQUE, Loan, Reservation
from loans.models.fields import uuid7
from loans.selectors.offers import MAY_BUY
from peerloans.database.prepared import Prepared

# The rules of loans/domain/loan_limits.py in SQL, over the columns of loans_loan. MAY_BUY, from the selectors, says who may buy; it reads
# the parameters `investor_id` and `now`.
REMAINING = "(amount - settled)"
LIMIT = "trunc((amount - settled) * (1 + overbooking_rate), 2)"
MEETS_MINIMUM = f"(%(amount)s >= minimum OR ({REMAINING} < minimum AND %(amount)s = {REMAINING}))"
FITS_LOAN = f"(%(amount)s + waiting_dollars <= {REMAINING} AND %(amount)s + waiting_dollars <= {LIMIT} - claimed)"
# The rules of loans/domain/investor_limits.py in SQL: `within_limits` says whether the investor may hold the new reservation too. Since
# `unfunded` is an upper bound (Investor.unfunded_at_most), it may be false without need; the caller then counts anew and tries again.
# `let_go_at < 'infinity'` gives the range two ends, so that PostgreSQL keeps the plan (peerloans/database/prepared.py).
INVESTOR_USE = """
    SELECT at, version, unfunded_at_most + %(amount)s AS unfunded,
        unfunded_at_most + %(amount)s <= unfunded_limit AND lapsed + let_go < let_go_limit AS within_limits
    FROM loans_investor, (SELECT COALESCE(%(now)s::timestamptz, statement_timestamp()) AS at) AS present, LATERAL (
        SELECT count(*) AS lapsed FROM loans_reservation
        WHERE investor_id = %(investor_id)s AND expires_at <= at AND expires_at > at - %(let_go_within)s::interval
    ) AS not_yet_canceled, LATERAL (
        SELECT count(*) AS let_go FROM loans_reservation
        WHERE investor_id = %(investor_id)s AND let_go_at > at - %(let_go_within)s::interval AND let_go_at < 'infinity'
    ) AS canceled
    WHERE loans_investor.id = %(investor_id)s
"""
LIMIT_ON_LOAN = "GREATEST(minimum, trunc(amount * investor_share, 2))"
# The investor's unfunded dollars on the loan are no more than those on all loans, and no more than what all investors claim of the loan. So
# they are added up only where both of these are above the limit. Only a live reservation that is not fully funded has a deadline: so
# `expires_at > at` means live and unfunded, and `expires_at <= at` lapsed and not yet swept.
WITHIN_LIMITS_OF_INVESTOR = f"""
    (SELECT within_limits FROM investor_use) AND (
        LEAST((SELECT unfunded FROM investor_use), claimed + %(amount)s) <= {LIMIT_ON_LOAN} OR %(amount)s + (
            SELECT COALESCE(sum(own.amount), 0) FROM loans_reservation AS own
            WHERE own.investor_id = %(investor_id)s AND own.loan_id = loans_loan.id AND own.expires_at > (SELECT at FROM investor_use)
        ) <= {LIMIT_ON_LOAN}
    )
"""

_ADMIT = Prepared(
    f"""
    WITH key AS MATERIALIZED (
        -- Lock the Idempotency-Key until the end of the transaction, without waiting. A request without a key needs no lock.
        SELECT %(key)s::text IS NULL OR pg_try_advisory_xact_lock({KEY_LOCK}) AS is_ours
    ), answered AS MATERIALIZED (
        -- The first answer to the key, while it counts.
        SELECT digest, status, body, reservation_id FROM loans_idempotencykey
        WHERE user_id = %(user_id)s AND key = %(key)s AND created_at > clock_timestamp() - %(kept_for)s::interval
    ), outdated AS (
        -- Delete an answer that no longer counts, so that the new one can be inserted.
        DELETE FROM loans_idempotencykey
        WHERE user_id = %(user_id)s AND key = %(key)s AND created_at <= clock_timestamp() - %(kept_for)s RETURNING id
    ), investor_use AS MATERIALIZED ({INVESTOR_USE}), admitted AS (
        -- Decide, lock the loan and count the reservation. PostgreSQL checks the conditions again on the locked row, if another
        -- transaction has changed it. RETURNING reads the clock when the loan is locked: that is the reservation's instant.
        UPDATE loans_loan
        SET claimed = claimed + %(amount)s, last_number = last_number + 1, version = version + 1
        WHERE reference = %(reference)s AND status = 'open' AND COALESCE(%(now)s::timestamptz, clock_timestamp()) < closes_at
            AND {MEETS_MINIMUM} AND {FITS_LOAN} AND {MAY_BUY} AND {WITHIN_LIMITS_OF_INVESTOR}
            AND (SELECT is_ours FROM key) AND NOT EXISTS (SELECT FROM answered)
        RETURNING id AS loan_id, last_number AS number, COALESCE(%(now)s::timestamptz, clock_timestamp()) AS at
    ), investor AS (
        -- Then lock the investor, and add the dollars; no row, if another transaction has changed the version since it was read.
        UPDATE loans_investor SET unfunded_at_most = unfunded_at_most + %(amount)s, version = loans_investor.version + 1
        FROM admitted, investor_use WHERE loans_investor.id = %(investor_id)s AND loans_investor.version = investor_use.version
        RETURNING loans_investor.id
    ), reserved AS (
        -- The reservation, with the next number of the loan's queue. If no row of the investor was changed, this fails (the column is
        -- NOT NULL), which undoes the whole statement.
        INSERT INTO loans_reservation
            (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at, received, refunded, lost)
        SELECT %(id)s, loan_id, (SELECT id FROM investor), number, %(amount)s, 0, 'reserved', '', at, at + %(time_to_live)s, 0, 0, 0
        FROM admitted
        RETURNING id, loan_id, number, amount, created_at, expires_at
    ), history AS (
        -- Its first transition.
        INSERT INTO loans_transition
            (at, loan_id, reservation_id, event, from_state, to_state, amount, deadline, rule, actor, user_id, reason)
        SELECT created_at, loan_id, id, 'reserved', '', 'reserved', amount, expires_at, '', %(actor)s, %(user_id)s, '' FROM reserved
    ), kept AS (
        -- Keep the key with the reservation. The join makes PostgreSQL finish the DELETE of the same key first.
        INSERT INTO loans_idempotencykey (user_id, key, digest, status, body, reservation_id, created_at)
        SELECT %(user_id)s, %(key)s, %(digest)s, 201, '', reserved.id, clock_timestamp()
        FROM reserved CROSS JOIN (SELECT count(*) FROM outdated) AS deleted
        WHERE %(key)s IS NOT NULL
    )
    -- One row in every case; _Row says what is in it.
    SELECT key.is_ours, answered.digest, answered.status, answered.body, answered.reservation_id,
        reserved.loan_id, reserved.number, reserved.amount, reserved.created_at, reserved.expires_at
    FROM key LEFT JOIN answered ON true LEFT JOIN reserved ON true
    """
)


class _Row(NamedTuple):
    """The one row that the statement returns."""

    key_is_ours: bool
    # The first answer to the key, else None. Its `reservation_id` is None too unless it was a new reservation.
    answer_digest: str | None
    answer_status: int
    answer_body: str
    answer_reservation_id: UUID | None
    # The new reservation, else None.
    loan_id: int | None
    number: int
    amount: Decimal
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Admission:
    """The result of a request: a reservation, the first answer to its key, a key that another request uses, or a refusal.

    `key_in_use`: another request holds the key, or has just answered it.
    """

    reservation: Reservation | None = None
    first_answer: FirstAnswer | None = None
    key_in_use: bool = False

    @property
    def refused(self) -> bool:
        """Return whether it is refused, by the loan's rules or the investor's, or since there is no such loan.

        Also where another transaction changed the investor's row while the statement ran; then a second attempt may be admitted.
        """
        return not (self.reservation or self.first_answer or self.key_in_use)


def admit_reservation(
    *,
    reference: str,
    investor_id: int,
    amount: Decimal,
    actor: Actor,
    key: Key | None = None,
    now: datetime | None = None,
) -> Admission:
    """Take a reservation of `amount` dollars into the loan's queue if the rules allow it, and keep the key with it.

    A refusal changes no row of a loan or an investor; an outdated key may be deleted. The key's lock is taken without waiting.

    Raises:
        ValueError: the amount has fractions of a cent.
        OperationalError: the lock of the loan does not come in time; `locks.busy_if_late` translates it.
    """
    reservation_id = uuid7()
    values: dict[str, Any] = {
        "id": reservation_id,
        "reference": reference,
        "investor_id": investor_id,
        "amount": refuse_extra_decimals(amount),
        "time_to_live": TIME_TO_START_TRANSFER,
        "let_go_within": LET_GO_WITHIN,
        "actor": actor.kind,
        "user_id": actor.user_id,
        "key": key and key.text,
        "digest": key and key.digest,
        "kept_for": KEPT_FOR,
        "now": now,
    }
    with connection.cursor() as cursor:
        try:
            with transaction.atomic() if connection.in_atomic_block else nullcontext():
                cursor.execute(_ADMIT, values)
        except IntegrityError as error:
            # The investor's row was changed after this statement began.
            if isinstance(error.__cause__, NotNullViolation) and error.__cause__.diag.column_name == "investor_id":
                return Admission()
            # Another request answered the key after this statement began, and released the key's lock before this one tried it.
            # The caller's next attempt finds that answer.
            if isinstance(error.__cause__, UniqueViolation) and error.__cause__.diag.constraint_name == KEY_UNIQUE:
                return Admission(key_in_use=True)
            raise
        row = _Row._make(cursor.fetchone())
    if row.loan_id:
        reservation = Reservation(
            id=reservation_id,
            loan=Loan.from_db(connection.alias, ["id", "reference"], [row.loan_id, reference]),
            investor_id=investor_id,
            number=row.number,
            amount=row.amount,
            state=ReservationState.RESERVED,
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        reservation._state.adding = False
        return Admission(reservation)
    if row.answer_digest:
        return Admission(first_answer=FirstAnswer(row.answer_digest, row.answer_status, row.answer_body, row.answer_reservation_id))
    return Admission(key_in_use=not row.key_is_ours)
