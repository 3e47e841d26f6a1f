"""The public list of loans: filters, order, pages, caching and cross-origin reads."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_redis import get_redis_connection

from loans.domain.actors import Actor
from loans.models import Loan
from loans.services.loans import withdraw_loan
from tests.loans.api.conftest import Caller, problem

FIELDS = {
    "borrower_type", "lien_position",
    "reference", "title", "property", "market", "amount", "annual_rate", "term_months", "ltv",
    "status", "minimum", "opens_at", "closes_at", "remaining", "remaining_as_of",
}  # fmt: skip


def listed(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [row["reference"] for row in answer.json()["results"]]


def test_a_loan_has_exactly_these_fields(anyone: Caller, loan: Loan) -> None:
    (row,) = anyone.get("loans/").json()["results"]
    one = anyone.get(f"loans/{loan.reference}/").json()
    assert set(row) == FIELDS
    assert set(one) == FIELDS | {"description", "available", "rule", "lottery", "documents"}
    assert row["property"] == {"address": "1 Ocean Drive", "city": "Manhattan Beach", "state": "CA", "zip": "90266"}
    assert (row["amount"], row["annual_rate"], row["minimum"], row["market"]) == ("100000.00", "8.50", "1000.00", None)
    assert (one["remaining"], one["available"]) == ("100000.00", "100000.00")
    assert row["closes_at"].endswith("Z")


def test_drafts_are_not_public(anyone: Caller, new_draft: Callable[..., Loan]) -> None:
    draft = new_draft()
    assert listed(anyone.get("loans/")) == []
    assert problem(anyone.get(f"loans/{draft.reference}/")) == (404, "not_found")
    withdraw_loan(reference=draft.reference, actor=Actor("staff"), reason="a test")
    assert problem(anyone.get(f"loans/{draft.reference}/")) == (404, "not_found")
    assert problem(anyone.get("loans/%00/")) == (404, "not_found")


CALLS_ON_A_LOAN: dict[str, tuple[Callable[[Caller, str], Any], int]] = {
    "read": (lambda caller, reference: caller.get(f"loans/{reference}/"), 404),
    "reserve": (lambda caller, reference: caller.post(f"loans/{reference}/reservations/", {"amount": "5000.00"}), 404),
    "reserve too little": (lambda caller, reference: caller.post(f"loans/{reference}/reservations/", {"amount": "0.01"}), 404),
    "reserve too much": (lambda caller, reference: caller.post(f"loans/{reference}/reservations/", {"amount": "999999999.00"}), 404),
    "reserve with a key": (lambda caller, reference: caller.post(f"loans/{reference}/reservations/", {"amount": 5000}, key=reference), 404),
    "reserve nothing": (lambda caller, reference: caller.post(f"loans/{reference}/reservations/", {}), 400),
    "search": (lambda caller, reference: caller.get("loans/", search=reference), 200),
    "filter by status": (lambda caller, reference: caller.get("loans/", status="draft", search=reference), 400),
    "watch": (lambda caller, reference: caller.put(f"loans/{reference}/watch/"), 404),
    "stop watching": (lambda caller, reference: caller.delete(f"loans/{reference}/watch/"), 404),
    "own reservations": (lambda caller, reference: caller.get("reservations/", loan=reference), 200),
    "allotment": (lambda caller, reference: caller.get(f"loans/{reference}/allotment/"), 404),
    "allotment as CSV": (lambda caller, reference: caller.client.get(f"/loans/{reference}/allotment.csv"), 404),
    "page": (lambda caller, reference: caller.client.get(f"/loans/{reference}/"), 404),
    "market": (lambda caller, reference: caller.client.get("/", {"search": reference}), 200),
    "market by status": (lambda caller, reference: caller.client.get("/", {"search": reference, "status": "draft"}), 400),
}


@pytest.mark.parametrize("name", CALLS_ON_A_LOAN)
def test_a_loan_that_was_never_open_answers_as_an_unknown_reference(
    new_investor: Callable[..., Caller], new_draft: Callable[..., Loan], name: str
) -> None:
    call, status = CALLS_ON_A_LOAN[name]
    new_draft(reference="PL-0001")
    withdraw_loan(reference=new_draft(reference="PL-0002").reference, actor=Actor("staff"), reason="a test")
    for caller in (new_investor(), new_investor(accredited_until=None)):
        for _ in range(2):  # the second time a stored answer comes to the same key
            answers = [call(caller, reference) for reference in ("PL-0001", "PL-0002", "PL-9999")]
            contents = {re.sub(r"PL-\d{4}", "PL", answer.content.decode()) for answer in answers}
            assert ({answer.status_code for answer in answers}, len(contents)) == ({status}, 1)


@pytest.mark.parametrize(
    ("parameters", "references"),
    [
        ({}, ["B", "A"]),
        ({"status": "open"}, ["B", "A"]),
        ({"status": "funded"}, []),
        ({"state": "tx"}, ["B"]),
        ({"msa": "austin"}, ["B"]),
        ({"msa": "12420"}, ["B"]),
        ({"min_rate": "9"}, ["B"]),
        ({"max_ltv": "65.00"}, ["A"]),
        ({"min_remaining": "100000.01"}, ["B"]),
        ({"search": "flat"}, ["A"]),
        ({"ordering": "remaining"}, ["A", "B"]),
        ({"ordering": "-annual_rate,reference"}, ["B", "A"]),
    ],
)
def test_filters(anyone: Caller, new_loan: Callable[..., Loan], parameters: dict[str, str], references: list[str]) -> None:
    new_loan(reference="A")
    new_loan(
        reference="B", title="A shop", state="TX", city="Austin", annual_rate=Decimal("9.25"), ltv=Decimal(70), amount=Decimal(200_000)
    )
    Loan.objects.filter(reference="B").update(market_cbsa="12420", market_msa="Austin-Round Rock, TX")
    assert listed(anyone.get("loans/", **parameters)) == references


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "draft"), ("state", "Texas"), ("min_rate", "much"), ("min_rate", "NaN"), ("max_ltv", "-1"),
        ("min_remaining", "1e400"), ("min_remaining", ""), ("search", "\0"), ("statsu", "open"),
        ("ordering", "claimed"), ("ordering", ",,"), ("ordering", "ltv,"),
        ("page_size", "0"), ("page_size", "201"), ("page_size", "ten"), ("page_size", "²"), ("cursor", "abc"),
    ],
)  # fmt: skip
def test_a_bad_filter_is_refused_by_its_name(anyone: Caller, name: str, value: str) -> None:
    answer = anyone.get("loans/", **{name: value})
    assert problem(answer) == (400, "invalid")
    assert list(answer.json()["errors"]) == [name]


@pytest.mark.parametrize("ordering", ["annual_rate", "-annual_rate", "-opens_at", "remaining"])
def test_pages_neither_skip_nor_repeat_while_loans_arrive(anyone: Caller, new_loan: Callable[..., Loan], ordering: str) -> None:
    there = {new_loan().reference for _ in range(5)}
    page = anyone.get("loans/", ordering=ordering, page_size=2)
    seen = listed(page)
    while page.json()["next"]:
        new_loan()
        page = anyone.get(page.json()["next"])
        seen += listed(page)
    assert len(seen) == len(set(seen))
    assert there <= set(seen)
    back = []
    while page.json()["previous"]:
        page = anyone.get(page.json()["previous"])
        back = listed(page) + back
    assert back[-1] in seen
    assert there <= {*back, *seen[-2:]}


def test_a_cursor_belongs_to_its_ordering(anyone: Caller, new_loan: Callable[..., Loan]) -> None:
    new_loan(), new_loan()
    answer = anyone.get(anyone.get("loans/", page_size=1).json()["next"] + "&ordering=ltv")
    assert problem(answer) == (400, "invalid")


def test_the_list_shows_redis_and_filters_by_the_database(anyone: Caller, loan: Loan) -> None:
    get_redis_connection("default").set(cache.make_key(f"remaining:{loan.pk}"), "999 42.00 2026-01-01T00:00:00.000000+00:00")
    (row,) = anyone.get("loans/", min_remaining="100000").json()["results"]
    assert row["remaining"] == "42.00"
    assert anyone.get(f"loans/{loan.reference}/").json()["remaining"] == "100000.00"


def test_the_list_takes_one_query(anyone: Caller, new_loan: Callable[..., Loan]) -> None:
    for _ in range(3):
        new_loan()
    with CaptureQueriesContext(connection) as queries:
        anyone.get("loans/")
    assert len(queries) == 1


def test_a_client_that_polls_gets_304_until_something_changes(anyone: Caller, loan: Loan) -> None:
    for path in ("loans/", f"loans/{loan.reference}/"):
        answer = anyone.get(path)
        assert answer.headers["Cache-Control"] == "public, no-cache"
        again = anyone.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", answer.headers["ETag"])
    Loan.objects.update(title="Five flats")
    assert anyone.get(path, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 200


def test_every_web_page_may_read(anyone: Caller, loan: Loan) -> None:
    for answer in (anyone.get("loans/"), anyone.get(f"loans/{loan.reference}/"), anyone.get("loans/NO-SUCH/")):
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    asked = anyone.client.options("/api/v1/loans/")
    assert asked.status_code == 204
    assert "If-None-Match" in asked.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Origin" not in anyone.get("portfolio/").headers


@pytest.mark.parametrize(
    ("method", "path", "media_type", "code"),
    [
        ("GET", "/api/v1/nowhere/", None, (404, "not_found")),
        ("POST", "/api/v1/nowhere/", None, (404, "not_found")),
        ("DELETE", "/api/v1/loans/", None, (405, "method_not_allowed")),
        ("POST", "/api/v1/auth/token/", "text/csv", (415, "unsupported_media_type")),
    ],
)
def test_every_error_has_the_same_shape(anyone: Caller, method: str, path: str, media_type: str | None, code: tuple[int, str]) -> None:
    assert problem(anyone.client.generic(method, path, "x", content_type=media_type or "application/json")) == code
