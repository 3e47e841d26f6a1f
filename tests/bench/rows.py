"""Make the rows of the bench by SQL: the same in both databases, in one ten times as many."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

INVESTORS = 1_000
RESERVATIONS_EACH = 100
SIZES = (100, 1_000, 10_000, 100_000)  # live reservations of the loans C-100 to C-100000
OPENING = 4_000_000  # the loans O-1, O-2, … have ids above
DRAFT = 6_000_000  # the drafts D-6000001, D-6000002, … have these ids
ORDERS = 10_000  # standing orders
# A day of Idempotency-Keys. On a table that was empty when it was analyzed, PostgreSQL keeps a plan that reads all of it.
KEYS = 50_000
LAPSE_DAYS = 7
TOKEN = "bench-{:09}"  # of the investor with this id

_LOAN = """
    INSERT INTO loans_loan (id, reference, title, address, city, state, zip, market_cbsa, market_msa, annual_rate, term_months, ltv, amount,
        minimum, overbooking_rate, settlement_rule, status, opens_at, closes_at, settled, claimed, last_number, version)
    SELECT id, reference, 'Four flats, ' || reference, '1 Ocean Drive', 'Manhattan Beach', 'CA', '90266', '31080',
        'Los Angeles-Long Beach-Anaheim, CA', 8, 24, 65, amount, 1000, 0.25, 'fifo', 'open', now() - id * interval '1 second',
        now() + interval '20 days', 0, claimed, last_number, 0
"""
_RESERVATION = """
    INSERT INTO loans_reservation (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at,
        funded_at, let_go_at, received, refunded, lost)
"""

# - B-1, B-2, …: a year of reservations, with their history. The oldest three tenths were canceled; the others are live. One tenth of all
#   lapses within minutes a day after the rows were made, the next tenth a day later, and so on for LAPSE_DAYS.
# - C-100, …: as many live reservations as the name says.   - FULL: nothing is available.
# - O-1, …: no reservation yet; 625 of $1,000 fit.
# - W-1: as B-1, but a hundred wait for $100,000.   - W-FULL: nothing is available, and a hundred wait.
# - D-6000001, …: drafts of which standing orders get 2,500 times $1,000; from D-6000101 on 10,000 times; from D-6000201 on 250 times,
#   and these are upcoming.
ROWS = f"""
SET session_replication_role = replica;
INSERT INTO loans_user (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    SELECT n, '', false, 'investor-' || n, '', '', '', false, true, now() FROM generate_series(1, {INVESTORS}) n;
SELECT setval(pg_get_serial_sequence('loans_user', 'id'), {INVESTORS});
INSERT INTO loans_investor (id, user_id, name, accredited_until, unfunded_limit, let_go_limit)
    SELECT id, id, username, '2099-12-31', 999999999999, 32767 FROM loans_user;
INSERT INTO knox_authtoken (digest, token_key, user_id, created, expiry)
    SELECT encode(sha512(token::bytea), 'hex'), token, id, now(), now() + interval '1 day'
    FROM (SELECT id, 'bench-' || lpad(id::text, 9, '0') AS token FROM loans_user) AS made;

{_LOAN} FROM (SELECT n AS id, 'B-' || n AS reference, 900000000 AS amount,
    {RESERVATIONS_EACH * 100 * LAPSE_DAYS} AS claimed, {RESERVATIONS_EACH} AS last_number
    FROM generate_series(1, {{loans}}) n) AS usual;
{_RESERVATION} SELECT gen_random_uuid(), 1 + n % {{loans}}, 1 + n % {INVESTORS}, 1 + n / {{loans}}, 1000, 0,
        CASE WHEN day > 0 THEN 'reserved' ELSE 'canceled' END,
        CASE WHEN day > 0 THEN '' ELSE 'canceled_by_investor' END, at,
        CASE WHEN day > 0 THEN now() + day * interval '1 day' + n * interval '1 ms' END,
        NULL, CASE WHEN day <= 0 THEN at + interval '1 hour' END, 0, 0, 0
    FROM (
        SELECT n, n / ({{loans}} * {RESERVATIONS_EACH} / 10) - (9 - {LAPSE_DAYS}) AS day,
            now() - interval '1 day' - (1 - n::float / {{loans}} / {RESERVATIONS_EACH}) * interval '1 year' AS at
        FROM generate_series(0, {{loans}} * {RESERVATIONS_EACH} - 1) n
    ) AS numbered;
INSERT INTO loans_transition (at, loan_id, reservation_id, event, from_state, to_state, amount, rule, actor, user_id, reason)
    SELECT at, loan_id, id, event, from_state, to_state, amount, '', 'investor', investor_id, '' FROM (
        SELECT created_at AS at, 'reserved' AS event, '' AS from_state, 'reserved' AS to_state, loan_id, id, amount, investor_id
        FROM loans_reservation
        UNION ALL
        SELECT let_go_at, cause, 'reserved', 'canceled', loan_id, id, amount, investor_id FROM loans_reservation WHERE let_go_at IS NOT NULL
    ) AS happened ORDER BY at;

{_LOAN} FROM (SELECT 2000000 + size AS id, 'C-' || size AS reference, 900000000 AS amount, size * 1000 AS claimed, size AS last_number
    FROM unnest(ARRAY{[*SIZES]}) size) AS crowded;
{_RESERVATION} SELECT gen_random_uuid(), 2000000 + size, 1 + n % {INVESTORS}, n, 1000, 0, 'reserved', '', now(),
        now() + interval '30 days' + n * interval '1 ms', NULL, NULL, 0, 0, 0
    FROM unnest(ARRAY{[*SIZES]}) size, generate_series(1, size) n;

{_LOAN} FROM (VALUES (2000000, 'FULL', 100000, 125000, 125)) AS one (id, reference, amount, claimed, last_number);
{_RESERVATION} SELECT gen_random_uuid(), 2000000, n, n, 1000, 0, 'reserved', '', now(), now() + n * interval '10 min' + interval '1 hour',
        NULL, NULL, 0, 0, 0 FROM generate_series(1, 125) n;

{_LOAN} FROM (SELECT {OPENING} + n AS id, 'O-' || n AS reference, 500000 AS amount, 0 AS claimed, 0 AS last_number
    FROM generate_series(1, 20) n) AS opening;

{_LOAN} FROM (VALUES (5000001, 'W-1', 900000000, {RESERVATIONS_EACH * 400}, {RESERVATIONS_EACH}), (5000002, 'W-FULL', 100000, 125000, 125))
    AS waited (id, reference, amount, claimed, last_number);
{_RESERVATION} SELECT gen_random_uuid(), 5000002, n, n, 1000, 0, 'reserved', '', now(), now() + n * interval '10 min' + interval '1 hour',
        NULL, NULL, 0, 0, 0 FROM generate_series(1, 125) n;
{_RESERVATION} SELECT gen_random_uuid(), 5000001, n, n, 1000, 0, CASE WHEN n <= 40 THEN 'reserved' ELSE 'canceled' END,
        CASE WHEN n <= 40 THEN '' ELSE 'canceled_by_investor' END, now(), CASE WHEN n <= 40 THEN now() + interval '1 day' END,
        NULL, CASE WHEN n > 40 THEN now() - interval '2 days' END, 0, 0, 0 FROM generate_series(1, {RESERVATIONS_EACH}) n;
INSERT INTO loans_waitinglistentry (id, loan_id, investor_id, number, amount, at_least, state, joined_at)
    SELECT gen_random_uuid(), id, {INVESTORS} - n, n, 1000, 1000, 'waiting', now()
    FROM generate_series(1, 100) n, loans_loan WHERE reference LIKE 'W-%';
UPDATE loans_loan SET waiting_entries = 100, waiting_dollars = 100000 WHERE reference LIKE 'W-%';

INSERT INTO loans_standingorder (id, investor_id, states, metros, amount, at_least, cap, state, place, created_at)
    SELECT gen_random_uuid(), 1 + n % {INVESTORS}, ARRAY[]::varchar[], ARRAY[]::varchar[], 1000, 1000, 1000000, 'active', n, now()
    FROM generate_series(1, {ORDERS}) n;
{_LOAN} FROM (SELECT {DRAFT} + n AS id, 'D-' || {DRAFT} + n AS reference,
    CASE WHEN n <= 100 THEN 5000000 WHEN n <= 200 THEN 20000000 ELSE 500000 END AS amount, 0 AS claimed, 0 AS last_number
    FROM generate_series(1, 220) n) AS drafts;
UPDATE loans_loan SET status = 'draft', opens_at = NULL, closes_at = NULL WHERE id BETWEEN {DRAFT} + 1 AND {DRAFT} + 200;
UPDATE loans_loan SET status = 'upcoming', opens_at = now() + interval '1 day' WHERE id > {DRAFT} + 200;

INSERT INTO loans_idempotencykey (user_id, key, digest, status, body, reservation_id, created_at)
    SELECT 1 + n % {INVESTORS}, gen_random_uuid(), '', 201, '', NULL, now() - n * interval '1 second'
    FROM generate_series(1, {KEYS}) n;

CREATE TABLE bench_stock (id bigserial PRIMARY KEY, loan_id bigint NOT NULL, quantity numeric(16, 2) NOT NULL);
INSERT INTO bench_stock (loan_id, quantity) SELECT id, amount FROM loans_loan WHERE reference IN ('C-100', 'C-10000')
    UNION ALL SELECT loan_id, -amount FROM loans_reservation WHERE loan_id IN (2000100, 2010000);
SELECT setval('bench_stock_id_seq', 10000000);  -- the ids are the numbers of reservations as well
CREATE INDEX ON bench_stock (loan_id);
"""

# Loans S-…: oversold, all money here; eighty of their hundred reservations can be settled. {first} is the first loan's id.
OVERSOLD = f"""
{_LOAN} FROM (SELECT n AS id, 'S-' || n AS reference, 80000 AS amount, 100000 AS claimed, 100 AS last_number
    FROM generate_series({{first}}, {{first}} + {{loans}} - 1) n) AS oversold;
{_RESERVATION} SELECT gen_random_uuid(), {{first}} + n % {{loans}}, 1 + n % {INVESTORS}, 1 + n / {{loans}}, 1000, 0, 'pending', '',
        now(), NULL, now(), NULL, 1000, 0, 0
    FROM generate_series(0, {{loans}} * 100 - 1) n
"""


def make(url: str, loans: int) -> None:
    """Make the rows, with so many loans B-1, B-2, …"""
    with psycopg.connect(url, autocommit=True) as connection:
        with _indexed_afterwards(connection, "loans_reservation", "loans_transition"):
            connection.execute(ROWS.format(loans=loans))
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@contextmanager
def _indexed_afterwards(connection: psycopg.Connection, *tables: str) -> Iterator[None]:
    """Drop the indexes of these tables, except those of constraints, and make them anew at the end: many rows come in sooner so."""
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index LEFT JOIN pg_constraint ON conindid = indexrelid"
        " WHERE indrelid::regclass::text = ANY(%s) AND conindid IS NULL",
        [list(tables)],
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    yield
    connection.execute("SET maintenance_work_mem = '512MB'")
    for _, definition in indexes:
        connection.execute(definition)
