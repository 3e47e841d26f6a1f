"""The pages of investors: their limits, and everything about one person."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from loans.admin import tables
from loans.models import Delivery, Investor, Loan, Transfer, User, WebhookEndpoint
from loans.notifications import outbox
from loans.selectors.transfers import newest_transfer_ids
from loans.services.named_tokens import create_named_token
from loans.services.staff_overrides import cancel_by_staff
from peerloans.web.wording_filters import deadline
from tests.factories import STAFF, InvestorFactory, LoanFactory, UserFactory, funded, inbound, pending, reserved, standing_order, waiting
from tests.loans.admin.conftest import open_loan_now, read_page

pytestmark = pytest.mark.django_db


def test_an_investor_stays_with_its_user_and_is_never_deleted(superuser: Client) -> None:
    ana = InvestorFactory()
    posted = {"name": "Ana B.", "accredited_until": "2030-01-01", "user": UserFactory().pk}
    assert superuser.post(f"/admin/loans/investor/{ana.pk}/change/", posted).status_code == 302
    assert superuser.post(f"/admin/loans/investor/{ana.pk}/delete/", {"post": "yes"}).status_code == 403
    investor = Investor.objects.get()
    assert (investor.name, investor.user_id) == ("Ana B.", ana.user_id)


def test_limits_are_shown_and_no_form_changes_them(superuser: Client) -> None:
    ana = InvestorFactory()
    reserved(LoanFactory(now=timezone.now()), 12_000, now=timezone.now(), investor=ana)
    assert "12,000.00" in read_page(superuser, f"/admin/loans/investor/{ana.pk}/change/")
    posted = {"name": "Ana B.", "unfunded_limit": "1", "let_go_limit": "99", "version": "7"}
    assert superuser.post(f"/admin/loans/investor/{ana.pk}/change/", posted).status_code == 302
    investor = Investor.objects.get()
    assert (investor.name, investor.unfunded_limit, investor.let_go_limit, investor.version) == ("Ana B.", 250_000, 10, 1)


def page_of(investor: Investor) -> str:
    return f"/admin/loans/investor/{investor.pk}/change/"


def table(client: Client, investor: Investor, title: str) -> Any:
    context: Any = client.get(page_of(investor)).context
    return next(table for table in context["tables"] if table.title.startswith(title))


def everything_of(investor: Investor, loan: Loan) -> None:
    """Make one more row of each kind that the page shows."""
    now = timezone.now()
    funded(loan, 1_000, now=now, investor=investor)
    canceled = funded(loan, 1_000, now=now, investor=investor)
    cancel_by_staff(reservation_id=canceled.pk, actor=STAFF, reason="A test.")
    standing_order(investor=investor, now=now, states=["AK"])  # which no loan here is in
    full = open_loan_now(amount=10_000)
    reserved(full, 10_000, now=now)
    reserved(full, 2_000, now=now)
    waiting(full, 1_000, now=now, investor=investor)
    WebhookEndpoint.objects.create(investor=investor, url="https://kim.example/hook")
    create_named_token(user_id=investor.user_id, generation=0, name="Portfolio bot", scopes=["read"], days=30)
    outbox.fan_out_all()


def test_the_page_of_an_investor_shows_everything_for_a_phone_call(superuser: Client, django_assert_num_queries: Any) -> None:
    kim = InvestorFactory(name="Kim")
    loan = open_loan_now(reference="PL-0010")
    everything_of(kim, loan)
    page = read_page(superuser, page_of(kim))
    refund = Transfer.objects.get(direction="refund")
    for words in ("neither settled nor refunded", "PL-0010 #2", refund.reference, "https://kim.example/hook", "Portfolio bot (read, until"):
        assert words in page
    assert re.search(r"<span>Money that waits</span><b>\$1,000.00</b>", page)
    assert re.search(r"<span>Refunds</span><b>\$1,000.00</b>", page)
    counts = {each.title.partition(":")[0].partition(",")[0]: len(each.rows) for each in superuser.get(page_of(kim)).context["tables"]}
    assert counts.pop("Messages") > 3
    assert counts == {
        "Reservations": 2,
        "Transfers and refunds": 3,
        "Waiting lists": 1,
        "Standing orders": 1,
        "Webhook endpoints": 1,
    }
    with django_assert_num_queries(24, exact=False) as few:
        read_page(superuser, page_of(kim))
    for _ in range(3):
        everything_of(kim, loan)
    with django_assert_num_queries(len(few)):
        read_page(superuser, page_of(kim))


def test_a_deadline_is_written_as_the_day_that_ends(superuser: Client) -> None:
    kim = InvestorFactory(name="Kim")
    reservation = pending(open_loan_now(), 5_000, now=timezone.now(), investor=kim)
    assert deadline(reservation.expires_at) in table(superuser, kim, "Reservations").rows[0].cells
    assert "11:59 pm ET" in deadline(reservation.expires_at)


def test_messages_are_counted_by_their_outcome_and_those_about_waiting_lists_too(superuser: Client) -> None:
    kim, loan = InvestorFactory(name="Kim"), open_loan_now(amount=10_000)
    for amount in (10_000, 2_000):
        reserved(loan, amount, now=timezone.now())
    waiting(loan, 1_000, now=timezone.now(), investor=kim)
    outbox.fan_out_all()
    messages = table(superuser, kim, "Messages")
    assert messages.title.startswith("Messages: 0 sent, 1 on the way, 0 could not be delivered.")
    Delivery.objects.filter(waiting_entry__investor=kim).update(status="given_up", next_attempt_at=None, ended_at=timezone.now())
    assert table(superuser, kim, "Messages").title.startswith("Messages: 0 sent, 0 on the way, 1 could not be delivered.")


@pytest.mark.parametrize("name", ["reservation", "transfer", "waitinglistentry", "standingorder", "delivery", "webhookendpoint"])
def test_the_link_to_a_whole_list_leads_to_exactly_the_investors_rows(
    superuser: Client, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tables, "ROWS_SHOWN", 0)
    kim, other, loan = InvestorFactory(name="Kim"), InvestorFactory(name="Kim"), open_loan_now()
    everything_of(kim, loan)
    everything_of(other, loan)
    addresses = [each.more_url for each in superuser.get(page_of(kim)).context["tables"]]
    address = next(address for address in addresses if f"/{name}/" in address)
    rows = superuser.get(address).context["cl"].result_list
    assert rows
    of_kim = set(investor_ids_of(rows))
    assert of_kim == {kim.pk}
    for wrong in ("0", "x", "9" * 30, "%00"):
        assert list(superuser.get(f"/admin/loans/{name}/?investor={wrong}").context["cl"].result_list) == []


def investor_ids_of(rows: Any) -> Iterator[int]:
    for row in rows:
        owner = row.reservation if isinstance(row, Transfer) else row
        yield owner.investor_id


def test_tokens_are_shown_only_to_those_who_may_view_tokens(client: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_investor", "view_reservation"]))
    client.force_login(viewer)
    kim = InvestorFactory(name="Kim")
    named, text = create_named_token(user_id=kim.user_id, generation=0, name="Portfolio bot", scopes=["read"], days=30)
    assert named.name not in read_page(client, page_of(kim))
    viewer.user_permissions.set(Permission.objects.filter(codename__in=["view_investor", "view_authtoken"]))
    page = read_page(client, page_of(kim))
    assert named.name in page
    assert text not in page
    assert named.digest not in page


def test_the_newest_transfers_of_an_investor() -> None:
    kim, loan = InvestorFactory(name="Kim"), open_loan_now()
    own = [inbound(pending(loan, 1_000, now=timezone.now(), investor=kim)).pk for _ in range(3)]
    pending(loan, 1_000, now=timezone.now())
    assert newest_transfer_ids(kim.pk, 2) == own[:0:-1]


def test_who_may_only_view_investors_sees_none_of_what_belongs_to_one(client: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_investor"))
    client.force_login(viewer)
    kim = InvestorFactory(name="Kim")
    reservation = funded(open_loan_now(), 5_000, now=timezone.now(), investor=kim)
    context: Any = client.get(f"/admin/loans/investor/{kim.pk}/change/").context
    assert context["tables"] == []
    assert "portfolio" not in context
    assert inbound(reservation).reference not in read_page(client, f"/admin/loans/investor/{kim.pk}/change/")
