"""The invariants of loans, reservations, transfers and history: what must hold at every moment, and the query for where it does not.

Each query returns rows of loan id, reservation id (NULL where it is about the loan), what is expected, and what is there.
"""

from dataclasses import dataclass
from datetime import timedelta

SWEPT_WITHIN = timedelta(minutes=10)  # the expire job runs each minute; one that has not run for ten does not run


@dataclass(frozen=True)
class Invariant:
    """A sentence that must hold. Its query may use the parameters `at`, the present, and `swept_by`: what lapsed before must be swept."""

    sentence: str
    breaches_sql: str


INVARIANTS = [
    Invariant(
        "A loan's settled dollars are the sum of what its reservations have settled",
        """
        SELECT loan.id, NULL, COALESCE(sum(reservation.settled_amount), 0), loan.settled
        FROM loans_loan loan LEFT JOIN loans_reservation reservation ON reservation.loan_id = loan.id
        GROUP BY loan.id HAVING loan.settled <> COALESCE(sum(reservation.settled_amount), 0)
        """,
    ),
    Invariant(
        "A loan's claimed dollars are the sum of its reserved and pending reservations",
        """
        SELECT loan.id, NULL, COALESCE(sum(reservation.amount), 0), loan.claimed
        FROM loans_loan loan LEFT JOIN loans_reservation reservation
            ON reservation.loan_id = loan.id AND reservation.state IN ('reserved', 'pending')
        GROUP BY loan.id HAVING loan.claimed <> COALESCE(sum(reservation.amount), 0)
        """,
    ),
    Invariant(
        "A loan's waiting entries and dollars are those of its waiting list",
        """
        SELECT loan.id, NULL, count(entry.id) || ' with ' || COALESCE(sum(entry.amount), 0), waiting_entries || ' with ' || waiting_dollars
        FROM loans_loan loan LEFT JOIN loans_waitinglistentry entry ON entry.loan_id = loan.id AND entry.state = 'waiting'
        GROUP BY loan.id
        HAVING (loan.waiting_entries, loan.waiting_dollars) IS DISTINCT FROM (count(entry.id)::int, COALESCE(sum(entry.amount), 0))
        """,
    ),
    Invariant(
        "Only an open loan has a waiting list",
        """
        SELECT loan.id, NULL, 'none on a ' || loan.status || ' loan', count(*) || ' entries'
        FROM loans_loan loan JOIN loans_waitinglistentry entry ON entry.loan_id = loan.id
        WHERE loan.status <> 'open' AND entry.state = 'waiting' GROUP BY loan.id
        """,
    ),
    Invariant(
        "A placed entry of a waiting list has a reservation of its loan and investor, of at least what it takes and at most what it wants",
        """
        SELECT entry.loan_id, entry.reservation_id, entry.at_least || ' to ' || entry.amount, first.amount
        FROM loans_waitinglistentry entry JOIN loans_reservation reservation ON reservation.id = entry.reservation_id
        JOIN LATERAL (
            SELECT amount FROM loans_transition WHERE reservation_id = reservation.id AND event = 'reserved' ORDER BY id LIMIT 1
        ) AS first ON true
        WHERE first.amount NOT BETWEEN entry.at_least AND entry.amount
            OR (reservation.loan_id, reservation.investor_id, reservation.created_at)
                IS DISTINCT FROM (entry.loan_id, entry.investor_id, entry.ended_at)
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
        "A loan's settled dollars are at most its amount",
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
        "Only an open or funded loan has settled reservations",
        """
        SELECT loan.id, reservation.id, 'none on a ' || loan.status || ' loan', reservation.settled_amount
        FROM loans_loan loan JOIN loans_reservation reservation ON reservation.loan_id = loan.id
        WHERE loan.status NOT IN ('open', 'funded') AND reservation.state = 'settled'
        """,
    ),
    Invariant(
        "A settled reservation has settled more than 0 and at most its amount, every other one 0",
        """
        SELECT loan_id, id, CASE WHEN state = 'settled' THEN 'up to ' || amount ELSE 'nothing while ' || state END, settled_amount
        FROM loans_reservation
        WHERE CASE WHEN state = 'settled' THEN settled_amount <= 0 OR settled_amount > amount ELSE settled_amount <> 0 END
        """,
    ),
    Invariant(
        "A reservation has a deadline if it is live and not funded, and only then",
        """
        SELECT loan_id, id, CASE WHEN clock_runs THEN 'a deadline' ELSE 'none' END, COALESCE(expires_at::text, 'none')
        FROM (
            SELECT *, state = 'reserved' OR (state = 'pending' AND funded_at IS NULL) AS clock_runs FROM loans_reservation
        ) AS reservation
        WHERE clock_runs <> (expires_at IS NOT NULL)
        """,
    ),
    Invariant(
        "A lapsed reservation is swept within ten minutes",
        """
        SELECT loan_id, NULL, 'none', count(*) || ' reservations of ' || sum(amount) || ' dollars lapsed since ' || min(expires_at)
        FROM loans_reservation WHERE expires_at <= %(swept_by)s GROUP BY loan_id
        """,
    ),
    Invariant(
        "A pending reservation has a transfer on its way or here, never two on their way; a reserved one has none on its way",
        """
        SELECT loan_id, id, CASE WHEN state = 'pending' THEN 'a transfer of ' || amount ELSE 'none' END,
            on_the_way || ' on the way, ' || here || ' here'
        FROM (
            SELECT reservation.loan_id, reservation.id, reservation.state, reservation.amount,
                count(inbound.id) FILTER (WHERE inbound.status = 'initiated') AS on_the_way,
                count(inbound.id) FILTER (WHERE inbound.status = 'cleared') AS here
            FROM loans_reservation reservation
            LEFT JOIN loans_transfer inbound ON inbound.reservation_id = reservation.id AND inbound.direction = 'inbound'
            WHERE reservation.state IN ('reserved', 'pending')
            GROUP BY reservation.id
        ) AS reservation
        WHERE CASE WHEN state = 'pending' THEN on_the_way + here = 0 OR on_the_way > 1 ELSE on_the_way > 0 END
        """,
    ),
    Invariant(
        "What a reservation received is the sum of what its inbound transfers have moved",
        """
        SELECT reservation.loan_id, reservation.id, COALESCE(sum(inbound.moved), 0), reservation.received
        FROM loans_reservation reservation
        LEFT JOIN loans_transfer inbound ON inbound.reservation_id = reservation.id AND inbound.direction = 'inbound'
        GROUP BY reservation.id HAVING reservation.received <> COALESCE(sum(inbound.moved), 0)
        """,
    ),
    Invariant(
        "What a reservation is refunded is the sum of its refunds due, sent and paid",
        """
        SELECT reservation.loan_id, reservation.id, COALESCE(sum(refund.dollars), 0), reservation.refunded
        FROM loans_reservation reservation
        LEFT JOIN (
            SELECT reservation_id, CASE WHEN status IN ('due', 'sent') THEN amount ELSE moved END AS dollars
            FROM loans_transfer WHERE direction = 'refund'
        ) AS refund ON refund.reservation_id = reservation.id
        GROUP BY reservation.id HAVING reservation.refunded <> COALESCE(sum(refund.dollars), 0)
        """,
    ),
    Invariant(
        "Received money is settled, refunded, or waits for the turn of its reservation",
        """
        SELECT loan_id, id,
            CASE WHEN state = 'pending' AND funded_at IS NOT NULL THEN amount || ' waiting'
                 WHEN state = 'pending' THEN 'less than ' || amount || ' waiting' ELSE 'nothing waiting while ' || state END,
            waiting || ' (' || received || ' received, ' || lost || ' lost, ' || refunded || ' refunded, ' || settled_amount || ' settled)'
        FROM (SELECT *, received + lost - refunded - settled_amount AS waiting FROM loans_reservation) AS reservation
        -- A funded reservation keeps its whole amount until its turn comes; a pending one may have too little; no other keeps any.
        WHERE CASE WHEN state = 'pending' AND funded_at IS NOT NULL THEN waiting <> amount
                   WHEN state = 'pending' THEN waiting < 0 OR waiting >= amount ELSE waiting <> 0 END
        """,
    ),
    Invariant(
        "An investor's unfunded dollars are at most what the investor's row says",
        """
        SELECT NULL::bigint, NULL, 'at least ' || sum(reservation.amount), investor.unfunded_at_most || ' for investor ' || investor.id
        FROM loans_investor investor JOIN loans_reservation reservation ON reservation.investor_id = investor.id
        WHERE reservation.expires_at > %(at)s
        GROUP BY investor.id HAVING investor.unfunded_at_most < sum(reservation.amount)
        """,
    ),
    Invariant(
        "A loan has the status and the amount of its last transition",
        """
        SELECT loan.id, NULL, COALESCE(last.to_state || ' with ' || last.amount, 'no such loan'), loan.status || ' with ' || loan.amount
        FROM loans_loan loan LEFT JOIN LATERAL (
            SELECT to_state, amount FROM loans_transition
            WHERE loan_id = loan.id AND reservation_id IS NULL AND waiting_entry_id IS NULL ORDER BY id DESC LIMIT 1
        ) AS last ON true
        WHERE (last.to_state, last.amount) IS DISTINCT FROM (loan.status, loan.amount)
        """,
    ),
    Invariant(
        "A reservation has the state of its last transition",
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
        "An entry of a waiting list has the state of its last transition",
        """
        SELECT entry.loan_id, NULL, 'entry ' || entry.id || ' ' || COALESCE(last.to_state, 'unknown'), entry.state
        FROM loans_waitinglistentry entry LEFT JOIN (
            SELECT DISTINCT ON (waiting_entry_id) waiting_entry_id, to_state FROM loans_transition
            WHERE waiting_entry_id IS NOT NULL ORDER BY waiting_entry_id, id DESC
        ) AS last ON last.waiting_entry_id = entry.id
        WHERE last.to_state IS DISTINCT FROM entry.state
        """,
    ),
    Invariant(
        "A standing order has the state and the place of its last transition",
        """
        SELECT NULL::bigint, NULL, 'order ' || orders.id || ' ' || COALESCE(last.to_state || ' at ' || last.place, 'unknown'),
            orders.state || ' at ' || orders.place
        FROM loans_standingorder orders LEFT JOIN (
            SELECT DISTINCT ON (order_id) order_id, to_state, place FROM loans_standingordertransition ORDER BY order_id, id DESC
        ) AS last ON last.order_id = orders.id
        WHERE (last.to_state, last.place) IS DISTINCT FROM (orders.state, orders.place)
        """,
    ),
    Invariant(
        "What an opening gave to a standing order is a reservation of its investor, made then, of as many dollars",
        """
        SELECT COALESCE(given.loan_id, reservation.loan_id), reservation.id, COALESCE(given.amount::text, 'none'),
            COALESCE(first.amount::text, 'none') || ' of investor ' || COALESCE(reservation.investor_id::text, 'unknown')
        FROM (
            SELECT outcome.*, investor_id FROM loans_standingordertransition outcome
            JOIN loans_standingorder orders ON orders.id = outcome.order_id WHERE outcome.amount IS NOT NULL
        ) AS given
        FULL JOIN (SELECT * FROM loans_reservation WHERE standing_order_id IS NOT NULL) AS reservation
            ON (reservation.loan_id, reservation.standing_order_id, reservation.investor_id, reservation.created_at)
                = (given.loan_id, given.order_id, given.investor_id, given.at)
        LEFT JOIN LATERAL (
            SELECT amount FROM loans_transition WHERE reservation_id = reservation.id AND event = 'reserved' ORDER BY id LIMIT 1
        ) AS first ON true
        WHERE given.amount IS DISTINCT FROM first.amount
        """,
    ),
    Invariant(
        "An opening gave to standing orders at most the share that the loan kept for them",
        """
        SELECT loan.id, NULL, 'at most ' || trunc(opened.amount * automated_share, 2), sum(outcome.amount)
        FROM loans_loan loan JOIN loans_standingordertransition outcome ON outcome.loan_id = loan.id
        JOIN loans_transition opened ON opened.loan_id = loan.id AND opened.event = 'opened'
        GROUP BY loan.id, opened.amount HAVING sum(outcome.amount) > trunc(opened.amount * automated_share, 2)
        """,
    ),
    Invariant(
        "A transfer has the status of its last transition",
        """
        SELECT reservation.loan_id, reservation.id, transfer.reference || ' ' || COALESCE(last.to_state, 'unknown'), transfer.status
        FROM loans_transfer transfer JOIN loans_reservation reservation ON reservation.id = transfer.reservation_id
        LEFT JOIN (
            SELECT DISTINCT ON (transfer_id) transfer_id, to_state FROM loans_transition
            WHERE transfer_id IS NOT NULL ORDER BY transfer_id, id DESC
        ) AS last ON last.transfer_id = transfer.id
        WHERE last.to_state IS DISTINCT FROM transfer.status
        """,
    ),
    Invariant(
        "What a transfer has moved is the sum of the bank's reports that its history records",
        """
        SELECT reservation.loan_id, reservation.id, transfer.reference || ' ' || COALESCE(history.moved, 0), transfer.moved
        FROM loans_transfer transfer JOIN loans_reservation reservation ON reservation.id = transfer.reservation_id
        LEFT JOIN (
            SELECT transfer_id, sum(
                CASE WHEN event IN ('cleared', 'paid', 'paid_in_part') THEN amount
                     WHEN event IN ('returned', 'returned_in_part', 'bounced', 'bounced_in_part') THEN -amount ELSE 0 END
            ) AS moved
            FROM loans_transition WHERE transfer_id IS NOT NULL GROUP BY transfer_id
        ) AS history ON history.transfer_id = transfer.id
        WHERE transfer.moved <> COALESCE(history.moved, 0)
        """,
    ),
    Invariant(
        "A message goes to the investor whom it concerns",
        """
        SELECT COALESCE(reservation.loan_id, entry.loan_id, watch.loan_id), reservation.id, concerned.id, delivery.investor_id
        FROM loans_delivery delivery LEFT JOIN loans_reservation reservation ON reservation.id = delivery.reservation_id
        LEFT JOIN loans_waitinglistentry entry ON entry.id = delivery.waiting_entry_id
        LEFT JOIN loans_watchnotice notice ON notice.id = delivery.watch_notice_id LEFT JOIN loans_watch watch ON watch.id = notice.watch_id
        LEFT JOIN loans_webhookendpoint endpoint ON endpoint.id = delivery.endpoint_id,
        LATERAL (SELECT COALESCE(reservation.investor_id, entry.investor_id, watch.investor_id) AS id) AS concerned
        WHERE delivery.investor_id <> concerned.id OR endpoint.investor_id <> concerned.id
        """,
    ),
    Invariant(
        "What has moved for a reservation is what the bank's reports about it add up to",
        # A report counts where it confirms no other, staff have not called it the same payment, and it did not change nothing.
        """
        SELECT loan_id, id, reported || ' by the reports', received || ' received'
        FROM (
            SELECT reservation.loan_id, reservation.id, reservation.received, (
                SELECT COALESCE(sum(event.amount), 0)
                FROM loans_bankevent event JOIN loans_transfer transfer ON transfer.id = event.transfer_id
                WHERE transfer.reservation_id = reservation.id AND event.type = 'transfer.cleared'
                    AND event.confirms_id IS NULL AND event.answer <> 'same'
            ) AS reported
            FROM loans_reservation reservation
        ) AS reservation
        WHERE received > reported
        """,
    ),
]
