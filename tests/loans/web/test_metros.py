"""The public pages of areas: the search by name, each area, and what a ZIP's page says of its vintages."""

import re
from html import unescape

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from tests.cbsa.api.test_area_views import DIVIDED, SPLIT
from tests.cbsa.conftest import Import, run, write  # noqa: F401  fixtures
from tests.cbsa.publishers import METROS, ZIPS
from tests.factories import LoanFactory

pytestmark = pytest.mark.django_db


def text(client: Client, address: str, status: int = 200) -> str:
    """The page's text without its tags."""
    response = client.get(address)
    assert response.status_code == status
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", response.content.decode())))


@pytest.fixture
def vintages(run: Import) -> None:  # noqa: F811
    """2015, and 2016 in use, without ZIP 10005 and with another CBSA for 10003."""
    run(SPLIT, DIVIDED)
    newer = SPLIT.replace("10003,10300", "10003,10200").replace("10005,10100", "10007,10100")
    run(newer, DIVIDED.replace("Great City-Bay, CA-NV", "Great City-Harbor, CA-NV"), "2016", force=True)


@pytest.mark.usefixtures("vintages")
def test_an_area_has_a_page(client: Client) -> None:
    loan = LoanFactory(zip="10002", now=timezone.now())
    page = text(client, "/metros/20000/")
    for part in (
        "Metropolitan statistical area Great City-Harbor, CA-NV",
        "320,001 people in 2015, a change of 3.23 % in one year.",
        "CBSA 20000 · 2 ZIP codes · 2016 data, imported ",
        "Other data: 2015",
        "Great City, CA 20004 220,000 4.76 %",
        "Great County, CA 06037 220,000 4.76 %",
        "ZIP codes 10002 10006",
        loan.title,
    ):
        assert part in page
    assert "Great City-Bay, CA-NV" in text(client, "/metros/20000?vintage=2015")


@pytest.mark.usefixtures("vintages")
@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("20004", ["Metropolitan division of Great City-Harbor, CA-NV Great City, CA", "220,000 people in 2015"]),
        ("10300", ["Micropolitan statistical area Little Town, NM", "0 ZIP codes"]),
        ("10900", ["Core-based statistical area CBSA 10900", "The census file of this vintage lacks the area.", "1 ZIP code "]),
    ],
)
def test_other_kinds_of_area(client: Client, code: str, parts: list[str]) -> None:
    page = text(client, f"/metros/{code}/")
    assert [part for part in parts if part not in page] == []
    assert "Open loans" not in page


@pytest.mark.usefixtures("vintages")
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("/metros/99999/", "'99999' is the code of no CBSA and of no metropolitan division in the data of 2016."),
        ("/metros/a%00/", "is the code of no CBSA"),
        ("/metros/20000/?vintage=1900", ""),
        ("/metros/20000/?vintage=%00", ""),
    ],
)
def test_an_area_that_there_is_not(client: Client, address: str, sentence: str) -> None:
    assert sentence in text(client, address, status=404)


def test_without_zip_data_the_pages_say_so(client: Client) -> None:
    for address in ("/metros/", "/metros/?search=bay", "/metros/20000/"):
        assert "No ZIP data has been imported yet" in text(client, address, status=503)


@pytest.mark.usefixtures("vintages")
@pytest.mark.parametrize(
    ("search", "parts"),
    [
        ("", ["Find a metro area", "The largest Great City-Harbor, CA-NV metropolitan · 320,001 people · 2 ZIP codes Elsewhere-Town, TX"]),
        ("great", ["Metro areas for “great”", "One area matches.", "1 area Great City-Harbor, CA-NV"]),
        ("bay nv", ["1 area Great City-Harbor, CA-NV Bay, NV · metropolitan"]),
        ("t", ["The best match comes first.", "2 areas Elsewhere-Town, TX", "Little Town, NM micropolitan · 12 people · 0 ZIP codes"]),
        ("atlantis", ["No metro area, county or division has such a name."]),
        ("x" * 200, ["No metro area, county or division has such a name."]),
    ],
)
def test_areas_are_found_by_name(client: Client, search: str, parts: list[str]) -> None:
    page = text(client, f"/metros/?search={search}")
    assert [part for part in parts if part not in page] == []


@pytest.mark.usefixtures("vintages")
def test_text_from_outside_is_escaped(client: Client) -> None:
    content = client.get("/metros/", {"search": '"><script>alert(1)</script>'}).content.decode()
    assert "<script" not in content
    assert "&lt;script&gt;" in content


@pytest.mark.usefixtures("vintages")
@pytest.mark.parametrize("address", ["/metros/", "/metros/?search=bay", "/metros/20000/", "/zip/10002/"])
def test_pages_are_revalidated_and_only_read(client: Client, address: str) -> None:
    first = client.get(address)
    assert first.headers["Cache-Control"] == "public, no-cache"
    assert client.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    assert client.post(address).status_code == 405
    for inline in ("<script", "<style", "style=", "onclick=", "http://", "https://"):
        assert inline not in first.content.decode().replace("http://www.w3.org/", "")


@pytest.mark.usefixtures("vintages")
def test_an_areas_page_takes_the_same_queries_however_large(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for code in ("20000", "10100"):
        with django_assert_num_queries(6):  # the dataset, the rows of the census file, loans twice, ZIPs, vintages
            client.get(f"/metros/{code}/")


def test_many_zips_are_folded_away(client: Client, run: Import) -> None:  # noqa: F811
    run(ZIPS.splitlines()[0] + "".join(f"\n{20000 + number},10100,1,1,1,1" for number in range(100)))
    assert "ZIP codes All 100 20000 20001" in text(client, "/metros/10100/")


@pytest.mark.usefixtures("vintages")
def test_a_zips_page_says_what_each_vintage_says(client: Client) -> None:
    assert "2015 10300 micropolitan 2016 in use 10200 Elsewhere-Town, TX" in text(client, "/zip/10003/")
    assert "2015 none in no CBSA 2016 in use none in no CBSA" in text(client, "/zip/10001/")
    assert "10004 is in CBSA 10900 , of which this vintage has no census estimates." in text(client, "/zip/10004/")
    lost = text(client, "/zip/10005/", status=404)
    assert "ZIP 10005 is not in the data in use." in lost
    assert "2015 10100 Doña Ana, NM 2016 in use not in these data" in lost
    assert "In each vintage" not in text(client, "/zip/77777/", status=404)


def test_one_vintage_alone_needs_no_history(client: Client, run: Import) -> None:  # noqa: F811
    run(ZIPS, METROS)
    assert "In each vintage" not in text(client, "/zip/10003/")
