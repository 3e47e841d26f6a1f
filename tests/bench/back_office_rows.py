"""The rows on which the back office is timed: a million reservations, and as much of all else as comes with them."""

RESERVATIONS, LOANS, INVESTORS = 1_000_000, 10_000, 10_000
CROWDED = 10  # a loan of $900,000,000 with an eighth of the live reservations, and a waiting list
INSTITUTION = 2  # an investor with a hundred times as many reservations as the others

# Reservations are spread over a year, 2,740 a day. Those of the last week are live: a quarter is funded and waits, a quarter ends tonight.
# Of the others 70 of 96 have settled, and the rest were canceled.
ROWS = f"""
SET session_replication_role = replica;
INSERT INTO loans_user (id, password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
    SELECT n, '', false, 'investor-' || n, '', '', '', false, true, now() FROM generate_series(2, {INVESTORS} + 1) n;
INSERT INTO loans_investor (id, user_id, name, accredited_until, unfunded_limit, let_go_limit)
    SELECT id, id, username, '2099-12-31', 999999999999, 32767 FROM loans_user WHERE id > 1;

INSERT INTO loans_loan (id, reference, title, address, city, state, zip, market_cbsa, market_msa, annual_rate, term_months, ltv, amount,
    minimum, overbooking_rate, settlement_rule, status, opens_at, closes_at, settled, claimed, last_number, version)
    SELECT n, 'B-' || n, 'Four flats, B-' || n, '1 Ocean Drive', 'Manhattan Beach', 'CA', '90266', '31080',
        'Los Angeles-Long Beach-Anaheim, CA', 8, 24, 65, CASE WHEN n = {CROWDED} THEN 900000000 ELSE 1000000 END, 1000, 0.25, 'fifo',
        CASE WHEN n % 10 = 0 THEN 'open' ELSE 'funded' END,
        now() - n * interval '50 minutes', now() + (n - {LOANS} / 50) * interval '1 hour',
        CASE WHEN n % 10 = 0 THEN 0 ELSE 1000000 END, 0, 200, 200
    FROM generate_series(1, {LOANS}) n;

CREATE TEMP TABLE made AS
    SELECT n, gen_random_uuid() AS id, gen_random_uuid() AS transfer_id, gen_random_uuid() AS refund_id,
        CASE WHEN n > {RESERVATIONS} - 20000 AND n / 4 % 8 = 0 THEN {CROWDED}
            WHEN n > {RESERVATIONS} - 20000 THEN 10 * (1 + n % ({LOANS} / 10)) ELSE 1 + n % {LOANS} END AS loan_id,
        CASE WHEN n % 101 = 7 THEN {INSTITUTION} ELSE 2 + n % {INVESTORS} END AS investor_id, n AS number, 1000 + n % 9 * 500 AS amount,
        CASE WHEN n > {RESERVATIONS} - 20000 THEN n % 4 ELSE 4 + n % 96 END AS kind,
        now() - ({RESERVATIONS} - n) * interval '31.5 seconds' AS at
    FROM generate_series(1, {RESERVATIONS}) n;

INSERT INTO loans_reservation (id, loan_id, investor_id, number, amount, settled_amount, state, cause, created_at, expires_at,
        funded_at, let_go_at, received, refunded, lost)
    SELECT id, loan_id, investor_id, number, amount, CASE WHEN kind > 29 THEN amount ELSE 0 END,
        CASE WHEN kind > 29 THEN 'settled' WHEN kind > 3 THEN 'canceled' WHEN kind = 2 THEN 'reserved' ELSE 'pending' END,
        CASE WHEN kind BETWEEN 4 AND 29 THEN 'expired' ELSE '' END, at,
        CASE WHEN kind IN (0, 2) THEN now() + (1 + n % 72) * interval '1 hour' WHEN kind = 3
            THEN (date_trunc('day', now() AT TIME ZONE 'America/New_York') + interval '1 day') AT TIME ZONE 'America/New_York' END,
        CASE WHEN kind > 29 OR kind = 1 THEN at + interval '2 days' END, CASE WHEN kind BETWEEN 4 AND 29 THEN at + interval '1 day' END,
        CASE WHEN kind > 25 OR kind = 1 THEN amount ELSE 0 END, CASE WHEN kind BETWEEN 26 AND 29 THEN amount ELSE 0 END, 0
    FROM made;

UPDATE loans_loan SET claimed = live, settled = bought FROM (
    SELECT loan_id, COALESCE(sum(amount) FILTER (WHERE kind < 4), 0) AS live, COALESCE(sum(amount) FILTER (WHERE kind > 29), 0) AS bought
    FROM made GROUP BY loan_id
) AS sums WHERE sums.loan_id = loans_loan.id AND status = 'open';

INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at, cleared_at, ended_at)
    SELECT transfer_id, id, 'inbound', 'ach', 'T-' || lpad(to_hex(n), 12, '0'),
        CASE WHEN kind > 25 OR kind = 1 THEN 'cleared' ELSE 'initiated' END,
        amount, CASE WHEN kind > 25 OR kind = 1 THEN amount ELSE 0 END, at, CASE WHEN kind > 25 OR kind = 1 THEN at END, NULL
    FROM made WHERE kind <> 2;
INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at, cleared_at, ended_at)
    SELECT refund_id, id, 'refund', 'ach', 'R-' || lpad(to_hex(n), 12, '0'), CASE WHEN n % 1000 = 26 THEN 'due' ELSE 'paid' END,
        amount, CASE WHEN n % 1000 = 26 THEN 0 ELSE amount END, at, NULL, CASE WHEN n % 1000 = 26 THEN NULL ELSE at END
    FROM made WHERE kind BETWEEN 26 AND 29;

INSERT INTO loans_transition (at, loan_id, reservation_id, transfer_id, event, from_state, to_state, amount, rule, actor, reason)
    SELECT event_at, loan_id, id, step_transfer, event, from_state, to_state, amount, '', 'system', '' FROM (
        SELECT at AS event_at, loan_id, id, NULL::uuid AS step_transfer, 'reserved' AS event, '' AS from_state, 'reserved' AS to_state,
            amount FROM made
        UNION ALL SELECT at + interval '1 hour', loan_id, id, NULL, 'transfer_started', 'reserved', 'pending', amount FROM made
            WHERE kind <> 2
        UNION ALL SELECT at + interval '1 hour', loan_id, id, transfer_id, 'initiated', '', 'initiated', amount FROM made WHERE kind <> 2
        UNION ALL SELECT at + interval '2 days', loan_id, id, transfer_id, 'cleared', 'initiated', 'cleared', amount FROM made
            WHERE kind > 25
        UNION ALL SELECT at + interval '2 days', loan_id, id, NULL, 'funded', 'pending', 'pending', amount FROM made WHERE kind > 29
        UNION ALL SELECT at + interval '2 days', loan_id, id, NULL, 'settled', 'pending', 'settled', amount FROM made WHERE kind > 29
        UNION ALL SELECT at + interval '1 day', loan_id, id, NULL, 'expired', 'pending', 'canceled', amount FROM made
            WHERE kind BETWEEN 4 AND 29
    ) AS happened WHERE event_at <= now() ORDER BY event_at;

INSERT INTO loans_delivery (investor_id, transition_id, reservation_id, status, attempts, created_at, next_attempt_at, ended_at,
        last_error)
    SELECT investor_id, transition.id, reservation_id, CASE WHEN transition.id % 5000 = 0 THEN 'waiting' ELSE 'sent' END, 1, at,
        CASE WHEN transition.id % 5000 = 0 THEN now() END, CASE WHEN transition.id % 5000 > 0 THEN at END, ''
    FROM loans_transition AS transition JOIN loans_reservation ON loans_reservation.id = reservation_id WHERE event = 'reserved';
INSERT INTO loans_bankevent (id, type, source, reference, amount, occurred_at, recorded_at, outcome, transfer_id, number)
    SELECT 'evt-' || reference, 'transfer.cleared', 'notice', reference, amount, created_at, created_at, 'funded', id, 1
    FROM loans_transfer WHERE direction = 'inbound' AND status = 'cleared';
INSERT INTO loans_reviewitem (kind, loan_id, reservation_id, detail, opened_at, resolved_at)
    SELECT CASE WHEN n % 3 = 0 THEN 'late_money' ELSE 'amount_differs' END, loan_id, id, 'Found ' || n, at,
        CASE WHEN n < {RESERVATIONS} - 40000 THEN at END FROM made WHERE kind = 26;

INSERT INTO loans_waitinglistentry (id, loan_id, investor_id, number, amount, at_least, state, joined_at, ended_at)
    SELECT gen_random_uuid(), CASE WHEN n <= 2000 THEN {CROWDED} ELSE 10 * (1 + n % ({LOANS} / 10)) END, 2 + n % {INVESTORS}, n, 1000, 1000,
        CASE WHEN n <= 2000 THEN 'waiting' ELSE 'left' END, now() - n * interval '10 minutes',
        CASE WHEN n > 2000 THEN now() - n * interval '9 minutes' END FROM generate_series(1, 50000) n;
UPDATE loans_loan SET waiting_entries = 2000, waiting_dollars = 2000000 WHERE id = {CROWDED};
INSERT INTO loans_standingorder (id, investor_id, states, metros, amount, at_least, cap, state, place, created_at, ended_at)
    SELECT gen_random_uuid(), 2 + n % {INVESTORS}, ARRAY['CA'], ARRAY[]::varchar[], 1000, 1000, 1000000,
        CASE WHEN n % 2 = 0 THEN 'active' ELSE 'ended' END, n, now() - n * interval '1 hour', CASE WHEN n % 2 = 1 THEN now() END
    FROM generate_series(1, 20000) n;
INSERT INTO loans_standingordertransition (at, order_id, event, from_state, to_state, place, loan_id, amount, obstacle, actor)
    SELECT now() - (10000 - opening) * interval '30 minutes', id, 'served', 'active', 'active', place, opening,
        CASE WHEN place % 20 = 0 THEN 1000 END, CASE WHEN place % 20 = 0 THEN '' ELSE 'line' END, 'system'
    FROM generate_series(1, {LOANS}, 10) AS opening, LATERAL (
        SELECT id, place FROM loans_standingorder WHERE place % 100 = opening / 10 % 100 OR place % 100 = (opening / 10 + 50) % 100
    ) AS orders ORDER BY opening;

INSERT INTO loans_closingvalue (loan_id, day, remaining, settled, claimed)
    SELECT loan.id, current_date - day, 1000, 999000, 0 FROM loans_loan AS loan, generate_series(1, 60) day;
INSERT INTO loans_webhookendpoint (investor_id, url, secret, enabled)
    SELECT 2 + n % {INVESTORS}, 'https://investors.example/' || n, 'whsec_', n % 10 > 0 FROM generate_series(1, 5000) n;
INSERT INTO loans_watch (loan_id, investor_id, since, known_at)
    SELECT 10 * (1 + n % ({LOANS} / 10)), 2 + n / ({LOANS} / 10), now(), now() FROM generate_series(0, 20000) n;
INSERT INTO loans_watchnotice (id, watch_id, event, available, at) SELECT gen_random_uuid(), id, 'available', 1000, now() FROM loans_watch;
INSERT INTO loans_delivery (investor_id, watch_notice_id, status, attempts, created_at, ended_at, last_error)
    SELECT investor_id, notice.id, 'sent', 1, at, at, ''
    FROM loans_watchnotice AS notice JOIN loans_watch AS watch ON watch.id = watch_id;
INSERT INTO loans_paymentfile (created_at, refund_count, total, content)
    SELECT now() - n * interval '1 day', 100, 300000, repeat('refund,', 1000) FROM generate_series(1, 300) n;
INSERT INTO loans_statementimport (file_name, sha256, format, state, progress, progress_at, attempts, detail, requested_by, requested_at,
        booked_by, reason, accept_doubtful, finished_at, preview, outcomes, bad_lines)
    SELECT n || '.ofx', '', 'ofx', 'booked', '', now(), 1, '', 'frida', now() - n * interval '1 day', 'frida', '', false, now(), '[]', '[]',
        '[]' FROM generate_series(1, 1000) n;
INSERT INTO loans_reviewitem (kind, loan_id, reservation_id, detail, opened_at, resolved_at, bank_event_id)
    SELECT 'possible_duplicate', NULL, NULL, 'It looks like another, ' || n, now() - n * interval '1 minute', NULL, event.id
    FROM generate_series(1, 1000) n JOIN loans_bankevent AS event
        ON event.id = 'evt-T-' || lpad(to_hex({RESERVATIONS} - 20000 - n), 12, '0');
UPDATE loans_bankevent SET outcome = 'possible_duplicate' WHERE id IN (SELECT bank_event_id FROM loans_reviewitem);
INSERT INTO knox_authtoken (digest, token_key, user_id, created, expiry)
    SELECT lpad(n::text, 128, '0'), lpad(n::text, 15, '0'), 2 + n % {INVESTORS}, now() - n * interval '1 minute', now() + interval '9 hours'
    FROM generate_series(1, 20000) n;
INSERT INTO django_admin_log (action_time, user_id, object_repr, action_flag, change_message)
    SELECT now() - n * interval '5 minutes', 2 + n % 20, 'B-' || n, 2, 'Downloaded the list as CSV: all rows'
    FROM generate_series(1, 100000) n;

INSERT INTO cbsa_dataset (vintage, active, imported_at, zips_sha256, metros_sha256, zips)
    SELECT (2010 + n)::text, n = 8, now() - (8 - n) * interval '1 year', '', '', 39464 FROM generate_series(1, 8) n;
INSERT INTO cbsa_area (dataset_id, cbsa, mdiv, stcou, name, lsad, population, people, zips, search_text)
    SELECT dataset.id, 10000 + n % 950, '', CASE WHEN n > 950 THEN (20000 + n)::text ELSE '' END, 'Town ' || n || ', CA',
        CASE WHEN n > 950 THEN 'County or equivalent' ELSE 'Metropolitan Statistical Area' END, '{{}}', n, 40, 'town ' || n || ' ca'
    FROM cbsa_dataset AS dataset, generate_series(1, 2800) n;
INSERT INTO cbsa_zip (dataset_id, zip, cbsa, effective_cbsa, area_id)
    SELECT area.dataset_id, 10000 + n, area.cbsa, area.cbsa, area.id
    FROM generate_series(1, 39464) n JOIN cbsa_area AS area ON area.cbsa = (10000 + n % 950)::text AND stcou = '';
"""
