"""Check that the database refuses rows that contradict each other, by raw SQL that passes by the models."""

import pytest
from django.db import IntegrityError, connection, transaction

from loans.models import ReviewItem
from tests.factories import LoanFactory, canceled, funded, pending, reserved, settled

pytestmark = pytest.mark.django_db


def refused(constraint: str, sql: str, *values: object) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)


LOAN = [
    ("loan_amount_positive", "amount = 0, settled = 0"),
    ("loan_minimum_least", "minimum = 999.99"),
    ("loan_overbooking_rate_sane", "overbooking_rate = -0.0001"),
    ("loan_funded_iff_settled", "settled = amount + 0.01"),
    ("loan_settled_within_amount", "settled = -0.01"),
    ("loan_claimed_not_negative", "claimed = -0.01"),
    ("loan_status_known", "status = 'sold', claimed = 0, settled = 0"),
    ("loan_funded_iff_settled", "status = 'funded', claimed = 0"),
    ("loan_funded_iff_settled", "settled = amount"),
    ("loan_open_has_dates", "closes_at = NULL"),
    ("loan_open_has_dates", "opens_at = NULL"),
    ("loan_claims_need_open", "status = 'withdrawn', settled = 0"),
    ("loan_settled_needs_open_or_funded", "status = 'withdrawn', claimed = 0"),
]


@pytest.mark.parametrize(("constraint", "change"), LOAN)
def test_a_loan_that_contradicts_itself_is_refused(constraint: str, change: str) -> None:
    loan = LoanFactory()
    settled(loan, 20_000)
    reserved(loan, 30_000)
    refused(constraint, f"UPDATE loans_loan SET {change} WHERE id = %s", loan.pk)


AGREES = "reservation_state_agrees"
WITHIN = "reservation_settled_within_amount"
ADDS_UP = "reservation_money_adds_up"
RESERVATION = [
    ("reservation_amount_positive", reserved, "amount = 0"),
    (AGREES, reserved, "state = 'sold'"),
    (AGREES, reserved, "expires_at = NULL"),
    (AGREES, reserved, "cause = 'loan_funded'"),
    (AGREES, reserved, "funded_at = now(), received = amount"),
    (AGREES, reserved, "received = 5, settled_amount = 5"),
    (AGREES, reserved, "state = 'canceled', expires_at = NULL"),
    (AGREES, pending, "expires_at = NULL"),
    (AGREES, funded, "expires_at = now()"),
    (AGREES, funded, "funded_at = NULL"),
    (AGREES, settled, "settled_amount = 0"),
    (AGREES, settled, "expires_at = now()"),
    (AGREES, settled, "funded_at = NULL"),
    (AGREES, canceled, "cause = ''"),
    (AGREES, canceled, "expires_at = now()"),
    (WITHIN, settled, "received = 20000, settled_amount = amount + 0.01"),
    (ADDS_UP, settled, "received = received - 0.01"),
    (ADDS_UP, settled, "refunded = refunded + 0.01"),
    (ADDS_UP, funded, "received = received - 0.01"),
    (ADDS_UP, canceled, "received = -0.01"),
    (ADDS_UP, canceled, "refunded = -0.01"),
    (ADDS_UP, canceled, "lost = -0.01"),
]


@pytest.mark.parametrize(("constraint", "reservation", "change"), RESERVATION)
def test_a_reservation_that_contradicts_itself_is_refused(constraint: str, reservation, change: str) -> None:
    refused(constraint, f"UPDATE loans_reservation SET {change} WHERE id = %s", reservation(LoanFactory()).pk)


TRANSFER = [
    ("transfer_amount_positive", "amount = 0"),
    ("transfer_instants_agree", "status = 'lost'"),
    ("transfer_status_agrees", "status = 'due'"),
    ("transfer_status_agrees", "direction = 'refund'"),
    ("transfer_moved_agrees", "status = 'cleared'"),
    ("transfer_moved_agrees", "moved = 1"),
    ("transfer_moved_agrees", "status = 'returned', moved = 1, ended_at = now()"),
    ("transfer_moved_agrees", "direction = 'refund', status = 'due', moved = amount"),
    ("transfer_moved_agrees", "direction = 'refund', status = 'paid', moved = amount - 0.01, ended_at = now()"),
    ("transfer_instants_agree", "status = 'failed'"),
    ("transfer_instants_agree", "direction = 'refund', status = 'paid', moved = amount"),
]


@pytest.mark.parametrize(("constraint", "change"), TRANSFER)
def test_a_transfer_that_contradicts_itself_is_refused(constraint: str, change: str) -> None:
    transfer = pending(LoanFactory()).transfers.get()
    refused(constraint, f"UPDATE loans_transfer SET {change} WHERE id = %s", transfer.pk)


def test_a_number_in_the_queue_is_given_once() -> None:
    loan = LoanFactory()
    first, second = reserved(loan), reserved(loan)
    refused("reservation_number_unique", "UPDATE loans_reservation SET number = %s WHERE id = %s", first.number, second.pk)


ANOTHER_TRANSFER = """
    INSERT INTO loans_transfer (id, reservation_id, direction, method, reference, status, amount, moved, created_at, ended_at)
    SELECT gen_random_uuid(), reservation_id, direction, method, {values}, amount, 0, created_at, {ended_at} FROM loans_transfer
    WHERE id = %s
"""


@pytest.mark.parametrize(
    ("constraint", "values", "ended_at"),
    [
        ("transfer_initiated_once", "'T-OTHER', 'initiated'", "NULL"),
        ("loans_transfer_reference", "reference, 'failed'", "now()"),
    ],
)
def test_a_reservation_awaits_one_transfer_and_a_reference_names_one(constraint: str, values: str, ended_at: str) -> None:
    transfer = pending(LoanFactory()).transfers.get()
    refused(constraint, ANOTHER_TRANSFER.format(values=values, ended_at=ended_at), transfer.pk)


def test_history_refuses_an_unknown_kind_of_actor() -> None:
    loan = LoanFactory()
    refused(
        "transition_actor_known",
        "INSERT INTO loans_transition (at, loan_id, event, from_state, to_state, rule, actor, reason) "
        "VALUES (now(), %s, 'opened', '', 'open', '', 'ghost', '')",
        loan.pk,
    )


def test_an_open_review_item_is_listed_once() -> None:
    review_item = "INSERT INTO loans_reviewitem (kind, loan_id, detail, opened_at) VALUES ('drift', %s, 'Three cents.', now())"
    loan = LoanFactory()
    with connection.cursor() as cursor:
        cursor.execute(review_item, [loan.pk])
    refused("review_item_open_once", review_item, loan.pk)
    ReviewItem.objects.update(resolved_at=loan.created_at)
    with connection.cursor() as cursor:
        cursor.execute(review_item, [loan.pk])
    assert ReviewItem.objects.count() == 2


@pytest.mark.parametrize("table", ["loans_loan", "loans_reservation", "loans_transfer", "loans_transition", "loans_investor"])
def test_rows_that_others_refer_to_are_not_deleted(table: str) -> None:
    funded(LoanFactory())
    refused("violates foreign key|append-only", f"DELETE FROM {table}; SET CONSTRAINTS ALL IMMEDIATE")
