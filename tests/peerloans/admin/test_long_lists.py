"""Show a list that has more rows than its pages."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from loans.admin.reservations import ReservationAdmin
from peerloans.admin import long_lists
from tests.factories import NOON, LoanFactory, reserved

pytestmark = pytest.mark.django_db
LIST = "/admin/loans/reservation/"


@pytest.fixture
def five_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_lists, "MOST_LISTED", 3)
    loan = LoanFactory()
    for amount in (3_000, 1_000, 5_000, 2_000, 4_000):
        reserved(loan, amount, now=NOON)


def amounts(client: Client, query: str) -> list[int]:
    return [int(row.amount) for row in client.get(LIST + query).context["cl"].result_list]


@pytest.mark.usefixtures("five_reservations")
def test_a_list_that_is_cut_says_so_and_cannot_be_sorted(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReservationAdmin, "list_per_page", 2)
    page = admin_client.get(LIST)
    assert "The first 3 reservations. Filter or search to see others" in page.content.decode()
    assert "?o=" not in page.content.decode()
    assert "Show counts" not in page.content.decode()
    assert "Select all 3 reservations" not in page.content.decode()
    assert "Pending (" not in admin_client.get(f"{LIST}?_facets=True").content.decode()
    assert "Show counts" not in page.content.decode()
    assert "Select all 3 reservations" not in page.content.decode()
    assert "Pending (" not in admin_client.get(f"{LIST}?_facets=True").content.decode()
    own_order = amounts(admin_client, "")
    for typed in ("?o=3", "?o=-3", "?o=x", "?o=99"):
        assert amounts(admin_client, typed) == own_order


@pytest.mark.usefixtures("five_reservations")
def test_no_more_rows_are_counted_than_are_listed(admin_client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        admin_client.get(LIST)
    (count,) = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
    assert "LIMIT 4" in count


@pytest.mark.usefixtures("five_reservations")
def test_a_list_of_fewer_rows_is_sorted_by_any_column(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_lists, "MOST_LISTED", 5)
    assert amounts(admin_client, "?o=3") == [1_000, 2_000, 3_000, 4_000, 5_000]
    monkeypatch.setattr(ReservationAdmin, "list_per_page", 4)
    assert "Select all 5 reservations" in admin_client.get(LIST).content.decode()
    assert "Pending (0)" in admin_client.get(f"{LIST}?_facets=True").content.decode()
    assert "Pending (0)" in admin_client.get(f"{LIST}?_facets=True").content.decode()
    assert "?o=" in admin_client.get(LIST).content.decode()
    assert "5 reservations" in admin_client.get(LIST).content.decode()
