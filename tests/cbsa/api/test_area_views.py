"""Areas over HTTP: by code, with their ZIPs, and by name."""

import itertools

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from cbsa.api import serializers
from cbsa.imports import service
from tests.cbsa.conftest import Import
from tests.cbsa.publishers import METROS, ZIPS

pytestmark = pytest.mark.django_db

SPLIT = ZIPS + "10006,20004,0.5,0.5,0.5,0.5\n10006,20008,0.25,0.25,0.25,0.25\n10006,10100,0.25,0.25,0.25,0.25\n"
DIVIDED = METROS + (
    '20000,20008,,"Bay, NV",Metropolitan Division,1,100000,100000,100001,1\n'
    '20000,20004,6037,"Great County, CA",County or equivalent,1,200000,210000,220000,10000\n'
    '20000,20008,32003,"Bay County, NV",County or equivalent,1,100000,100000,100001,1\n'
)


def test_a_cbsa(client: Client, run: Import) -> None:
    run(SPLIT, DIVIDED)
    response = client.get("/cbsa/20000")
    body = response.json()
    assert response.headers["Cache-Control"] == "public, no-cache"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert body.pop("imported_at").endswith("Z")
    assert body == {
        "cbsa": "20000",
        "name": "Great City-Bay, CA-NV",
        "kind": "metropolitan",
        "parent": None,
        "population": {"2013": 300000, "2014": 310000, "2015": 320001},
        "growth_percent": 3.23,
        "divisions": [
            {"cbsa": "20004", "name": "Great City, CA", "population": {"2013": 200000, "2014": 210000, "2015": 220000}},
            {"cbsa": "20008", "name": "Bay, NV", "population": {"2013": 100000, "2014": 100000, "2015": 100001}},
        ],
        "counties": [
            {
                "fips": "06037",
                "name": "Great County, CA",
                "division": "20004",
                "population": {"2013": 200000, "2014": 210000, "2015": 220000},
            },
            {
                "fips": "32003",
                "name": "Bay County, NV",
                "division": "20008",
                "population": {"2013": 100000, "2014": 100000, "2015": 100001},
            },
        ],
        "zips": 2,
        "vintage": "2015",
    }


def test_a_division_a_micropolitan_area_and_one_that_the_census_file_lacks(client: Client, run: Import) -> None:
    run(SPLIT, DIVIDED)
    division = client.get("/cbsa/20004/").json()
    assert (division["kind"], division["name"], division["zips"]) == ("division", "Great City, CA", 2)
    assert division["parent"] == {"cbsa": "20000", "name": "Great City-Bay, CA-NV"}
    assert [county["fips"] for county in division["counties"]] == ["06037"]
    assert division["divisions"] == []
    small = client.get("/cbsa/10300").json()
    assert (small["kind"], small["name"], small["zips"], small["population"]["2015"]) == ("micropolitan", "Little Town, NM", 1, 12)
    absent = client.get("/cbsa/10900").json()
    assert (absent["kind"], absent["name"], absent["zips"], absent["population"]) == ("absent", None, 1, {})


@pytest.mark.parametrize("code", ["99999", "77777", "abc", "2000", "%00", "%F0%9F%98%80", "²²²²²"])
def test_an_unknown_area(client: Client, run: Import, code: str) -> None:
    run()
    for address in (f"/cbsa/{code}", f"/cbsa/{code}/zips"):
        response = client.get(address)
        assert (response.status_code, response.json()["code"]) == (404, "unknown_cbsa")


@pytest.mark.parametrize("address", ["/cbsa/10100", "/cbsa/10100/zips", "/cbsa?search=bay", "/cbsa?search=!"])
def test_before_the_first_import(client: Client, address: str) -> None:
    response = client.get(address)
    assert (response.status_code, response.json()["code"]) == (503, "no_dataset")


@pytest.mark.parametrize(
    "address", ["/cbsa", "/cbsa?search=", "/cbsa?search=%20", f"/cbsa?search={'x' * 101}", "/cbsa?search=bay&page=2", "/cbsa/10100?x=1"]
)
def test_refused_reads(client: Client, run: Import, address: str) -> None:
    run()
    response = client.get(address)
    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_the_answers_have_the_fields_that_the_schema_names(client: Client, run: Import) -> None:
    run(SPLIT, DIVIDED)
    for address, described in (
        ("/cbsa/20000", serializers.AreaSerializer),
        ("/cbsa/20004", serializers.AreaSerializer),
        ("/cbsa/10900", serializers.AreaSerializer),
        ("/cbsa?search=bay", serializers.AreaSearchSerializer),
        ("/ziptocbsa/vintages", serializers.VintagesSerializer),
        ("/ziptocbsa/10002/history", serializers.ZipHistorySerializer),
    ):
        body = client.get(address).json()
        form = described(data=body)
        assert form.is_valid(), form.errors
        assert set(form.validated_data) == set(body)


# --- The ZIPs of an area ---------------------------------------------------------------------------------------------------------
FULL = {"tot_ratio": 1.0, "res_ratio": 1.0, "bus_ratio": 1.0, "oth_ratio": 1.0}


def test_the_zips_of_an_area(client: Client, run: Import) -> None:
    run(SPLIT, DIVIDED)
    body = client.get("/cbsa/20000/zips").json()
    assert (body["next"], body["previous"], body["vintage"]) == (None, None, "2015")
    assert body["results"] == [
        {"zip": "10002", "cbsa": "20004", "effective_cbsa": "20000", **FULL},
        {"zip": "10006", "cbsa": "20004", "effective_cbsa": "20000", **dict.fromkeys(FULL, 0.75)},
    ]
    assert len(body["results"]) == client.get("/cbsa/20000").json()["zips"]
    part = client.get("/cbsa/20000/zips?partial=true").json()["results"]
    assert [(row["zip"], row["effective_cbsa"], row["tot_ratio"]) for row in part] == [
        ("10001", "99999", 0.25),
        ("10002", "20000", 1.0),
        ("10006", "20000", 0.75),
    ]


@pytest.mark.parametrize(
    ("address", "zips"),
    [
        ("/cbsa/20004/zips", {"10002": 1.0, "10006": 0.5}),
        ("/cbsa/20008/zips", {}),
        ("/cbsa/20008/zips?partial=true", {"10006": 0.25}),
        ("/cbsa/10900/zips/", {"10004": 1.0}),
        ("/cbsa/10100/zips?partial=false", {"00501": 0.5, "10005": 1.0}),
    ],
)
def test_the_zips_of_other_areas(client: Client, run: Import, address: str, zips: dict[str, float]) -> None:
    run(SPLIT, DIVIDED)
    assert {row["zip"]: row["tot_ratio"] for row in client.get(address).json()["results"]} == zips


def test_many_zips_come_in_pages(client: Client, run: Import, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    zips = [f"{20000 + number}" for number in range(450)]
    run(ZIPS.splitlines()[0] + "".join(f"\n{zip_code},10100,1,1,1,1" for zip_code in zips))
    address, pages = "/cbsa/10100/zips?page_size=200", []
    for _ in range(3):
        with django_assert_max_num_queries(4):
            page = client.get(address).json()
        pages.append([row["zip"] for row in page["results"]])
        address = page["next"]
    assert address is None
    assert list(itertools.chain(*pages)) == zips
    assert [row["zip"] for row in client.get(page["previous"]).json()["results"]] == zips[200:400]


def test_a_page_is_refused_where_it_is_asked_for_wrongly(client: Client, run: Import) -> None:
    run()
    for query in ("page_size=0", "cursor=x", "partial=maybe", "page=2"):
        response = client.get(f"/cbsa/10100/zips?{query}")
        assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_areas_of_another_vintage(client: Client, run: Import) -> None:
    run()
    run(ZIPS.replace("10002,20004", "10002,10200"), METROS.replace("Great City-Bay", "Great City-Harbor"), "2016")
    assert client.get("/cbsa/20000").json()["name"] == "Great City-Harbor, CA-NV"
    assert client.get("/cbsa/20000?vintage=2015").json()["name"] == "Great City-Bay, CA-NV"
    assert client.get("/cbsa/20000/zips?vintage=2015").json()["results"][0]["zip"] == "10002"
    assert client.get("/cbsa/20000/zips").json()["results"] == []
    assert client.get("/cbsa?search=bay&vintage=2015").json()["count"] == 1
    assert client.get("/cbsa?search=bay").json()["count"] == 0
    etag = client.get("/cbsa/20000").headers["ETag"]
    assert client.get("/cbsa/20000", headers={"If-None-Match": etag}).status_code == 304
    service.activate(vintage="2015", actor="tester")
    assert client.get("/cbsa/20000", headers={"If-None-Match": etag}).status_code == 200


# --- Search ------------------------------------------------------------------------------------------------------------------------
AREAS = [
    ("10010", "Portland-Vancouver-Hillsboro, OR-WA", 2_389_228),
    ("10020", "Portland-South Portland, ME", 526_295),
    ("10030", "Los Angeles-Long Beach-Anaheim, CA", 13_340_068),
    ("10040", "Los Alamos, NM", 17_785),
    ("10050", "New York-Newark-Jersey City, NY-NJ-PA", 20_182_305),
    ("10060", "Winston-Salem, NC", 659_330),
    ("10070", "Salem, OR", 410_119),
    ("10080", "Columbus, OH", 2_021_632),
    ("10090", "Columbus, GA-AL", 313_749),
    ("10110", "Columbus, NE", 42_500),
    ("10120", "New Orleans-Metairie, LA", 1_262_888),
    ("10130", "St. Louis, MO-IL", 2_811_588),
    ("10140", "Cañon City, CO", 46_502),
    ("10150", "Coeur d'Alene, ID", 150_346),
    ("10160", "Orange, TX", 84_000),
    ("10170", "Lafayette, LA", 490_488),
]
NAMES = "CBSA,MDIV,STCOU,NAME,LSAD,POPESTIMATE2015\n" + "".join(
    f'{code},,,"{name}",{"Micropolitan" if people < 50_000 else "Metropolitan"} Statistical Area,{people}\n' for code, name, people in AREAS
)
COUNTIES = (
    '10030,11244,6059,"Orange County, CA",County or equivalent,3169776\n'
    '10050,,36071,"Orange County, NY",County or equivalent,377647\n'
    '10080,,39049,"Franklin County, OH",County or equivalent,1251722\n'
)


@pytest.fixture
def areas(run: Import) -> None:
    run("ZIP,CBSA,RES_RATIO,BUS_RATIO,OTH_RATIO,TOT_RATIO\n10001,10010,1,1,1,1\n", NAMES + COUNTIES)


@pytest.mark.parametrize(
    ("text", "codes", "ambiguous"),
    [
        ("Los Angeles", ["10030"], False),
        ("los angeles", ["10030"], False),
        ("LA metro", ["10030", "10040", "10170", "10120"], True),
        ("New York NJ", ["10050"], False),
        ("Winston Salem", ["10060"], False),
        ("salem", ["10070", "10060"], False),
        ("Portland", ["10010", "10020"], True),
        ("Portland Maine", ["10020"], False),
        ("Portland, OR", ["10010"], False),
        ("Columbus", ["10080", "10090", "10110"], True),
        ("columbus ga", ["10090"], False),
        ("saint louis", ["10130"], False),
        ("St Louis", ["10130"], False),
        ("sain", ["10130"], False),
        ("canon", ["10140"], False),
        ("CAÑON CITY", ["10140"], False),
        ("coeur dalene", ["10150"], False),
        ("jersey", ["10050"], False),
        ("new orleans met", ["10120"], False),
        ("beach los", ["10030"], False),
        ("l'os", ["10030", "10040"], True),
        ("orange", ["10160"], False),
        ("orange county", ["10030", "10050"], True),
        ("franklin county oh", ["10080"], False),
        ("atlantis", [], False),
        ("& | ! ( ) : * ' \" \\", [], False),
        ("日本", [], False),
    ],
)
def test_names(client: Client, areas: None, text: str, codes: list[str], ambiguous: bool) -> None:
    body = client.get("/cbsa", {"search": text}).json()
    assert [row["cbsa"] for row in body["results"]] == codes
    assert (body["ambiguous"], body["count"]) == (ambiguous, len(codes))


def test_what_is_said_of_a_result(client: Client, areas: None) -> None:
    body = client.get("/cbsa/", {"search": "orange county ny"}).json()
    assert body["results"] == [
        {
            "cbsa": "10050",
            "name": "New York-Newark-Jersey City, NY-NJ-PA",
            "kind": "metropolitan",
            "latest_population": 20_182_305,
            "zips": 0,
            "matched": "Orange County, NY",
        }
    ]
    assert body["vintage"] == "2015"


def test_letter_by_letter_the_area_stays_in_sight(client: Client, areas: None) -> None:
    for text, code in (("los angeles metro", "10030"), ("winston-salem", "10060"), ("portland maine", "10020"), ("saint louis", "10130")):
        for length in range(3, len(text) + 1):
            typed = text[:length]
            codes = [row["cbsa"] for row in client.get("/cbsa", {"search": typed}).json()["results"]]
            assert code in codes, typed


def test_a_search_is_one_statement(client: Client, areas: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for text in ("p", "port", "orange county", "atlantis"):
        with django_assert_num_queries(1):
            client.get("/cbsa", {"search": text})
