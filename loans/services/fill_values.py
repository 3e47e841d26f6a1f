"""Keep, of loans with a long history, what was settled, pending and reserved at the end of each minute in which something happened.

The page of a loan draws its fill curve from these values and from the history after them. A loan's transitions become visible in the
order of their ids, since each is written under the loan's lock. So values up to the last visible one never change.
"""

from django.db import connection

LEAST_NEW = 1_000  # transitions of a loan; fewer are read for its page
# Of one loan, in one statement. A minute in which a batch ends gets a second value from the next batch; both are true at their instants.
BATCH_TRANSITIONS = 20_000
MOST_BATCHES = 500  # ten million transitions; the next run continues

# The transitions that change what is settled, pending or reserved: those of the loan and of its reservations. A loss changes no state.
_OF_THE_CURVE = "transfer_id IS NULL AND waiting_entry_id IS NULL AND event NOT IN ('lost', 'recovered')"

# The subquery has a row if the loan has `least_new` new transitions: it skips all but the last of them, and PostgreSQL reads no further.
_LOANS_WITH_NEW_HISTORY = f"""
    SELECT loan.id FROM loans_loan AS loan WHERE EXISTS (
        SELECT FROM loans_transition WHERE loan_id = loan.id AND id > COALESCE(
            (SELECT transition_id FROM loans_fillvalue WHERE loan_id = loan.id ORDER BY transition_id DESC LIMIT 1), 0
        ) AND {_OF_THE_CURVE} ORDER BY id OFFSET %(least_new)s - 1 LIMIT 1
    ) ORDER BY id
"""
# The same run twice, or two at once, insert the same values: each row holds the sums up to its own transition, and
# a unique constraint keeps one row for each.
_INSERT_VALUES = f"""
    WITH kept AS MATERIALIZED (
        -- The last values, or zeros.
        SELECT transition_id, amount, settled, pending, reserved, overbooking_rate FROM loans_fillvalue WHERE loan_id = %(loan_id)s
        UNION ALL SELECT 0, 0, 0, 0, 0, NULL
        ORDER BY transition_id DESC LIMIT 1
    ), batch AS MATERIALIZED (
        -- The next transitions of the loan and its reservations.
        SELECT id, at, reservation_id, from_state, to_state, amount, facts FROM loans_transition
        WHERE loan_id = %(loan_id)s AND id > (SELECT transition_id FROM kept)
            AND {_OF_THE_CURVE}
        ORDER BY id LIMIT %(size)s
    ), changes AS (
        -- With the amount that each reservation had before: that of its previous transition, in the batch or before it. Of the loan's
        -- own rows it means nothing; `sums` leaves them out.
        SELECT batch.*, COALESCE(
            lag(amount) OVER (PARTITION BY reservation_id ORDER BY id),
            CASE WHEN from_state IN ('reserved', 'pending', 'settled') THEN (
                SELECT amount FROM loans_transition AS earlier
                WHERE earlier.reservation_id = batch.reservation_id AND earlier.id < batch.id AND {_OF_THE_CURVE}
                ORDER BY earlier.id DESC LIMIT 1
            ) END, 0
        ) AS former
        FROM batch
    ), sums AS (
        SELECT id, at,
            max(id) FILTER (WHERE reservation_id IS NULL) OVER so_far AS last_of_loan,
            max(id) FILTER (WHERE jsonb_exists(facts, 'overbooking_rate')) OVER so_far AS last_of_rate,
            sum(CASE to_state WHEN 'settled' THEN amount ELSE 0 END - CASE from_state WHEN 'settled' THEN former ELSE 0 END)
                FILTER (WHERE reservation_id IS NOT NULL) OVER so_far AS settled,
            sum(CASE to_state WHEN 'pending' THEN amount ELSE 0 END - CASE from_state WHEN 'pending' THEN former ELSE 0 END)
                FILTER (WHERE reservation_id IS NOT NULL) OVER so_far AS pending,
            sum(CASE to_state WHEN 'reserved' THEN amount ELSE 0 END - CASE from_state WHEN 'reserved' THEN former ELSE 0 END)
                FILTER (WHERE reservation_id IS NOT NULL) OVER so_far AS reserved
        FROM changes WINDOW so_far AS (ORDER BY id)
    ), last_of_minutes AS (
        SELECT DISTINCT ON (date_trunc('minute', at)) * FROM sums ORDER BY date_trunc('minute', at), id DESC
    )
    INSERT INTO loans_fillvalue (loan_id, transition_id, at, amount, settled, pending, reserved, overbooking_rate)
    SELECT %(loan_id)s, id, at, COALESCE((SELECT amount FROM batch WHERE batch.id = last_of_loan), kept.amount),
        kept.settled + COALESCE(last_of_minutes.settled, 0), kept.pending + COALESCE(last_of_minutes.pending, 0),
        kept.reserved + COALESCE(last_of_minutes.reserved, 0),
        COALESCE((SELECT (facts ->> 'overbooking_rate')::numeric FROM batch WHERE batch.id = last_of_rate), kept.overbooking_rate)
    FROM last_of_minutes, kept
    ON CONFLICT DO NOTHING
"""


def record_new_fill_values(*, least_new: int = LEAST_NEW, batch: int = BATCH_TRANSITIONS) -> int:
    """Keep the values of all loans that have `least_new` new transitions or more, and return how many values are new."""
    recorded = 0
    for _ in range(MOST_BATCHES):
        with connection.cursor() as cursor:
            cursor.execute(_LOANS_WITH_NEW_HISTORY, {"least_new": least_new})
            loan_ids = [loan_id for (loan_id,) in cursor.fetchall()]
            if not loan_ids:
                break
            for loan_id in loan_ids:
                cursor.execute(_INSERT_VALUES, {"loan_id": loan_id, "size": batch})
                recorded += cursor.rowcount
    return recorded
