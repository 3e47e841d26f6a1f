"""Sign in to the admin, and make the rows that its pages show."""

from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from loans.models import Loan, Reservation, ReviewItem, User
from loans.services.settlement import settle_loans
from tests.factories import LoanFactory, funded


@pytest.fixture
def superuser(client: Client) -> Client:
    """A client signed in as the superuser `boss`, whom Django's permissions allow everything."""
    client.force_login(User.objects.create_superuser("boss", password="x"))
    return client


@pytest.fixture
def loan_viewer(client: Client) -> Client:
    """A client signed in as staff who may only view loans."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_loan"))
    client.force_login(user)
    return client


def open_loan_now(**fields: Any) -> Loan:
    loan: Loan = LoanFactory(now=timezone.now(), **fields)
    return loan


def settled_now(loan: Loan) -> Reservation:
    """Return a reservation of 5,000 dollars that the loan's rule has settled."""
    reservation = funded(loan, 5_000, now=timezone.now())
    settle_loans([loan.pk])
    return reservation


def open_review_item(detail: str, **fields: Any) -> ReviewItem:
    return ReviewItem.objects.create(kind="late_money", detail=detail, opened_at=timezone.now(), **fields)


def read_page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return unescape(response.content.decode())
