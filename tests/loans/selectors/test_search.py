"""Investors, users and loans are found by the beginning of a word, in any case, and read from indexes."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from loans.models import Investor, User
from loans.selectors import search
from tests.factories import InvestorFactory, UserFactory, inbound, pending
from tests.loans.admin.conftest import open_loan_now

pytestmark = pytest.mark.django_db


def names_of_investors(word: str) -> list[str]:
    return list(Investor.objects.filter(pk__in=search.investor_ids(word)).order_by("pk").values_list("name", flat=True))


@pytest.fixture
def kim() -> Investor:
    InvestorFactory(name="Rebecca 100_Percent", user=UserFactory(username="rebecca", email="r@example.org"))
    investor: Investor = InvestorFactory(
        name="O'Brien-Lee Holdings", user=UserFactory(username="kim_1", email="Kim.Lee@Example.org", first_name="Kim", last_name="Ngata")
    )
    return investor


@pytest.mark.parametrize(
    "word",
    ["o'br", "O'BRIEN", "brien", "lee", "hold", "KIM_1", "kim.lee@", "Kim.Lee@Example.org", "kim", "nga", "o'brien-lee", "k%", "kim:*"],
)
def test_what_finds_an_investor(kim: Investor, word: str) -> None:
    assert names_of_investors(word) == [kim.name]


@pytest.mark.parametrize("word", ["rien", "kimx", "%", "_", "im_1", "n%a", "\\", "'", "''", "&", "!", "a|b", "example.org"])
def test_what_finds_none(kim: Investor, word: str) -> None:
    assert names_of_investors(word) == []


def test_so_many_that_they_stay_a_subquery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_IDS", 2)
    investors = [InvestorFactory(name=f"Many {number}") for number in range(4)]
    assert not isinstance(search.investor_ids("many"), list)
    assert names_of_investors("many") == [investor.name for investor in investors]


def test_a_user_is_named_by_the_whole_user_name_or_e_mail(kim: Investor) -> None:
    for text in ("KIM_1", "kim.lee@example.ORG"):
        assert search.ids_of_users_named(text) == [kim.user_id]
    for text in ("kim", "kim.lee@example", "", "kim%1"):
        assert search.ids_of_users_named(text) == []


# --- Plans ------------------------------------------------------------------------------------------------------------------------
def scans(node: dict[str, Any]) -> Iterator[str]:
    """Yield the scans of a plan that read a whole table or walk a whole index."""
    kind = node["Node Type"]
    if "Scan" in kind and kind not in {"Bitmap Heap Scan", "Subquery Scan", "CTE Scan"} and "Index Cond" not in node:
        yield f"{kind} {node.get('Index Name', '')} {node.get('Relation Name', '')}"
    for child in node.get("Plans", []):
        yield from scans(child)


def whole_reads(queries: list[dict[str, str]]) -> list[str]:
    """Return the scans of whole tables that grow with the market, where PostgreSQL can avoid none of them."""
    grows = ("loans_reservation", "loans_transfer", "loans_investor", "loans_user")
    found = []
    with connection.cursor() as cursor:
        # As if nothing had been analyzed: PostgreSQL then expects ten pages in each table, whatever other tests left in the statistics.
        cursor.execute("DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relname ~ '^loans_')")
        cursor.execute("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relname ~ '^loans_' AND relkind = 'r'")
        # The files may have grown by other tests' rows. So all plans are left out that read a whole table although an index could serve.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off")
        for query in queries:
            if query["sql"].startswith("SELECT") and any(table in query["sql"] for table in grows):
                cursor.execute("EXPLAIN (FORMAT JSON) " + query["sql"])
                found += [scan for scan in scans(cursor.fetchone()[0][0]["Plan"]) if scan.rpartition(" ")[2] in grows]
    return found


@pytest.mark.parametrize("words", ["PL-0010 #1", "pl 10", "pl-00", "reference", "T-", "kim", "kim.lee@ex", "kim lee", "zzz"])
def test_the_search_of_everything_reads_from_indexes(admin_client: Client, words: str) -> None:
    kim = InvestorFactory(name="Kim Lee", user=UserFactory(email="kim.lee@example.org"))
    loan = open_loan_now(reference="PL-0010")
    reference = inbound(pending(loan, 5_000, now=timezone.now(), investor=kim)).reference
    text = {"reference": reference, "T-": reference[:7]}.get(words, words)
    admin_client.get("/admin/")
    with CaptureQueriesContext(connection) as captured:
        admin_client.get("/admin/search/", {"q": text})
    assert len(captured.captured_queries) <= 30
    assert whole_reads(captured.captured_queries) == []


def test_a_search_through_a_join_would_be_noticed() -> None:
    InvestorFactory()
    users = User.objects.filter(investor__name__icontains="kim")
    with CaptureQueriesContext(connection) as captured:
        list(users)
    assert whole_reads(captured.captured_queries) != []
