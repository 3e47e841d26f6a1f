"""The public pages: what they show, which problems they explain, how many queries they take, and what caches may keep."""

import re
import struct
from datetime import timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.utils import timezone

import cbsa
from cbsa.imports import service
from loans import remaining_cache
from loans.models import Loan, Reservation
from loans.selectors.offers import LoanOffer
from loans.services.loans import withdraw_loan
from loans.web import market
from loans.web.loan_cards import LoanCard
from tests import factories
from tests.factories import STAFF, DraftFactory, LoanFactory

pytestmark = pytest.mark.django_db


def draft(number: int) -> Loan:
    return DraftFactory(reference=f"PL-{number:04}", now=timezone.now())


def open_loan(number: int = 1, **fields: object) -> Loan:
    """A loan named PL-0001 and so on, which closes after `number` days and 90 minutes."""
    now = timezone.now()
    return LoanFactory(reference=f"PL-{number:04}", now=now, closes_at=now + timedelta(days=number, minutes=90), **fields)


def reserve(loan: Loan, amount: str) -> Reservation:
    return factories.reserved(loan, amount, now=timezone.now())


@pytest.fixture
def zip_data() -> None:
    """The ZIP data of the demo."""
    demo = Path(cbsa.__file__).with_name("demo")
    service.run(zips=str(demo / "zips.csv"), metros=str(demo / "metros.csv"), vintage="2015", actor="tester")


def text(client: Client, address: str = "/", status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return unescape(response.content.decode())


@pytest.mark.usefixtures("zip_data")
def test_a_loan_is_shown_with_its_terms_and_money(client: Client) -> None:
    loan = open_loan(
        title="A house",
        annual_rate=Decimal("7.25"),
        ltv=Decimal("62.50"),
        overbooking_rate=Decimal("0.10"),
        minimum=Decimal("2500.00"),
    )
    reserve(loan, "30000.50")
    page = text(client)
    for text_shown in (
        "A house",
        "PL-0001",
        "Los Angeles-Long Beach-Anaheim, CA",
        "7.25 %",
        "62.5 %",
        "$100,000.00",
        "1\xa0day, 1\xa0hour",
    ):
        assert text_shown in page
    sums = [
        ("Remaining", "100,000.00"),
        ("Reserved, of at most $110,000.00", "30,000.50"),
        ("Can be reserved now", "79,999.50"),
        ("Minimum", "2,500.00"),
    ]
    for name, dollars in sums:
        assert f"<dt>{name}</dt><dd>${dollars}</dd>" in page


def test_open_loans_are_ordered_by_closing_time_with_closed_ones_last(client: Client) -> None:
    for number in (3, 1, 2, 4):
        open_loan(number)
    draft(5)
    withdraw_loan(reference="PL-0002", actor=STAFF, reason="Sold.")
    Loan.objects.filter(reference="PL-0003").update(closes_at=timezone.now() - timedelta(hours=1))
    page = text(client)
    assert shown(page) == ["PL-0001", "PL-0004", "PL-0003"]
    assert page.index("Closed for reservations since") > page.index("PL-0004")


def test_the_market_shows_the_remaining_value_from_redis(client: Client) -> None:
    loan = open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal("25000.00"), timezone.now(), loan.version + 1)})
    page = text(client)
    assert "<dt>Remaining</dt><dd>$25,000.00</dd>" in page
    assert "75 % of PL-0001 is settled" in page


@pytest.mark.parametrize(
    ("amount", "settled", "claimed", "rate", "bar"),
    [
        ("100", "0", "0", "0.25", ("0.00%", "0.00%", "80.00%")),
        ("100", "60", "10", "0", ("60.00%", "10.00%", "100.00%")),
        ("100", "90", "30", "0.20", ("75.00%", "25.00%", "83.33%")),  # reservations made before the limit shrank
        ("100", "-10", "0", "0", ("0.00%", "0.00%", "90.91%")),  # nonsense in Redis draws nothing negative
    ],
)
def test_the_positions_in_the_funding_bar(amount: str, settled: str, claimed: str, rate: str, bar: tuple[str, ...]) -> None:
    loan = Loan(amount=Decimal(amount), overbooking_rate=Decimal(rate))
    offer = LoanOffer(loan, timezone.now(), Decimal(claimed), Decimal(0))
    bar_positions = LoanCard(offer, Decimal(amount) - Decimal(settled)).bar
    assert (bar_positions["settled"], bar_positions["live"], bar_positions["amount"]) == bar


def test_the_number_of_queries_does_not_grow_with_the_loans(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    open_loan()
    with django_assert_num_queries(5):
        assert text(client).count('class="loan"') == 1
    for number in range(2, 21):
        open_loan(number)
    with django_assert_num_queries(5):
        assert text(client).count('class="loan"') == 20


def test_more_loans_are_on_the_next_page(client: Client) -> None:
    for number in range(1, market.LOANS_PER_PAGE + 2):
        open_loan(number)
    first, second = text(client, "/?state=ca"), text(client, "/?state=ca&page=2")
    assert f"{market.LOANS_PER_PAGE + 1} open loans" in first
    assert first.count('class="loan"') == market.LOANS_PER_PAGE
    assert 'href="/?state=ca&page=2#loans"' in first
    assert second.count('class="loan"') == 1
    assert 'href="/?state=ca&page=1#loans"' in second
    assert "page=3" not in second
    assert "There are only 2 pages of these loans." in text(client, "/?page=3")


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1e3", "²", "99999", "1" * 5000])
def test_a_page_number_that_is_not_valid_is_not_found(client: Client, page: str) -> None:
    assert "Page not found" in text(client, f"/?page={page}", status=404)


def shown(page: str) -> list[str]:
    return re.findall(r'href="/loans/(\S+)/"', page)


@pytest.mark.usefixtures("zip_data")
def test_the_market_has_the_filters_and_orders_of_the_api(client: Client) -> None:
    open_loan(1, annual_rate=Decimal("9.00"))
    open_loan(2, annual_rate=Decimal("8.00"), zip="32003", state="FL", city="Fleming Island", title="A bungalow")
    open_loan(3, annual_rate=Decimal("7.00"), ltv=Decimal("50.00"), amount=Decimal("50000.00"))
    for query, references in {
        "state=fl": ["PL-0002"],
        "msa=27260": ["PL-0002"],
        "msa=los angeles": ["PL-0001", "PL-0003"],
        "search=bungalow": ["PL-0002"],
        "min_rate=8": ["PL-0001", "PL-0002"],
        "max_ltv=60": ["PL-0003"],
        "min_remaining=60000": ["PL-0001", "PL-0002"],
        "ordering=annual_rate": ["PL-0003", "PL-0002", "PL-0001"],
        "ordering=-amount,reference&state=CA": ["PL-0001", "PL-0003"],
        "state=&msa=&search=&ordering=": ["PL-0001", "PL-0002", "PL-0003"],
        "status=funded": [],
        "state=NY": [],
        "utm_source=mail": ["PL-0001", "PL-0002", "PL-0003"],
    }.items():
        page = text(client, f"/?{query}")
        assert shown(page) == references, query
        assert f"{len(references)} " in page
    assert all(f'<option value="{place}">' in page for place in ("CA", "FL", "Jacksonville, FL"))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("state=Tex", "at most 2 characters"),
        ("state=%00%00", "Null characters are not allowed"),
        ("status=sold", "Select a valid choice. sold is not one of the available choices."),
        ("min_rate=high", "Enter a number."),
        ("max_ltv=-1", "greater than or equal to 0"),
        ("min_remaining=1.005", "no more than 2 decimal places"),
        ("ordering=price", "Lists are ordered by opens_at, closes_at"),
        ("ordering=,", "Write one name, or several with one comma between two."),
        (f"search={'x' * 201}", "at most 200 characters"),
    ],
)
def test_a_filter_that_is_not_valid_is_explained_beside_its_value(client: Client, query: str, message: str) -> None:
    open_loan()
    page = text(client, f"/?{query}", status=400)
    name, _, value = query.partition("=")
    assert message in page[page.index(f'id="{name}-problem"') :]
    assert f'aria-describedby="{name}-problem"' in page
    assert shown(page) == []
    if name not in {"status", "ordering"}:
        assert f'value="{unquote(value)}"' in page


def test_pages_without_loans_and_without_zip_data(client: Client) -> None:
    assert "No loan is open right now" in text(client)
    assert "No loan matches these filters" in text(client, "/?status=funded")
    assert "No ZIP data has been imported yet" in text(client, "/zip/90266/", status=503)


# --- A loan ---------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("zip_data")
def test_a_loan_has_a_page(client: Client) -> None:
    loan = open_loan(overbooking_rate=Decimal("0.125"), amount=Decimal("100000.00"), minimum=Decimal("30000.00"))
    reserve(loan, "40000.00")
    page = text(client, "/loans/PL-0001/")
    for text_shown in (
        "1 Ocean Drive, Manhattan Beach, CA",
        "<b>3 parts</b> of $30,000.00 are left, and a last part of $10,000.00.",
        "<dt>Reserved, of at most $112,500.00</dt><dd>$40,000.00</dd>",
        "<b>$72,500.00</b> can be reserved now",
        "<dt>Overbooking</dt><dd>12.50 %</dd>",
        "In queue order",
        "<dt>Population, 2015</dt><dd>13,340,068</dd>",
        "<dt>Change in one year</dt><dd>0.65 %</dd>",
        "Amount in dollars, at least $30,000.00",
        "Up to $72,500.00 now.",
        'href="/?msa=31080#loans"',
    ):
        assert text_shown in page, text_shown
    assert text(client, "/loans/PL-0001") == page


def test_a_loans_page_shows_the_remaining_value_from_the_database(client: Client) -> None:
    loan = open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal("25000.00"), timezone.now(), loan.version + 1)})
    assert "<dt>Remaining</dt><dd>$100,000.00</dd>" in text(client, "/loans/PL-0001/")


def test_the_last_part_of_a_loan_is_announced(client: Client) -> None:
    loan = open_loan(amount=Decimal("2500.50"))
    factories.settled(loan, 2000, now=timezone.now())
    assert "<b>The last part</b> is left: exactly $500.50." in text(client, "/loans/PL-0001/")


def test_a_closed_loan_does_not_invite_reservations(client: Client) -> None:
    Loan.objects.filter(pk=open_loan().pk).update(closes_at=timezone.now() - timedelta(hours=1))
    page = text(client, "/loans/PL-0001/")
    assert "Closed for reservations since" in page
    assert "Reserve part of this loan" not in page


@pytest.mark.parametrize("reference", ["PL-9999", "PL-0002", "PL-0003", "%00", "a b"])
def test_loans_that_are_not_public_have_no_page(client: Client, reference: str) -> None:
    open_loan(1)
    withdraw_loan(reference=open_loan(2).reference, actor=STAFF, reason="Sold.")
    draft(3)
    assert "Page not found" in text(client, f"/loans/{reference}/", status=404)


@pytest.mark.usefixtures("zip_data")
def test_the_number_of_queries_of_a_loans_page(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    loan = open_loan()
    with django_assert_num_queries(5):  # the loan, its fill values, its history after them, its ZIP, its documents
        text(client, "/loans/PL-0001/")
    reserve(loan, "40000.00")
    with django_assert_num_queries(2):
        assert "<dd>$40,000.00</dd>" in text(client, "/loans/PL-0001/")


# --- A ZIP ----------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize(
    ("zip_code", "status", "sentences"),
    [
        (
            "90266",
            200,
            [
                "Los Angeles-Long Beach-Anaheim, CA",
                "<b>13,340,068</b> people in 2015, a change of 0.65 % in one year",
                "CBSA 31080, division 31084",
            ],
        ),
        ("32003", 200, ["Jacksonville, FL", "CBSA 27260 "]),
        ("88340", 200, ["No metropolitan area", ">10460</a>, which is a micropolitan area."]),
        ("88338", 200, ["No metropolitan area", "88338 is in no CBSA."]),
        ("00501", 404, ["ZIP 00501 is not in the data in use."]),
        ("9026", 400, ["'9026' is not a ZIP code"]),
    ],
)
def test_a_zip_has_a_page(client: Client, zip_code: str, status: int, sentences: list[str]) -> None:
    page = text(client, f"/zip/{zip_code}/", status=status)
    for sentence in sentences:
        assert sentence in page
    assert f'value="{zip_code}"' in page


@pytest.mark.parametrize("address", ["/zip/?zip=90266", "/zip/?zip=+90266-1234+", "/zip/90266-1234", "/zip/902661234/"])
def test_every_way_to_write_a_zip_leads_to_its_page(client: Client, address: str) -> None:
    assert client.get(address).headers["Location"] == "/zip/90266/"


def test_the_search_field_explains_what_is_not_a_zip(client: Client) -> None:
    assert "Find the metro area of a ZIP code" in text(client, "/zip/")
    page = text(client, "/zip/?zip=beach", status=400)
    assert "'beach' is not a ZIP code" in page
    assert 'value="beach"' in page


@pytest.mark.usefixtures("zip_data")
def test_a_zips_page_lists_the_open_loans_of_its_market(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    open_loan(1)
    open_loan(2, zip="32003")
    draft(3)
    open_loan(4, zip="88338")
    with django_assert_num_queries(3):
        assert shown(text(client, "/zip/90266/")) == ["PL-0001"]
    assert shown(text(client, "/zip/88338/")) == ["PL-0004"]
    page = text(client, "/zip/88340/")
    assert shown(page) == []
    assert "No loan is open there right now." in page


# --- All of them ----------------------------------------------------------------------------------------------------
def test_text_from_outside_is_escaped(client: Client) -> None:
    hostile = '"><script>alert(1)</script>'
    open_loan(title=hostile, city=hostile)
    for address in ("/", "/loans/PL-0001/", f"/?search={quote(hostile)}", f"/?min_rate={quote(hostile)}", f"/zip/?zip={quote(hostile)}"):
        content = client.get(address).content.decode()
        assert "<script" not in content
        assert "&lt;script&gt;" in content


@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize("address", ["/", "/?status=x", "/loans/PL-0001/", "/zip/90266/", "/zip/", "/zip/00501/"])
def test_pages_hold_no_inline_code_and_load_nothing_from_other_hosts(client: Client, address: str) -> None:
    open_loan()
    content = client.get(address).content.decode()
    for inline in ("<script", "<style", "style=", "onclick=", "onsubmit=", "http://", "https://"):
        assert inline not in content.replace("http://www.w3.org/", "").replace('"http://testserver/static/', "")


# --- The order of the loans, and what other pages show of ours ------------------------------------------------------------
def chips(page: str) -> dict[str, tuple[str, bool]]:
    """The links that order the market: the address of each, and whether it is the present one."""
    links = re.findall(
        r'<a href="([^"]*)"( aria-current="true")?>([^<]*)</a>',
        page[page.index('class="chips"') : page.index("</nav>", page.index('class="chips"'))],
    )
    return {name: (address, bool(current)) for address, current, name in links}


def test_each_order_is_a_link_that_keeps_the_filters(client: Client) -> None:
    for number, rate in ((1, "7"), (2, "9"), (3, "8")):
        open_loan(number, annual_rate=Decimal(rate), state="CA" if number < 3 else "TX")
    page = text(client, "/?state=CA&search=flats+%26+more&page=1")
    assert [name.lower() for name in chips(page)] == [name for _, name in market.ORDERINGS]
    assert chips(page)["Closing soonest"] == ("/?state=CA&search=flats+%26+more#loans", True)
    assert chips(page)["Highest rate"] == ("/?state=CA&search=flats+%26+more&ordering=-annual_rate#loans", False)
    by_rate = text(client, "/?state=CA&ordering=-annual_rate")
    assert shown(by_rate) == ["PL-0002", "PL-0001"]
    assert [name for name, (_, current) in chips(by_rate).items() if current] == ["Highest rate"]
    assert chips(by_rate)["Closing soonest"][0] == "/?state=CA#loans"
    assert '<input type="hidden" name="ordering" value="-annual_rate">' in by_rate
    assert 'name="ordering"' not in page


def test_an_order_that_no_link_has_is_kept_by_the_filters(client: Client) -> None:
    open_loan()
    page = text(client, "/?ordering=-amount,reference")
    assert not any(current for _, current in chips(page).values())
    assert '<input type="hidden" name="ordering" value="-amount,reference">' in page


@pytest.mark.parametrize("address", ["/", "/?min_rate=high", "/loans/PL-0001/"])
def test_a_page_says_what_others_show_of_it(client: Client, address: str) -> None:
    open_loan(title='Four "flats" <b>by the sea</b>', city="O'Neill & <i>Sons</i>", amount=Decimal("1250000.00"), ltv=Decimal("62.50"))
    content = client.get(address).content.decode()
    head = content[: content.index("</head>")]
    meta = {name: unescape(value) for name, value in re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)">', head)}
    if "loans" in address:
        assert meta["og:title"] == 'Four "flats" <b>by the sea</b>'
        assert meta["og:description"] == (
            "8.50 % a year for 24 months, 62.5 % loan to value. $1,250,000.00 in O'Neill & <i>Sons</i>, CA, in parts of $1,000.00 or more."
        )
    else:
        assert meta["og:title"] == "Buy part of a real-estate loan"
    assert meta["description"] == meta["og:description"]
    assert meta["og:type"] == "website"
    assert "<b>" not in head
    assert "<i>" not in head
    assert meta["og:image"].startswith("http://testserver/static/loans/share")


def test_the_shared_picture_is_a_small_png_of_the_usual_size() -> None:
    picture = finders.find("loans/share.png")
    assert picture
    content = Path(picture).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1200, 630)
    assert len(content) < 60_000


@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize("address", ["/", "/loans/PL-0001/", "/zip/90266/"])
def test_caches_may_keep_a_page_and_revalidate_it(client: Client, address: str) -> None:
    loan = open_loan()
    first = client.get(address)
    assert first.headers["Cache-Control"] == "public, no-cache"
    again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    reserve(loan, "40000.00")
    assert client.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize("address", ["/?status=x", "/loans/PL-0001/", "/zip/90266/", "/zip/90266-1234/"])
def test_caches_may_not_keep_errors_and_redirects(client: Client, address: str) -> None:
    assert "public" not in client.get(address).headers.get("Cache-Control", "")


@pytest.mark.parametrize("address", ["/", "/loans/PL-0001/", "/zip/90266/", "/zip/"])
def test_pages_only_accept_reads(client: Client, address: str) -> None:
    assert client.post(address).status_code == 405


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"state": "California"}, True),
        ({"state": " new  york "}, False),
        ({"state": "ca"}, True),
        ({"min_rate": "7 %"}, True),
        ({"min_remaining": "$100,000"}, True),
        ({"min_remaining": "100,000.01"}, False),
        ({"max_ltv": "62.5%"}, True),
        ({"msa": "LA"}, False),
        ({"msa": "lake"}, True),
        ({"msa": "akewood"}, False),
        ({"msa": "CO"}, True),
        ({"msa": "Aurora-Lakewood, (x"}, False),
    ],
)
def test_filters_are_read_as_they_are_typed(client: Client, query: dict[str, str], found: bool) -> None:
    market = {"market_msa": "Denver-Aurora-Lakewood, CO", "market_cbsa": "19740"}
    LoanFactory(now=timezone.now(), state="CA", annual_rate="7.25", ltv="62.50")
    Loan.objects.update(**market)
    page = client.get("/", query)
    assert page.status_code == 200
    assert len(page.context["cards"]) == found


def test_a_state_that_does_not_exist_is_refused_beside_its_field(client: Client) -> None:
    page = client.get("/", {"state": "Atlantis"})
    assert page.status_code == 400
    assert "Atlantis" in page.content.decode()


def test_of_a_withdrawn_loan_its_investors_see_their_reservation(client: Client) -> None:
    loan = LoanFactory(now=timezone.now())
    own = factories.funded(loan, 5_000, now=timezone.now())
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test")
    address = f"/loans/{loan.reference}/"
    assert client.get(address).status_code == 404
    client.force_login(factories.InvestorFactory().user)
    assert client.get(address).status_code == 404
    client.force_login(own.investor.user)
    page = client.get(address, follow=True)
    assert page.redirect_chain == [(f"/account/reservations/{own.pk}/", 302)]
    assert "withdrawn" in page.content.decode()
