"""Can history be changed? Not by anyone who leaves its triggers alone."""

import pytest
from django.db import IntegrityError, connection, transaction

from loans.models import Transition
from tests.factories import LoanFactory, settled

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE loans_transition SET reason = 'another'",
        "UPDATE loans_transition SET reason = 'another' WHERE false",
        "DELETE FROM loans_transition",
        "TRUNCATE loans_transition CASCADE",
        "TRUNCATE loans_loan CASCADE",
    ],
)
def test_history_is_append_only(statement: str) -> None:
    settled(LoanFactory())
    connection.check_constraints()  # PostgreSQL truncates no table with checks still to come
    before = list(Transition.objects.values())
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert list(Transition.objects.values()) == before
