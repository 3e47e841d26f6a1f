"""Check that the one statement of a unit of work refuses what a column cannot hold, and does not cut or round it."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, models, transaction

from loans.ledger import bulk_write
from loans.ledger.bulk_write import write_changes
from loans.models import Loan, Reservation, Transfer, Transition
from tests.factories import LoanFactory, inbound, pending

WRITTEN: dict[type[models.Model], tuple[str, ...]] = {
    Loan: (*bulk_write._LOAN_PROGRESS, *Loan.FACTS),
    Reservation: bulk_write._RESERVATION_COLUMNS,
    Transfer: bulk_write._TRANSFER_COLUMNS,
    Transition: bulk_write._TRANSITION_COLUMNS,
}


def columns(kind: type[models.Field]) -> list[Any]:
    """Return each written column whose field is of this kind, with its model."""
    return [
        pytest.param(model, field, id=f"{model.__name__}.{field.name}")
        for model, names in WRITTEN.items()
        for name in names
        if isinstance(field := model._meta.get_field(name), kind)
    ]


def write(model: type[models.Model], field: models.Field, value: object) -> None:
    """Write a whole set of rows in which one value is replaced."""
    reservation = pending(LoanFactory())
    rows: dict[type[models.Model], Any] = {
        Loan: Loan.objects.get(),
        Reservation: reservation,
        Transfer: inbound(reservation),
        Transition: Transition.objects.latest("id"),
    }
    setattr(rows[model], field.attname, value)
    with transaction.atomic():
        write_changes([rows[Loan]], [], [rows[Reservation]], [rows[Transfer]], [rows[Transition]])


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "field"), columns(models.CharField))
def test_a_text_too_long_for_its_column_is_refused(model: type[models.Model], field: models.CharField) -> None:
    with pytest.raises(DataError, match="too long"):
        write(model, field, "x" * (field.max_length + 1))


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "field"), columns(models.DecimalField))
def test_a_number_with_too_many_places_is_refused(model: type[models.Model], field: models.DecimalField) -> None:
    one_place_too_many = Decimal(1) + Decimal(1).scaleb(-field.decimal_places - 1)
    with pytest.raises(ValueError, match=f"more than {field.decimal_places} decimal places"):
        write(model, field, one_place_too_many)


@pytest.mark.django_db
@pytest.mark.parametrize(("model", "field"), columns(models.DecimalField))
def test_a_number_too_large_for_its_column_is_refused(model: type[models.Model], field: models.DecimalField) -> None:
    with pytest.raises(DataError, match="numeric field overflow"):
        write(model, field, Decimal(10) ** (field.max_digits - field.decimal_places))
