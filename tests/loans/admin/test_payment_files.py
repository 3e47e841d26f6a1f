"""Send refunds from the admin: the page shows what is due, sends exactly that, and offers the file."""

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.models import PaymentFile, Transfer, Transition, User
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, funded
from tests.loans.admin.conftest import open_loan_now, read_page

pytestmark = pytest.mark.django_db
REASON = "The weekly run of refunds."
PAGE = reverse("admin:loans_paymentfile_add")


def refund_due() -> Transfer:
    reservation = funded(open_loan_now(), 5_000, now=timezone.now())
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason=REASON)
    return reservation.transfers.get(direction="refund")


def sign_in(client: Client, group: str) -> Client:
    user = User.objects.create_user("sam", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


def test_the_refunds_that_were_shown_are_sent_and_the_file_can_be_downloaded_again(client: Client) -> None:
    sign_in(client, "Operations")
    shown = [refund_due(), refund_due()]
    assert f'href="{PAGE}">Send refunds' in read_page(client, reverse("admin:loans_paymentfile_changelist"))
    page = read_page(client, PAGE)
    assert [refund.reference in page for refund in shown] == [True, True]
    later = refund_due()
    response = client.post(PAGE, {"refunds": [refund.pk for refund in shown], "reason": REASON}, follow=True)
    file = PaymentFile.objects.get()
    assert f"{file.pk}/download/" in response.content.decode()
    assert set(Transfer.objects.filter(status="sent")) == set(shown)
    assert Transfer.objects.get(pk=later.pk).status == "due"
    downloads = [client.get(reverse("admin:loans_paymentfile_download", args=[file.pk])) for _ in range(2)]
    assert {download.content.decode() for download in downloads} == {file.content}
    assert [refund.reference in file.content for refund in [*shown, later]] == [True, True, False]
    assert set(Transition.objects.filter(event="sent").values_list("actor", "user__username", "reason")) == {("staff", "sam", REASON)}


def test_a_page_sent_twice_sends_once(client: Client) -> None:
    sign_in(client, "Operations")
    posted = {"refunds": [refund_due().pk], "reason": REASON}
    client.post(PAGE, posted)
    assert "Nothing was sent" in client.post(PAGE, posted, follow=True).content.decode()
    assert PaymentFile.objects.count() == 1


@pytest.mark.parametrize("refunds", [[], ["x"], ["00000000-0000-4000-8000-000000000000"]])
def test_a_crafted_choice_sends_nothing(client: Client, refunds: list[str]) -> None:
    sign_in(client, "Operations")
    refund = refund_due()
    assert client.post(PAGE, {"refunds": refunds, "reason": REASON}, follow=True).status_code == 200
    assert (Transfer.objects.get(pk=refund.pk).status, PaymentFile.objects.count()) == ("due", 0)


@pytest.mark.parametrize("group", ["Support", "Auditors"])
def test_who_may_not_send_may_still_read(client: Client, group: str) -> None:
    sign_in(client, "Operations")
    client.post(PAGE, {"refunds": [refund_due().pk], "reason": REASON})
    client.logout()
    User.objects.filter(username="sam").update(username="olga")
    sign_in(client, group)
    assert client.get(PAGE).status_code == 403
    assert client.post(PAGE, {"refunds": [refund_due().pk], "reason": REASON}).status_code == 403
    assert client.get(reverse("admin:loans_paymentfile_download", args=[PaymentFile.objects.get().pk])).status_code == 200
