"""Let an investor watch loans, and note since when the watched loans have dollars available.

A job writes to the watchers of a loan (`loans/notifications/watches.py`). It compares instants: since when dollars are available, or when
the loan opened, with the instant up to which the investor knows of the loan (`Watch.known_at`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from loans.domain.errors import Invalid, NotFound
from loans.domain.states import PUBLIC_STATUSES
from loans.domain.watches import MOST_WATCHES
from loans.ledger.locks import lock_investors, short_transaction
from loans.models import Loan, Watch
from loans.selectors.offers import UNCLAIMED
from loans.selectors.watches import watches_of
from peerloans.database.clock import database_now

AVAILABLE = f"({UNCLAIMED}) - loan.waiting_dollars"
"""SQL: what one reservation could take of an open `loan`, or less than 0."""
_IS_AVAILABLE = f"(status = 'open' AND closes_at > %(at)s AND {AVAILABLE} >= LEAST(minimum, amount - settled))"
# It excludes units of work, which lock the loan FOR UPDATE. The UPDATE of an admission changes no key, so it goes on. The loan comes before
# the investor, as everywhere.
_HOLD_LOAN = "SELECT id, status FROM loans_loan WHERE reference = %s FOR KEY SHARE"
_BEGIN = f"""
    INSERT INTO loans_watchedloan (loan_id, is_available) SELECT id, {_IS_AVAILABLE} FROM loans_loan AS loan WHERE id = %(loan_id)s
    ON CONFLICT DO NOTHING
"""
_CHANGED = f"""
    SELECT loan_id FROM loans_watchedloan AS watched JOIN loans_loan AS loan ON loan.id = loan_id
    WHERE (%(loan_ids)s::bigint[] IS NULL OR loan_id = ANY(%(loan_ids)s)) AND watched.is_available <> {_IS_AVAILABLE}
    ORDER BY loan_id
"""
_LOCK = "SELECT FROM loans_watchedloan WHERE loan_id = ANY(%(loan_ids)s) ORDER BY loan_id FOR UPDATE"
# A statement after the lock, so that it decides by what is committed by then.
_NOTE = f"""
    UPDATE loans_watchedloan AS watched SET
        is_available = {_IS_AVAILABLE},
        available_since = CASE WHEN watched.is_available THEN available_since ELSE %(at)s END
    FROM loans_loan AS loan WHERE loan.id = loan_id AND loan_id = ANY(%(loan_ids)s) AND watched.is_available <> {_IS_AVAILABLE}
"""


def watch_loan(*, investor_id: int, reference: str, now: datetime | None = None) -> Watch:
    """Let the investor watch the loan. A repeat only notes that the investor knows what the loan offers now.

    Raises:
        NotFound: there is no such loan, or only staff see it.
        Invalid: the investor watches 200 loans already.
        Busy.
    """
    with short_transaction(), connection.cursor() as cursor:
        cursor.execute(_HOLD_LOAN, [reference])
        row = cursor.fetchone()
        if row is None or row[1] not in PUBLIC_STATUSES:
            raise NotFound(f"There is no loan {reference}.")
        loan_id, at = row[0], database_now(now)
        lock_investors([investor_id])
        others = watches_of(investor_id).exclude(loan=loan_id)
        if others.count() >= MOST_WATCHES:
            raise Invalid(f"You watch {MOST_WATCHES} loans, the most there may be. Stop watching one first.")
        cursor.execute(_BEGIN, {"loan_id": loan_id, "at": at})
        note_availability([loan_id], at)
        watch, is_new = Watch.objects.get_or_create(
            loan_id=loan_id, investor_id=investor_id, defaults={"since": at, "known_at": at, "emailed_at": None}
        )
        if not is_new:
            watch.since = at if watch.ended_at else watch.since
            watch.known_at, watch.emailed_at, watch.ended_at = at, None, None
            watch.save(update_fields=["since", "known_at", "emailed_at", "ended_at"])
    return watch


def stop_watching(*, investor_id: int, reference: str, now: datetime | None = None) -> None:
    """End the investor's watch of the loan. A repeat changes nothing, and so does a loan that is not watched.

    Raises:
        NotFound: there is no such loan, or only staff see it and the investor has never watched it.
        Busy.
    """
    with short_transaction():
        own = Watch.objects.filter(investor=investor_id, loan__reference=reference)
        if not own.exists() and not Loan.objects.filter(reference=reference, status__in=PUBLIC_STATUSES).exists():
            raise NotFound(f"There is no loan {reference}.")
        own.filter(ended_at=None).update(ended_at=database_now(now))


def note_that_seen(*, investor_id: int, reference: str, now: datetime | None = None) -> bool:
    """Return whether the investor watches the loan; if so, note that they know what it offers now. Call it before the offer is read.

    Raises:
        Busy.
    """
    loan_id = watches_of(investor_id).filter(loan__reference=reference).values_list("loan_id", flat=True).first()
    if loan_id is None:
        return False
    with short_transaction():
        at = database_now(now)
        note_availability([loan_id], at)
        Watch.objects.filter(investor=investor_id, loan=loan_id).update(known_at=at, emailed_at=None)
    return True


def note_availability(loan_ids: Sequence[int] | None, at: datetime) -> None:
    """Note of which watched loans somebody can reserve, and since when; of all of them where `loan_ids` is None."""
    values: dict[str, Any] = {"loan_ids": None if loan_ids is None else list(loan_ids), "at": at}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CHANGED, values)
        values["loan_ids"] = [row[0] for row in cursor.fetchall()]
        if values["loan_ids"]:
            cursor.execute(_LOCK, values)
            cursor.execute(_NOTE, values)
