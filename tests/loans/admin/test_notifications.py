"""Webhook endpoints and deliveries in the admin."""

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from loans.models import Delivery, DeliveryStatus, Watch, WatchNotice, WebhookEndpoint
from loans.notifications import deliveries
from tests.factories import NOON, InvestorFactory, LoanFactory, UserFactory, reserved

pytestmark = pytest.mark.django_db
ADD = "admin:loans_webhookendpoint_add"


def register(client: Client, url: str) -> str:
    answer = client.post(reverse(ADD), {"investor": InvestorFactory().pk, "url": url}, follow=True)
    return answer.content.decode()


def test_the_secret_is_shown_once(admin_client: Client) -> None:
    page = register(admin_client, "https://8.8.8.8/hook")
    endpoint = WebhookEndpoint.objects.get()
    assert endpoint.secret in page
    for address in (reverse("admin:loans_webhookendpoint_change", args=[endpoint.pk]), reverse("admin:loans_webhookendpoint_changelist")):
        page = admin_client.get(address).content.decode()
        assert endpoint.secret[:20] not in page
    assert endpoint.enabled


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://8.8.8.8/", "Write the address as https://host/path"),
        ("https://10.0.0.1/", "10.0.0.1 is not a public address"),
        ("https://localhost/", "which is not a public address"),
    ],
)
def test_addresses_that_are_never_called_are_refused(admin_client: Client, url: str, message: str) -> None:
    assert message in register(admin_client, url)
    assert not WebhookEndpoint.objects.exists()


def given_up() -> Delivery:
    reservation = reserved(LoanFactory())
    transition = reservation.transitions.get()
    return Delivery.objects.create(
        investor=reservation.investor,
        transition=transition,
        reservation=reservation,
        status=DeliveryStatus.GIVEN_UP,
        created_at=NOON,
        ended_at=NOON,
        attempts=19,
    )


def send_again(client: Client, delivery: Delivery) -> str:
    chosen = {"action": "send_again", "_selected_action": [delivery.pk]}
    return client.post(reverse("admin:loans_delivery_changelist"), chosen, follow=True).content.decode()


def test_a_delivery_that_was_given_up_can_be_sent_again(admin_client: Client) -> None:
    delivery = given_up()
    assert "1 deliveries are sent again" in send_again(admin_client, delivery)
    assert [taken.pk for taken in deliveries.take_due()] == [delivery.pk]


def test_sending_again_needs_a_permission(client: Client) -> None:
    user = UserFactory(is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    client.force_login(user)
    delivery = given_up()
    send_again(client, delivery)
    delivery.refresh_from_db()
    assert delivery.status == DeliveryStatus.GIVEN_UP


def test_the_messages_to_a_loans_watchers_are_found_by_the_loan(admin_client: Client) -> None:
    watch = Watch.objects.create(loan=LoanFactory(), investor=InvestorFactory(), since=NOON, known_at=NOON)
    notice = WatchNotice.objects.create(watch=watch, event="opened", available=1_000, at=NOON)
    message = Delivery.objects.create(investor=watch.investor, watch_notice=notice, status="sent", created_at=NOON, ended_at=NOON)
    given_up()
    listed = admin_client.get(reverse("admin:loans_delivery_changelist"), {"q": watch.loan.reference}).context["cl"].result_list
    assert list(listed) == [message]


def test_deliveries_are_found_by_what_they_are_about_and_by_their_investor(admin_client: Client) -> None:
    delivery, other = given_up(), given_up()
    reservation = delivery.reservation
    assert reservation
    for term in (str(reservation), reservation.loan.reference, delivery.investor.user.username[:9], delivery.investor.user.email):
        listed = admin_client.get(reverse("admin:loans_delivery_changelist"), {"q": term}).context["cl"].result_list
        assert delivery in listed
        assert other not in listed or term == delivery.investor.user.username[:9]
    assert not admin_client.get(reverse("admin:loans_delivery_changelist"), {"q": "nothing-like-this"}).context["cl"].result_list
