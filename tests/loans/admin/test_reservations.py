"""A reservation's page explains its deadline and shows its history."""

import pytest
from django.test import Client
from django.utils import timezone

from loans.domain.deadlines import BANKING_DAYS_FOR_MONEY
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, reserved, start_transfer
from tests.loans.admin.conftest import open_loan_now, read_page

pytestmark = pytest.mark.django_db


def test_the_page_explains_the_deadline_and_shows_the_history(superuser: Client) -> None:
    reservation = reserved(open_loan_now(), 5_000, now=timezone.now())
    url = f"/admin/loans/reservation/{reservation.pk}/change/"
    assert "24 hours to start its transfer" in read_page(superuser, url)
    start_transfer(reservation, now=timezone.now())
    context = superuser.get(url).context
    counted = [day.number for day in context["deadline"].days if day.number]
    assert counted == list(range(1, BANKING_DAYS_FOR_MONEY + 1))
    assert [transition.event for transition in context["transitions"]][:2] == ["reserved", "transfer_started"]
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="She asked by phone.")
    content = read_page(superuser, url)
    assert "<q>She asked by phone.</q>" in content
    assert "so it has no deadline" in content


def test_search_finds_a_reservation_by_its_id(superuser: Client) -> None:
    reservation = reserved(open_loan_now(), 5_000, now=timezone.now())
    results = superuser.get(f"/admin/loans/reservation/?q={reservation.pk}").context["cl"].result_list
    assert list(results) == [reservation]
    assert not superuser.get("/admin/loans/reservation/?q=unknown").context["cl"].result_list
