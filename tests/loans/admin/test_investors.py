import pytest
from django.test import Client
from django.utils import timezone

from loans.models import Investor
from tests.factories import InvestorFactory, LoanFactory, UserFactory, reserved
from tests.loans.admin.conftest import read_page

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
