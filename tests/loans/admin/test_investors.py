"""The pages of investors: their limits, and everything about one person."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from loans.models import Investor, User, WebhookEndpoint
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, InvestorFactory, LoanFactory, UserFactory, funded, inbound, reserved, standing_order
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


def test_the_page_of_an_investor_shows_everything_for_a_phone_call(superuser: Client, django_assert_max_num_queries: Any) -> None:
    kim = InvestorFactory(name="Kim")
    loan = open_loan_now(reference="PL-0010")
    funded(loan, 5_000, now=timezone.now(), investor=kim)
    canceled = funded(loan, 3_000, now=timezone.now(), investor=kim)
    cancel_by_staff(reservation_id=canceled.pk, actor=STAFF, reason="A test.")
    standing_order(investor=kim, now=timezone.now())
    WebhookEndpoint.objects.create(investor=kim, url="https://kim.example/hook")
    page = read_page(superuser, f"/admin/loans/investor/{kim.pk}/change/")
    for words in ("$5,000.00", "neither settled nor refunded", "$3,000.00", "https://kim.example/hook", "Standing orders", "Waiting lists"):
        assert words in page
    assert inbound(canceled).reference in page
    with django_assert_max_num_queries(40) as few:
        read_page(superuser, f"/admin/loans/investor/{kim.pk}/change/")
    for _ in range(5):
        funded(loan, 1_000, now=timezone.now(), investor=kim)
    with django_assert_max_num_queries(len(few)):
        read_page(superuser, f"/admin/loans/investor/{kim.pk}/change/")


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
