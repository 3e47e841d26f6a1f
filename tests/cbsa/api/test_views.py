"""ZIPs over HTTP. Errors are told apart by status and code; `tests/peerloans/api/test_problem_details.py` looks at their shape."""

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cbsa import lookup
from cbsa.api.serializers import ZipAnswerSerializer
from cbsa.imports import service
from cbsa.models import Dataset
from tests.cbsa.conftest import Import
from tests.cbsa.publishers import METROS, ZIPS

pytestmark = pytest.mark.django_db

ANSWER = (
    '{"zip":"10002","cbsa":"20004","effective_cbsa":"20000","kind":"metropolitan","msa":"Great City-Bay, CA-NV",'
    '"population":{"2013":300000,"2014":310000,"2015":320001},"growth_percent":3.23,'
    '"matches":[{"cbsa":"20004","tot_ratio":1.0,"res_ratio":1.0,"bus_ratio":1.0,"oth_ratio":1.0}],"vintage":"2015","imported_at":"2026-01-02T03:04:05Z"}'
)
IMPORTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UNKNOWN = {"zip": "77777", "error": "unknown_zip"}


@pytest.mark.parametrize(
    "address", ["/ziptocbsa/10002", "/ziptocbsa/10002/", "/ziptocbsa?zip=10002", "/ziptocbsa/?zip=10002", "/ziptocbsa/10002-1234"]
)
def test_one_zip(client: Client, run: Import, address: str) -> None:
    run()
    Dataset.objects.update(imported_at=IMPORTED_AT)
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
    Dataset.objects.update(imported_at=IMPORTED_AT)
    posted = client.post("/ziptocbsa", {"zips": ["10003", "10002-1234", "77777", "10002"]}, "application/json")
    for response in (client.get(address), posted):
        first, *rest = response.json()["results"]
        assert (response.status_code, first["zip"]) == (200, "10003")
        assert rest == [json.loads(ANSWER), UNKNOWN, json.loads(ANSWER)]


def test_a_malformed_zip_among_others_is_answered_in_its_own_place(client: Client, run: Import) -> None:
    run()
    texts = ["9026", "10002", "x" * 30, "77777", "10002-12", ""]
    expected = [("9026", "invalid_zip"), ("10002", None), ("x" * 20, "invalid_zip"), ("77777", "unknown_zip"), ("10002-12", "invalid_zip")]
    read = client.get("/ziptocbsa", {"zip": ",".join(texts)}).json()["results"]
    assert [(result["zip"], result.get("error")) for result in read] == expected
    posted = client.post("/ziptocbsa", {"zips": texts[:-1]}, "application/json").json()["results"]
    assert [(result["zip"], result.get("error")) for result in posted] == expected
    assert client.post("/ziptocbsa", {"zips": ["9026"]}, "application/json").json() == {
        "results": [{"zip": "9026", "error": "invalid_zip"}]
    }


@pytest.mark.parametrize("address", ["/ziptocbsa?zip=10002,", "/ziptocbsa?zip=&zip=10002", "/ziptocbsa/10002,", "/ziptocbsa?zip=%20,10002"])
def test_empty_places_in_a_list_are_passed_over(client: Client, run: Import, address: str) -> None:
    run()
    assert client.get(address).json()["zip"] == "10002"


def test_whole_numbers_stand_for_their_five_digits(client: Client, run: Import) -> None:
    run()
    results = client.post("/ziptocbsa", {"zips": [10002, 501, 0, 100_000, -5]}, "application/json").json()["results"]
    assert [(result["zip"], result.get("error")) for result in results] == [
        ("10002", None),
        ("00501", None),
        ("00000", "unknown_zip"),
        ("100000", "invalid_zip"),
        ("-5", "invalid_zip"),
    ]


@pytest.mark.parametrize(
    ("zip_code", "kind", "msa"),
    [
        ("10002", "metropolitan", "Great City-Bay, CA-NV"),
        ("10003", "micropolitan", None),
        ("10001", "none", None),
        ("10004", "absent", None),
    ],
)
def test_why_there_is_no_msa(client: Client, run: Import, zip_code: str, kind: str, msa: str | None) -> None:
    run()
    body = client.get(f"/ziptocbsa/{zip_code}").json()
    assert (body["kind"], body["msa"], bool(body["population"])) == (kind, msa, msa is not None)


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
        ("/ziptocbsa?zip=9026", 400, "invalid_zip"),
        ("/ziptocbsa?zip=,", 400, "invalid_zip"),
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
        ('{"zips": [true]}', "application/json", 400, "invalid"),
        ('{"zips": [{}]}', "application/json", 400, "invalid"),
        ('{"zips": [10002.5]}', "application/json", 400, "invalid"),
        ('{"zips": ["10002", null]}', "application/json", 400, "invalid"),
        ('{"zips": ["\\ud800"]}', "application/json", 400, "invalid"),
        ('{"zips": "10002"}', "application/json", 400, "invalid"),
        ("[]", "application/json", 400, "invalid"),
        ("{}", "application/json", 400, "invalid"),
        ('{"zips": ', "application/json", 400, "invalid"),
        ("[" * 60_000, "application/json", 400, "invalid"),
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


# --- Vintages ------------------------------------------------------------------------------------------------------------------
@pytest.fixture
def two_vintages(run: Import) -> None:
    """2015, and 2023q3 in use, in which ZIP 10002 has another CBSA, 10005 is gone and 10006 is new."""
    run()
    newer = ZIPS.replace("10002,20004", "10002,10200").replace("10005,", "10006,")
    run(newer, METROS.replace("POPESTIMATE2015", "POPESTIMATE2023").replace("POPESTIMATE2014", "POPESTIMATE2022"), "2023q3", force=True)


def test_the_vintages_the_earliest_data_first(client: Client, two_vintages: None) -> None:
    results = client.get("/ziptocbsa/vintages").json()["results"]
    assert [(row["vintage"], row["in_use"], row["latest_year"], row["zips"]) for row in results] == [
        ("2015", False, 2015, 6),
        ("2023q3", True, 2023, 6),
    ]
    assert all(row["imported_at"].endswith("Z") for row in results)
    service.activate(vintage="2015", actor="tester")
    assert [row["in_use"] for row in client.get("/ziptocbsa/vintages/").json()["results"]] == [True, False]


def test_no_vintage_yet(client: Client) -> None:
    assert client.get("/ziptocbsa/vintages").json() == {"results": []}
    for address in ("/ziptocbsa/10002/history", "/ziptocbsa.csv", "/ziptocbsa/10002?vintage=2015"):
        assert (client.get(address).status_code, client.get(address).json()["code"]) == (503, "no_dataset")


@pytest.mark.parametrize(("vintage", "cbsa"), [("2015", "20004"), ("2023q3", "10200")])
def test_each_read_takes_a_vintage(client: Client, two_vintages: None, vintage: str, cbsa: str) -> None:
    one = client.get("/ziptocbsa/10002", {"vintage": vintage})
    assert (one.json()["cbsa"], one.json()["vintage"], one.headers["Cache-Control"]) == (cbsa, vintage, "public, no-cache")
    several = client.get("/ziptocbsa", {"zip": "10002,10001", "vintage": vintage}).json()["results"]
    posted = client.post(f"/ziptocbsa?vintage={vintage}", {"zips": ["10002", "10001"]}, "application/json").json()["results"]
    assert several == posted
    assert [row["vintage"] for row in several] == [vintage, vintage]
    assert several[0]["cbsa"] == cbsa


@pytest.mark.parametrize("address", ["/ziptocbsa/10002", "/ziptocbsa?zip=10002,10001", "/ziptocbsa.csv", "/cbsa/10100", "/cbsa?search=bay"])
@pytest.mark.parametrize("vintage", ["1900", "", "%00", "%F0%9F%98%80", "x" * 200])
def test_an_unknown_vintage_is_refused_with_those_that_there_are(client: Client, two_vintages: None, address: str, vintage: str) -> None:
    response = client.get(f"{address}{'&' if '?' in address else '?'}vintage={vintage}")
    assert (response.status_code, response.json()["code"]) == (404, "unknown_vintage")
    assert response.json()["vintages"] == ["2015", "2023q3"]


def test_the_history_of_a_zip(client: Client, two_vintages: None) -> None:
    body = client.get("/ziptocbsa/10002-1234/history").json()
    assert body["zip"] == "10002"
    first, second = body["results"]
    assert (first["vintage"], first["in_use"], first["changes"], first["answer"]["cbsa"]) == ("2015", False, {}, "20004")
    assert (second["vintage"], second["in_use"], second["answer"]["cbsa"]) == ("2023q3", True, "10200")
    assert second["changes"] == {
        "cbsa": {"before": "20004", "after": "10200"},
        "effective_cbsa": {"before": "20000", "after": "10200"},
        "msa": {"before": "Great City-Bay, CA-NV", "after": "Elsewhere-Town, TX"},
    }


@pytest.mark.parametrize(("zip_code", "known_in", "before", "after"), [("10005", 0, "10100", None), ("10006", 1, None, "10100")])
def test_a_zip_that_only_one_vintage_has(
    client: Client, two_vintages: None, zip_code: str, known_in: int, before: str | None, after: str | None
) -> None:
    results = client.get(f"/ziptocbsa/{zip_code}/history").json()["results"]
    assert [bool(row["answer"]) for row in results] == [number == known_in for number in (0, 1)]
    assert results[1]["changes"]["cbsa"] == {"before": before, "after": after}


def test_a_history_without_changes_and_one_of_no_zip(client: Client, two_vintages: None) -> None:
    assert [row["changes"] for row in client.get("/ziptocbsa/10001/history").json()["results"]] == [{}, {}]
    for zip_code, status, code in (("77777", 404, "unknown_zip"), ("9026", 400, "invalid_zip")):
        response = client.get(f"/ziptocbsa/{zip_code}/history/")
        assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_history_takes_one_query(client: Client, two_vintages: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        client.get("/ziptocbsa/10002/history")


def table(client: Client, **parameters: str) -> list[dict[str, str]]:
    response = client.get("/ziptocbsa.csv", parameters)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode())))  # type: ignore[attr-defined]


def test_a_vintage_as_one_file(client: Client, two_vintages: None) -> None:
    rows = table(client, vintage="2015")
    assert [row["zip"] for row in rows] == ["00501", "10001", "10002", "10003", "10004", "10005"]
    assert rows[2] == {
        "zip": "10002",
        "cbsa": "20004",
        "effective_cbsa": "20000",
        "kind": "metropolitan",
        "msa": "Great City-Bay, CA-NV",
        "year": "2015",
        "population": "320001",
        "growth_percent": "3.23",
        "tot_ratio": "1.0",
        "vintage": "2015",
    }
    assert [row["kind"] for row in rows] == ["metropolitan", "none", "metropolitan", "micropolitan", "absent", "metropolitan"]
    assert (rows[0]["msa"], rows[3]["msa"], rows[3]["population"]) == ("Doña Ana, NM", "", "")
    for row in rows:
        answer = client.get(f"/ziptocbsa/{row['zip']}", {"vintage": "2015"}).json()
        assert (row["cbsa"], row["effective_cbsa"], row["kind"]) == (answer["cbsa"], answer["effective_cbsa"], answer["kind"])
        assert row["msa"] == (answer["msa"] or "")
        assert row["growth_percent"] == str(answer["growth_percent"] if answer["growth_percent"] is not None else "")
    assert table(client)[2]["cbsa"] == "10200"


def test_the_file_is_not_sent_again_while_it_holds(client: Client, two_vintages: None) -> None:
    Dataset.objects.update(imported_at=IMPORTED_AT)
    first = client.get("/ziptocbsa.csv")
    assert first.headers["Content-Disposition"] == 'attachment; filename="ziptocbsa-2023q3.csv"'
    assert first.headers["Cache-Control"] == "public, no-cache"
    assert first.headers["Last-Modified"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert b"".join(first.streaming_content)  # type: ignore[attr-defined]
    again = client.get("/ziptocbsa.csv", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    service.activate(vintage="2015", actor="tester")
    changed = client.get("/ziptocbsa.csv", headers={"If-None-Match": first.headers["ETag"]})
    assert (changed.status_code, b"2023q3" in b"".join(changed.streaming_content)) == (200, False)  # type: ignore[attr-defined]
    assert client.get("/ziptocbsa.csv?zip=10002").json()["code"] == "invalid"
