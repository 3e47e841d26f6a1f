import re
from datetime import timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

import cbsa
from cbsa.imports import service
from loans import remaining_cache
from loans.domain.actors import Actor
from loans.domain.settlement_rules import RULES
from loans.models import Investor, Loan
from loans.services.loans import create_loan, open_loan, withdraw_loan
from loans.services.reservations import reserve
from loans.web import views
from tests import factories

pytestmark = pytest.mark.django_db
STAFF = Actor("staff")


def a_draft(number: int = 1, **facts: object) -> Loan:
    given = {"title": "A house", "address": "1 Main Street", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
    terms = {"annual_rate": Decimal("7.25"), "term_months": 12, "ltv": Decimal("62.50"), "amount": Decimal("100000.00")}
    reference = f"PL-{number:04}"
    return create_loan(Loan(reference=reference, **(given | terms | facts)), actor=STAFF)


def an_open_loan(number: int = 1, **facts: object) -> Loan:
    draft = a_draft(number, **facts)
    return open_loan(reference=draft.reference, actor=STAFF, closes_at=timezone.now() + timedelta(days=number, minutes=90))


def an_investor() -> Investor:
    user = get_user_model().objects.create(username="ana")
    return Investor.objects.create(user=user, name="Ana", accredited_until=timezone.localdate() + timedelta(days=30))


@pytest.fixture
def zip_data() -> None:
    demo = Path(cbsa.__file__).with_name("demo")
    service.run(zips=str(demo / "zips.csv"), metros=str(demo / "metros.csv"), vintage="2015", actor="tester")


def text(client: Client, address: str = "/", status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return unescape(response.content.decode())


@pytest.mark.usefixtures("zip_data")
def test_a_loan_is_shown_with_its_terms_and_money(client: Client) -> None:
    loan = an_open_loan(overbooking_rate=Decimal("0.10"), minimum=Decimal("2500.00"))
    reserve(reference=loan.reference, investor=an_investor(), amount=Decimal("30000.50"))
    page = text(client)
    for shown in ("A house", "PL-0001", "Los Angeles-Long Beach-Anaheim, CA", "7.25 %", "62.5 %", "$100,000", "1\xa0day, 1\xa0hour"):
        assert shown in page
    sums = [
        ("Remaining", "100,000"),
        ("Claimed, of at most $110,000", "30,000.50"),
        ("Can be reserved now", "79,999.50"),
        ("Minimum", "2,500"),
    ]
    for name, dollars in sums:
        assert f"<dt>{name}</dt><dd>${dollars}</dd>" in page


def test_open_loans_are_shown_the_first_to_close_in_front_and_those_past_their_closing_behind(client: Client) -> None:
    for number in (3, 1, 2, 4):
        an_open_loan(number)
    a_draft(5)
    withdraw_loan(reference="PL-0002", actor=STAFF, reason="Sold.")
    Loan.objects.filter(reference="PL-0003").update(closes_at=timezone.now() - timedelta(hours=1))
    page = text(client)
    assert shown(page) == ["PL-0001", "PL-0004", "PL-0003"]
    assert page.index("Took reservations until") > page.index("PL-0004")


def test_what_remains_is_the_value_in_redis(client: Client) -> None:
    loan = an_open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal("25000.00"), timezone.now(), loan.version + 1)})
    page = text(client)
    assert "<dt>Remaining</dt><dd>$25,000</dd>" in page
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
def test_bar(amount: str, settled: str, claimed: str, rate: str, bar: tuple[str, ...]) -> None:
    loan = Loan(amount=Decimal(amount), overbooking_rate=Decimal(rate))
    offer = views.LoanOffer(loan, timezone.now(), Decimal(claimed), Decimal(0))
    drawn = views.Card(offer, Decimal(amount) - Decimal(settled)).bar
    assert (drawn["settled"], drawn["claimed"], drawn["amount"]) == bar


def test_the_number_of_queries_does_not_grow_with_the_loans(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    an_open_loan()
    with django_assert_num_queries(4):
        assert text(client).count('class="loan"') == 1
    for number in range(2, 21):
        an_open_loan(number)
    with django_assert_num_queries(4):
        assert text(client).count('class="loan"') == 20


def test_more_loans_are_on_the_next_page(client: Client) -> None:
    for number in range(1, views.LOANS_ON_A_PAGE + 2):
        an_open_loan(number)
    first, second = text(client, "/?state=ca"), text(client, "/?state=ca&page=2")
    assert f"{views.LOANS_ON_A_PAGE + 1} open loans" in first
    assert first.count('class="loan"') == views.LOANS_ON_A_PAGE
    assert 'href="/?state=ca&page=2#loans"' in first
    assert second.count('class="loan"') == 1
    assert 'href="/?state=ca&page=1#loans"' in second
    assert "page=3" not in second
    assert "There are only 2 pages of these." in text(client, "/?page=3")


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1e3", "²", "99999", "1" * 5000])
def test_a_page_that_cannot_be(client: Client, page: str) -> None:
    assert "There is nothing at this address" in text(client, f"/?page={page}", status=404)


def shown(page: str) -> list[str]:
    return re.findall(r'href="/loans/(\S+)/"', page)


@pytest.mark.usefixtures("zip_data")
def test_the_market_is_filtered_and_ordered_as_the_api_is(client: Client) -> None:
    an_open_loan(1, annual_rate=Decimal("9.00"))
    an_open_loan(2, annual_rate=Decimal("8.00"), zip="32003", state="FL", city="Fleming Island", title="A bungalow")
    an_open_loan(3, annual_rate=Decimal("7.00"), ltv=Decimal("50.00"), amount=Decimal("50000.00"))
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
    ("query", "told"),
    [
        ("state=Texas", "at most 2 characters"),
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
def test_a_wrong_filter_is_explained_beside_its_value(client: Client, query: str, told: str) -> None:
    an_open_loan()
    page = text(client, f"/?{query}", status=400)
    name, _, value = query.partition("=")
    assert told in page[page.index(f'id="{name}-problem"') :]
    assert f'aria-describedby="{name}-problem"' in page
    assert shown(page) == []
    if name not in {"status", "ordering"}:
        assert f'value="{unquote(value)}"' in page


def test_nothing_there_yet(client: Client) -> None:
    assert "No loan is open right now" in text(client)
    assert "No loan is like that right now" in text(client, "/?status=funded")
    assert "No ZIP data has been imported yet" in text(client, "/zip/90266/", status=503)


# --- A loan ---------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("zip_data")
def test_a_loan_has_a_page(client: Client) -> None:
    loan = an_open_loan(overbooking_rate=Decimal("0.125"), amount=Decimal("100000.00"), minimum=Decimal("30000.00"))
    reserve(reference=loan.reference, investor=an_investor(), amount=Decimal("40000.00"))
    page = text(client, "/loans/PL-0001/")
    for said in (
        "1 Main Street, Manhattan Beach, CA",
        "<b>3 pieces</b> of $30,000 are left, and a closing piece of $10,000.",
        "<dt>Claimed, of at most $112,500</dt><dd>$40,000</dd>",
        "<dt>Can be reserved now</dt><dd>$72,500</dd>",
        "<dt>Overbooking</dt><dd>12.50 %</dd>",
        "In queue order",
        "<dt>People, 2015</dt><dd>13,340,068</dd>",
        "<dt>Change in a year</dt><dd>0.65 %</dd>",
        "POST /api/v1/loans/PL-0001/reservations/",
        'href="/?msa=31080#loans"',
    ):
        assert said in page, said
    assert text(client, "/loans/PL-0001") == page


def test_a_page_shows_what_the_database_has_and_not_what_redis_has(client: Client) -> None:
    loan = an_open_loan()
    remaining_cache.publish({loan.pk: remaining_cache.Remaining(Decimal("25000.00"), timezone.now(), loan.version + 1)})
    assert "<dt>Remaining</dt><dd>$100,000</dd>" in text(client, "/loans/PL-0001/")


def test_what_is_left_for_sale_at_the_end(client: Client) -> None:
    loan = an_open_loan(amount=Decimal("2500.50"))
    factories.settled(loan, 2000, now=timezone.now())
    assert "<b>The closing piece</b> is left: exactly $500.50." in text(client, "/loans/PL-0001/")


def test_a_loan_that_takes_no_reservations_says_so(client: Client) -> None:
    Loan.objects.filter(pk=an_open_loan().pk).update(closes_at=timezone.now() - timedelta(hours=1))
    page = text(client, "/loans/PL-0001/")
    assert "Took reservations until" in page
    assert "Reserve a piece" not in page


@pytest.mark.parametrize("reference", ["PL-9999", "PL-0002", "PL-0003", "%00", "a b"])
def test_loans_that_nobody_may_see_have_no_page(client: Client, reference: str) -> None:
    an_open_loan(1)
    withdraw_loan(reference=an_open_loan(2).reference, actor=STAFF, reason="Sold.")
    a_draft(3)
    assert "There is nothing at this address" in text(client, f"/loans/{reference}/", status=404)


@pytest.mark.usefixtures("zip_data")
def test_the_queries_of_a_loans_page(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    loan = an_open_loan()
    with django_assert_num_queries(3):  # the loan, its history, its ZIP
        text(client, "/loans/PL-0001/")
    reserve(reference=loan.reference, investor=an_investor(), amount=Decimal("40000.00"))
    with django_assert_num_queries(1):
        assert "<dd>$40,000</dd>" in text(client, "/loans/PL-0001/")


def test_each_rule_is_told() -> None:
    assert views.RULES_TOLD.keys() == RULES.keys()


# --- A ZIP ----------------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        (
            "90266",
            200,
            ["Los Angeles-Long Beach-Anaheim, CA", "<b>13,340,068</b> people in 2015, a change of 0.65 %", "CBSA 31080, division 31084"],
        ),
        ("32003", 200, ["Jacksonville, FL", "CBSA 27260 "]),
        ("88340", 200, ["No metropolitan area", "88340 lies in CBSA 10460, which is not a metropolitan one."]),
        ("88338", 200, ["No metropolitan area", "88338 lies in no CBSA."]),
        ("00501", 404, ["ZIP 00501 is not in the data in use."]),
        ("9026", 400, ["'9026' is not a ZIP code"]),
    ],
)
def test_a_zip_has_a_page(client: Client, asked: str, status: int, told: list[str]) -> None:
    page = text(client, f"/zip/{asked}/", status=status)
    for sentence in told:
        assert sentence in page
    assert f'value="{asked}"' in page


@pytest.mark.parametrize("address", ["/zip/?zip=90266", "/zip/?zip=+90266-1234+", "/zip/90266-1234", "/zip/902661234/"])
def test_each_way_of_asking_leads_to_the_page_of_the_zip(client: Client, address: str) -> None:
    assert client.get(address).headers["Location"] == "/zip/90266/"


def test_the_box_says_what_is_no_zip(client: Client) -> None:
    assert "Which metro is a ZIP in?" in text(client, "/zip/")
    page = text(client, "/zip/?zip=beach", status=400)
    assert "'beach' is not a ZIP code" in page
    assert 'value="beach"' in page


@pytest.mark.usefixtures("zip_data")
def test_the_open_loans_there(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    an_open_loan(1)
    an_open_loan(2, zip="32003")
    a_draft(3)
    an_open_loan(4, zip="88338")
    with django_assert_num_queries(3):
        assert shown(text(client, "/zip/90266/")) == ["PL-0001"]
    assert shown(text(client, "/zip/88338/")) == ["PL-0004"]
    page = text(client, "/zip/88340/")
    assert shown(page) == []
    assert "No loan is open there right now." in page


# --- All of them ----------------------------------------------------------------------------------------------------
def test_foreign_text_stays_text(client: Client) -> None:
    hostile = '"><script>alert(1)</script>'
    an_open_loan(title=hostile, city=hostile)
    for address in ("/", "/loans/PL-0001/", f"/?search={quote(hostile)}", f"/?min_rate={quote(hostile)}", f"/zip/?zip={quote(hostile)}"):
        content = client.get(address).content.decode()
        assert "<script" not in content
        assert "&lt;script&gt;" in content


@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize("address", ["/", "/?status=x", "/loans/PL-0001/", "/zip/90266/", "/zip/", "/zip/00501/"])
def test_nothing_is_inline_and_nothing_from_elsewhere_so_that_a_strict_policy_can_forbid_it(client: Client, address: str) -> None:
    an_open_loan()
    content = client.get(address).content.decode()
    for inline in ("<script", "<style", "style=", "onclick=", "onsubmit=", "http://", "https://"):
        assert inline not in content.replace("http://www.w3.org/", "")


@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize("address", ["/", "/loans/PL-0001/", "/zip/90266/"])
def test_caches_may_keep_a_page_and_ask_whether_it_still_holds(client: Client, address: str) -> None:
    loan = an_open_loan()
    first = client.get(address)
    assert first.headers["Cache-Control"] == "public, no-cache"
    again = client.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    reserve(reference=loan.reference, investor=an_investor(), amount=Decimal("40000.00"))
    assert client.get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize("address", ["/?status=x", "/loans/PL-0001/", "/zip/90266/", "/zip/90266-1234/"])
def test_what_went_wrong_is_not_kept(client: Client, address: str) -> None:
    assert "public" not in client.get(address).headers.get("Cache-Control", "")


@pytest.mark.parametrize("address", ["/", "/loans/PL-0001/", "/zip/90266/", "/zip/"])
def test_only_reading(client: Client, address: str) -> None:
    assert client.post(address).status_code == 405
