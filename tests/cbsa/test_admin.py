import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cbsa.errors import ImportRefused
from cbsa.models import ImportRun, Zip
from loans.models import User
from tests.cbsa.conftest import Import
from tests.cbsa.publishers import ZIPS

pytestmark = pytest.mark.django_db

PAGES = ["dataset", "zip", "area", "importrun"]


@pytest.fixture
def staff(client: Client) -> Client:
    """Somebody who may see everything of this app."""
    user = User.objects.create(username="staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="cbsa"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("page", PAGES)
def test_staff_see_every_page_and_change_nothing(staff: Client, run: Import, page: str) -> None:
    run()
    address = f"/admin/cbsa/{page}/"
    shown = staff.get(address)
    assert shown.status_code == 200
    assert staff.get(address + "add/").status_code == 403
    pk = shown.context["cl"].result_list[0].pk
    assert staff.get(f"{address}{pk}/change/").status_code == 200
    assert staff.post(f"{address}{pk}/change/", {}).status_code == 403
    assert staff.post(f"{address}{pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("page", PAGES)
def test_a_list_takes_the_same_queries_however_long(
    staff: Client, run: Import, page: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    run()
    run(vintage="2016")
    staff.get("/admin/")  # notes the session's use
    with django_assert_max_num_queries(10):
        staff.get(f"/admin/cbsa/{page}/")


@pytest.mark.parametrize(
    ("page", "search", "count"),
    [
        ("zip", "10002", 1),
        ("zip", "100", 5),
        ("zip", "20000", 1),
        ("zip", "great city", 1),
        ("area", "great city", 2),
        ("area", "20004", 1),
    ],
)
def test_search(staff: Client, run: Import, page: str, search: str, count: int) -> None:
    run()
    assert staff.get(f"/admin/cbsa/{page}/", {"q": search}).context["cl"].result_count == count


def test_a_zips_page_shows_all_its_cbsas_the_chosen_one_first(staff: Client, run: Import) -> None:
    run()
    page = staff.get(f"/admin/cbsa/zip/{Zip.objects.get(zip='10001').pk}/change/").content.decode()
    assert page.index("99999: 0.75 of all addresses") < page.index("20004: 0.25 of all addresses")


def test_a_refused_import_is_there_to_see(staff: Client, run: Import) -> None:
    with pytest.raises(ImportRefused):
        run(ZIPS + "1000X,10100,1,1,1,1\n")
    record = ImportRun.objects.get()
    page = staff.get(f"/admin/cbsa/importrun/{record.pk}/change/").content.decode()
    assert "1 bad row" in page
    assert "is not five digits" in page
