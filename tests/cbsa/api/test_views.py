"""ZIPs over HTTP. Errors are told apart by status and code; `tests/peerloans/api/test_problem_details.py` looks at their shape."""

import json

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cbsa import lookup
from cbsa.api.serializers import ZipAnswerSerializer
from cbsa.imports import service
from tests.cbsa.conftest import Import
from tests.cbsa.publishers import ZIPS

pytestmark = pytest.mark.django_db

ANSWER = (
    '{"zip":"10002","cbsa":"20004","effective_cbsa":"20000","msa":"Great City-Bay, CA-NV",'
    '"population":{"2013":300000,"2014":310000,"2015":320001},"growth_percent":3.23,'
    '"matches":[{"cbsa":"20004","tot_ratio":1.0,"res_ratio":1.0,"bus_ratio":1.0,"oth_ratio":1.0}],"vintage":"2015"}'
)
UNKNOWN = {"zip": "77777", "error": "unknown_zip"}


@pytest.mark.parametrize(
    "address", ["/ziptocbsa/10002", "/ziptocbsa/10002/", "/ziptocbsa?zip=10002", "/ziptocbsa/?zip=10002", "/ziptocbsa/10002-1234"]
)
def test_one_zip(client: Client, run: Import, address: str) -> None:
    run()
    response = client.get(address)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.content.decode() == ANSWER


def test_the_answer_has_the_fields_that_the_schema_names(client: Client, run: Import) -> None:
    run()
    for zip_code in ("10002", "10001"):
        body = client.get(f"/ziptocbsa/{zip_code}").json()
        described = ZipAnswerSerializer(data=body)
        assert described.is_valid(), described.errors
        assert list(described.validated_data) == list(body)


def test_without_an_msa(client: Client, run: Import) -> None:
    run()
    body = client.get("/ziptocbsa/10001").json()
    assert (body["msa"], body["population"], body["growth_percent"]) == (None, {}, None)
    assert [match["cbsa"] for match in body["matches"]] == ["99999", "20004"]


@pytest.mark.parametrize(
    "address",
    ["/ziptocbsa?zip=10003,10002,77777,10002", "/ziptocbsa/?zip=10003&zip=10002,77777&zip=10002", "/ziptocbsa/10003,10002,77777,10002"],
)
def test_several_zips_in_the_order_asked(client: Client, run: Import, address: str) -> None:
    run()
    posted = client.post("/ziptocbsa", {"zips": ["10003", "10002-1234", "77777", "10002"]}, "application/json")
    for response in (client.get(address), posted):
        first, *rest = response.json()["results"]
        assert (response.status_code, first["zip"]) == (200, "10003")
        assert rest == [json.loads(ANSWER), UNKNOWN, json.loads(ANSWER)]


@pytest.mark.parametrize("address", ["/ziptocbsa", "/ziptocbsa/"])
def test_a_thousand_at_once(client: Client, run: Import, address: str, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    run()
    zips = [f"{number:05d}" for number in range(9_500, 10_500)]
    with django_assert_num_queries(1):
        response = client.post(address, {"zips": zips}, "application/json")
    assert [result["zip"] for result in response.json()["results"]] == zips
    assert len(client.get(address, {"zip": ",".join(zips)}).json()["results"]) == 1_000
    for response in (client.post(address, {"zips": [*zips, "10001"]}, "application/json"), client.get(address, {"zip": [*zips, "10001"]})):
        assert (response.status_code, response.json()["code"]) == (400, "invalid")


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/ziptocbsa/9026", 400, "invalid_zip"),
        ("/ziptocbsa/90O66", 400, "invalid_zip"),
        ("/ziptocbsa/%F0%9F%98%80", 400, "invalid_zip"),
        ("/ziptocbsa/%00", 400, "invalid_zip"),
        ("/ziptocbsa?zip=10002,9026", 400, "invalid_zip"),
        ("/ziptocbsa?zip=10002,", 400, "invalid_zip"),
        ("/ziptocbsa?zip=", 400, "invalid_zip"),
        ("/ziptocbsa", 400, "invalid_zip"),
        ("/ziptocbsa/77777", 404, "unknown_zip"),
        ("/ziptocbsa/1/2", 404, "not_found"),
    ],
)
def test_refused_reads(client: Client, run: Import, address: str, status: int, code: str) -> None:
    run()
    response = client.get(address)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        ('{"zips": ["1000"]}', "application/json", 400, "invalid_zip"),
        ('{"zips": ["10002", null]}', "application/json", 400, "invalid"),
        ('{"zips": ["\\ud800"]}', "application/json", 400, "invalid"),
        ('{"zips": "10002"}', "application/json", 400, "invalid"),
        ("[]", "application/json", 400, "invalid"),
        ("{}", "application/json", 400, "invalid"),
        ('{"zips": ', "application/json", 400, "invalid"),
        ("[" * 100_000, "application/json", 400, "invalid"),
        (b'{"zips": ["\xff"]}', "application/json", 400, "invalid"),
        (" " * 3_000_000, "application/json", 413, "too_large"),
        ("zips=10002", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ],
)
def test_refused_lists(client: Client, body: str | bytes, kind: str, status: int, code: str) -> None:
    response = client.post("/ziptocbsa", body, kind)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("address", ["/ziptocbsa/10002", "/ziptocbsa?zip=10002,10003"])
def test_before_the_first_import(client: Client, address: str) -> None:
    response = client.get(address)
    assert (response.status_code, response.json()["code"]) == (503, "no_dataset")


def test_other_methods(client: Client) -> None:
    response = client.delete("/ziptocbsa/10002")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("address", ["/ziptocbsa/10002", "/ziptocbsa?zip=10002,77777"])
def test_an_etag_holds_until_the_next_import(client: Client, run: Import, address: str) -> None:
    run()
    etag = client.get(address).headers["ETag"]
    again = client.get(address, headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    run(ZIPS.replace("10003,10300", "10003,10100"), vintage="2016")
    changed = client.get(address, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag
    service.activate(vintage="2015", actor="tester")
    assert client.get(address, headers={"If-None-Match": etag}).status_code == 304


def test_what_is_remembered_is_answered_as_before(client: Client, run: Import) -> None:
    run()
    first, again = client.get("/ziptocbsa/10002"), client.get("/ziptocbsa/10002")
    assert lookup.is_remembered("10002")
    assert again.content == first.content
    names = ("Content-Type", "ETag", "Cache-Control", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
    assert [again.headers[name] for name in names] == [first.headers[name] for name in names]
    assert client.get("/ziptocbsa/10002?page=1").json()["code"] == "invalid"
    assert client.head("/ziptocbsa/10002").status_code == 200
    assert client.delete("/ziptocbsa/10002").status_code == 405


def test_any_web_page_may_read(client: Client, run: Import) -> None:
    run()
    for response in (client.get("/ziptocbsa/10002"), client.get("/ziptocbsa/77777"), client.options("/ziptocbsa")):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    asked = client.options("/ziptocbsa", headers={"Access-Control-Request-Method": "POST"})
    assert asked.status_code == 204
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]


def test_a_zip_asked_about_again_costs_no_query(
    client: Client, run: Import, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    run()
    monkeypatch.setattr(lookup, "FRESH_SECONDS", 1_000.0)
    with django_assert_num_queries(1):
        client.get("/ziptocbsa/10002")
    with django_assert_num_queries(0):
        client.get("/ziptocbsa/10002")
    with django_assert_num_queries(1):
        client.get("/ziptocbsa?zip=10002,10003")


def test_what_another_process_imports_is_seen_and_never_mixed(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of this process is put back, as if the import had run in another process."""
    run()
    lookup.zip_answers(["10002"])
    remembered = lookup._memory
    run(ZIPS.replace("10003,10300", "10003,10100"), vintage="2016")
    monkeypatch.setattr(lookup, "FRESH_SECONDS", 1_000.0)
    monkeypatch.setattr(lookup, "_memory", remembered)
    assert lookup.zip_answer("10002").vintage == "2015"
    assert [answer.vintage for answer in lookup.zip_answers(["10002", "10003"]).by_zip.values()] == ["2016", "2016"]
    assert lookup.zip_answer("10002").vintage == "2016"


def test_memory_has_a_bound(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    monkeypatch.setattr(lookup, "REMEMBERED_ZIPS", 2)
    for zip_code in ("10001", "10002", "10003", "10004", "10005"):
        lookup.zip_answers([zip_code])
        assert len(lookup._memory.by_zip) <= 3
