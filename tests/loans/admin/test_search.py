"""A search finds rows by what pages print of them."""

import pytest
from django.test import Client

from loans.domain.actors import Actor
from loans.models import Reservation, ReviewItem, Transition, User
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import NOON, LoanFactory, inbound, money_fails, pending

pytestmark = pytest.mark.django_db
LISTS = ("reservation", "transfer", "transition", "reviewitem")


@pytest.fixture
def reservation() -> Reservation:
    """One whose transfer failed, so that a review item is open."""
    loan = LoanFactory(reference="PL-0710")
    pending(loan)
    found = pending(loan)
    money_fails(found)
    assert ReviewItem.objects.exists()
    return found


def found_rows(client: Client, name: str, term: str) -> int:
    response = client.get(f"/admin/loans/{name}/", {"q": term})
    assert response.status_code == 200
    return len(response.context["cl"].result_list)


@pytest.mark.parametrize("name", LISTS)
def test_a_reservation_as_it_is_printed(admin_client: Client, reservation: Reservation, name: str) -> None:
    everything = found_rows(admin_client, name, "")
    of_it = found_rows(admin_client, name, "PL-0710 #2")
    assert of_it > 0
    assert of_it < everything or name == "reviewitem"
    assert found_rows(admin_client, name, " pl-0710#2 ") == of_it
    assert found_rows(admin_client, name, "PL-0710 #7") == 0


@pytest.mark.parametrize("name", LISTS)
def test_a_transfers_reference_in_any_writing(admin_client: Client, reservation: Reservation, name: str) -> None:
    reference = inbound(reservation).reference
    of_it = found_rows(admin_client, name, reference)
    assert of_it
    assert found_rows(admin_client, name, f"payment {reference.replace('-', ' ').lower()}") == of_it


@pytest.mark.parametrize("name", ["reservation", "transfer", "reviewitem"])
def test_the_beginning_of_a_loans_reference_a_user_name_and_an_e_mail(admin_client: Client, reservation: Reservation, name: str) -> None:
    user = reservation.investor.user
    for term in ("pl-07", user.username.upper(), user.email[:8]):
        assert found_rows(admin_client, name, term), term


def test_what_is_printed_nowhere_is_not_found(admin_client: Client, reservation: Reservation) -> None:
    assert [found_rows(admin_client, name, "PL-9999 #1") for name in LISTS] == [0, 0, 0, 0]


def test_history_by_an_event_a_kind_of_actor_and_a_user(admin_client: Client, admin_user: User, reservation: Reservation) -> None:
    investor = reservation.investor.user.username
    cancel_by_staff(reservation_id=pending(reservation.loan).pk, actor=Actor("staff", admin_user.pk), reason="a test", now=NOON)
    counts = {term: found_rows(admin_client, "transition", term) for term in ("reserved", "canceled_by_staff", "bank", admin_user.username)}
    assert counts == {"reserved": 3, "canceled_by_staff": 1, "bank": 2, admin_user.username: 1}
    assert found_rows(admin_client, "transition", investor) == Transition.objects.filter(user__username=investor).count() > 0
    User.objects.filter(pk=admin_user.pk).update(is_staff=False, is_superuser=False)
    colleague = User.objects.create_superuser("colleague")
    admin_client.force_login(colleague)
    assert found_rows(admin_client, "transition", admin_user.username) == 1  # who is no longer staff
    assert found_rows(admin_client, "transition", "canceled_by") == 0
