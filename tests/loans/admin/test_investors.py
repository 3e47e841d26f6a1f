import pytest
from django.test import Client

from loans.models import Investor
from tests.factories import InvestorFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_an_investor_stays_with_its_user_and_is_never_deleted(superuser: Client) -> None:
    ana = InvestorFactory()
    posted = {"name": "Ana B.", "accredited_until": "2030-01-01", "user": UserFactory().pk}
    assert superuser.post(f"/admin/loans/investor/{ana.pk}/change/", posted).status_code == 302
    assert superuser.post(f"/admin/loans/investor/{ana.pk}/delete/", {"post": "yes"}).status_code == 403
    investor = Investor.objects.get()
    assert (investor.name, investor.user_id) == ("Ana B.", ana.user_id)
