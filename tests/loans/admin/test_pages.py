"""What holds for all admin pages: stored rows cannot be edited, and the number of queries does not grow with the rows."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loans.models import BankEvent, ClosingValue, Loan, Reservation, ReviewItem, Transfer, Transition
from tests.loans.admin.conftest import open_loan_now, open_review_item, read_page, settled_now

pytestmark = pytest.mark.django_db
MODELS = (Loan, Reservation, Transfer, Transition, BankEvent, ReviewItem, ClosingValue)


def make_rows(reference: str) -> Reservation:
    """Make at least one row of each model."""
    loan = open_loan_now(reference=reference)
    reservation = settled_now(loan)
    open_review_item("It came late.", loan=loan, reservation=reservation)
    ClosingValue.objects.create(loan=loan, day=timezone.localdate(), remaining=1, settled=2, claimed=3)
    return reservation


def one_of_each() -> dict[str, Any]:
    """Make rows, and return the primary key of one for each model name."""
    make_rows("PL-0001")
    return {str(model._meta.model_name): model._default_manager.values_list("pk", flat=True).first() for model in MODELS}


def test_every_page_answers_and_none_offers_to_delete(superuser: Client) -> None:
    for name, pk in one_of_each().items():
        assert "deletelink" not in read_page(superuser, f"/admin/loans/{name}/{pk}/change/")
        assert "delete_selected" not in read_page(superuser, f"/admin/loans/{name}/")
        assert read_page(superuser, f"/admin/loans/{name}/?q=PL-0001")


def test_a_superuser_cannot_change_add_or_delete_rows(superuser: Client) -> None:
    def stored_rows() -> list[Any]:
        return [list(model._default_manager.order_by("pk").values()) for model in MODELS]

    keys = one_of_each()
    before = stored_rows()
    posted = {"title": "A villa", "amount": "1.00", "status": "funded", "event": "settled", "detail": "", "version": "77", "_save": "Save"}
    for name, pk in keys.items():
        assert superuser.post(f"/admin/loans/{name}/{pk}/change/", posted).status_code == 403
        assert superuser.post(f"/admin/loans/{name}/{pk}/delete/", {"post": "yes"}).status_code == 403
        superuser.post(f"/admin/loans/{name}/", {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
        if name != "loan":
            assert superuser.post(f"/admin/loans/{name}/add/", posted).status_code == 403
    assert stored_rows() == before


@pytest.mark.parametrize("name", ["loan", "reservation", "transfer", "transition", "bankevent", "reviewitem", "closingvalue", "investor"])
def test_a_list_takes_the_same_queries_for_more_rows(superuser: Client, django_assert_num_queries: Any, name: str) -> None:
    make_rows("PL-0001")
    read_page(superuser, "/admin/")  # caches the content types
    with django_assert_num_queries(8 if name == "loan" else 7, exact=False) as few:
        read_page(superuser, f"/admin/loans/{name}/")
    for number in range(2, 8):
        make_rows(f"PL-{number:04}")
    with django_assert_num_queries(len(few)):
        read_page(superuser, f"/admin/loans/{name}/")


def test_a_page_takes_the_same_queries_for_more_related_rows(superuser: Client, django_assert_num_queries: Any) -> None:
    loan = open_loan_now()
    reservation = settled_now(loan)
    for url in (f"/admin/loans/loan/{loan.pk}/change/", f"/admin/loans/reservation/{reservation.pk}/change/"):
        read_page(superuser, url)
        with django_assert_num_queries(13, exact=False) as few:
            read_page(superuser, url)
        for _ in range(4):
            settled_now(loan)
        with django_assert_num_queries(len(few)):
            read_page(superuser, url)
