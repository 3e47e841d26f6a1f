"""The database refuses to change or remove history."""

import pytest
from django.db import IntegrityError, connection, transaction

from loans.models import Transition
from loans.models.append_only import AppendOnly
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


def test_a_migration_can_remove_and_add_the_trigger() -> None:
    (append_only,) = (constraint for constraint in Transition._meta.constraints if isinstance(constraint, AppendOnly))
    with connection.schema_editor() as editor:
        editor.remove_constraint(Transition, append_only)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM loans_transition")
    with connection.schema_editor() as editor:
        editor.add_constraint(Transition, append_only)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM loans_transition")
