from datetime import timedelta
from decimal import Decimal
from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

import cbsa
from cbsa import importing
from loans import investing, lending, pages, remaining
from loans.ledger import Actor
from loans.models import Investor, Loan

pytestmark = pytest.mark.django_db
STAFF = Actor("staff")


def an_open_loan(number: int = 1, **facts: object) -> Loan:
    given = {"title": "A house", "address": "1 Main Street", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
    terms = {"annual_rate": Decimal("7.25"), "term_months": 12, "ltv": Decimal("62.50"), "amount": Decimal("100000.00")}
    reference = f"PL-{number:04}"
    lending.create(Loan(reference=reference, **(given | terms | facts)), actor=STAFF)
    return lending.open_loan(reference=reference, actor=STAFF, closes_at=timezone.now() + timedelta(days=number, minutes=90))


def an_investor() -> Investor:
    user = get_user_model().objects.create(username="ana")
    return Investor.objects.create(user=user, name="Ana", accredited_until=timezone.localdate() + timedelta(days=30))


@pytest.fixture
def zip_data() -> None:
    demo = Path(cbsa.__file__).with_name("demo")
    importing.run(zips=str(demo / "zips.csv"), metros=str(demo / "metros.csv"), vintage="2015", actor="tester")


def text(client: Client, address: str = "/", status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    return unescape(response.content.decode())


@pytest.mark.usefixtures("zip_data")
def test_a_loan_is_shown_with_its_terms_and_money(client: Client) -> None:
    loan = an_open_loan(overbooking_rate=Decimal("0.10"), minimum=Decimal("2500.00"))
    investing.reserve(reference=loan.reference, investor=an_investor(), amount=Decimal("30000.50"))
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


def test_only_loans_that_take_reservations_are_shown_the_first_to_close_in_front(client: Client) -> None:
    for number in (3, 1, 2, 4):
        an_open_loan(number)
    lending.withdraw(reference="PL-0002", actor=STAFF, reason="Sold.")
    Loan.objects.filter(reference="PL-0003").update(closes_at=timezone.now() - timedelta(hours=1))
    page = text(client)
    assert [reference for reference in ("PL-0001", "PL-0004") if reference in page] == ["PL-0001", "PL-0004"]
    assert page.index("PL-0001") < page.index("PL-0004")
    assert "PL-0002" not in page
    assert "PL-0003" not in page


def test_what_remains_is_the_value_in_redis(client: Client) -> None:
    loan = an_open_loan()
    remaining.publish({loan.pk: remaining.Remaining(Decimal("25000.00"), timezone.now(), loan.version + 1)})
    page = text(client)
    assert "<dt>Remaining</dt><dd>$25,000</dd>" in page
    assert "75 % of PL-0001 is settled" in page


@pytest.mark.parametrize(
    ("amount", "settled", "claimed", "rate", "bar"),
    [
        ("100", "0", "0", "0.25", ("0.00%", "0.00%", "80.00%")),
        ("100", "60", "10", "0", ("60.00%", "10.00%", "100.00%")),
        ("100", "90", "30", "0.20", ("75.00%", "25.00%", "83.33%")),  # claims made before the limit shrank
        ("100", "-10", "0", "0", ("0.00%", "0.00%", "90.91%")),  # nonsense in Redis draws nothing negative
    ],
)
def test_bar(amount: str, settled: str, claimed: str, rate: str, bar: tuple[str, ...]) -> None:
    loan = Loan(amount=Decimal(amount), overbooking_rate=Decimal(rate))
    offer = pages.Offer(loan, timezone.now(), Decimal(claimed), Decimal(0))
    drawn = pages.Card(offer, Decimal(amount) - Decimal(settled)).bar
    assert (drawn["settled"], drawn["claimed"], drawn["amount"]) == bar


def test_the_number_of_queries_does_not_grow_with_the_loans(client: Client, django_assert_num_queries) -> None:  # type: ignore[no-untyped-def]
    an_open_loan()
    with django_assert_num_queries(1):
        assert text(client).count('class="loan"') == 1
    for number in range(2, 21):
        an_open_loan(number)
    with django_assert_num_queries(1):
        assert text(client).count('class="loan"') == 20


def test_more_loans_are_on_the_next_page(client: Client) -> None:
    for number in range(1, pages.LOANS_ON_A_PAGE + 2):
        an_open_loan(number)
    first, second = text(client), text(client, "/?page=2")
    assert first.count('class="loan"') == pages.LOANS_ON_A_PAGE
    assert 'href="/?page=2"' in first
    assert second.count('class="loan"') == 1
    assert 'href="/?page=1"' in second
    assert 'href="/?page=3"' not in second
    assert "No more loans are open" in text(client, "/?page=3")


@pytest.mark.parametrize("page", ["0", "-1", "x", "", "1e3", "²", "99999", "1" * 5000])
def test_a_page_that_cannot_be(client: Client, page: str) -> None:
    assert "There is nothing at this address" in text(client, f"/?page={page}", status=404)


def test_nothing_there_yet(client: Client) -> None:
    assert "No loan is open right now" in text(client)
    assert "No ZIP data has been imported yet" in text(client, "/?zip=90266", status=503)


@pytest.mark.usefixtures("zip_data")
@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        (
            "90266",
            200,
            ["Los Angeles-Long Beach-Anaheim, CA", "13,340,068 people in 2015, a change of 0.65 %", "CBSA 31080, division 31084"],
        ),
        (" 32003-1234 ", 200, ["Jacksonville, FL", "CBSA 27260 "]),
        ("88340", 200, ["No metropolitan area", "88340 lies in CBSA 10460, which is not a metropolitan one."]),
        ("88338", 200, ["No metropolitan area", "88338 lies in no CBSA."]),
        ("00501", 404, ["ZIP 00501 is not in the data in use."]),
        ("9026", 400, ["'9026' is not a ZIP code"]),
    ],
)
def test_a_zip_is_answered_without_scripts(client: Client, asked: str, status: int, told: list[str]) -> None:
    page = text(client, f"/?zip={asked}", status=status)
    for sentence in told:
        assert sentence in page
    assert f'value="{asked.strip()}"' in page


def test_foreign_text_stays_text(client: Client) -> None:
    hostile = '"><script>alert(1)</script>'
    an_open_loan(title=hostile, city=hostile)
    content = client.get("/", {"zip": hostile}).content.decode()
    assert "<script>" not in content
    assert content.count("&lt;script&gt;") == 4  # title, city, the box and what is said of it


def test_nothing_is_inline_so_that_a_strict_policy_can_forbid_it(client: Client) -> None:
    an_open_loan()
    page = text(client)
    assert page.count("<script") == page.count("<script src=") == 1
    for inline in ("<style", "style=", "onclick=", "onsubmit=", "http://", "https://"):
        assert inline not in page


def test_only_reading(client: Client) -> None:
    assert client.post("/").status_code == 405
