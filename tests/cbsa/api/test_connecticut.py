"""Connecticut's change of 2022: nine planning regions replaced eight counties, and its metropolitan areas were drawn anew.

Sources: Federal Register, "Change to County-Equivalents in the State of Connecticut" (6 June 2022); OMB Bulletin 20-01 (2020), whose
areas the vintage 2022 of the estimates has; OMB Bulletin 23-01 (2023), whose areas the vintage 2023 has. The codes and names are the
real ones, the numbers of people are round.
"""

import pytest
from django.test import Client

from tests.cbsa.conftest import Import

pytestmark = pytest.mark.django_db

METRO, MICRO, COUNTY = "Metropolitan Statistical Area", "Micropolitan Statistical Area", "County or equivalent"
BY_COUNTIES = f"""\
CBSA,MDIV,STCOU,NAME,LSAD,POPESTIMATE2021,POPESTIMATE2022
14860,,,"Bridgeport-Stamford-Norwalk, CT",{METRO},963000,962000
14860,,9001,"Fairfield County, CT",{COUNTY},963000,962000
25540,,,"Hartford-East Hartford-Middletown, CT",{METRO},1220000,1221000
25540,,9003,"Hartford County, CT",{COUNTY},898000,896000
25540,,9007,"Middlesex County, CT",{COUNTY},166000,166000
25540,,9013,"Tolland County, CT",{COUNTY},156000,159000
35300,,,"New Haven-Milford, CT",{METRO},869000,869000
35300,,9009,"New Haven County, CT",{COUNTY},869000,869000
35980,,,"Norwich-New London, CT",{METRO},268000,268000
35980,,9011,"New London County, CT",{COUNTY},268000,268000
49340,,,"Worcester, MA-CT",{METRO},978000,980000
49340,,9015,"Windham County, CT",{COUNTY},116000,117000
49340,,25027,"Worcester County, MA",{COUNTY},862000,863000
45860,,,"Torrington, CT",{MICRO},185000,186000
45860,,9005,"Litchfield County, CT",{COUNTY},185000,186000
"""
BY_PLANNING_REGIONS = f"""\
CBSA,MDIV,STCOU,NAME,LSAD,POPESTIMATE2022,POPESTIMATE2023
14860,,,"Bridgeport-Stamford-Danbury, CT",{METRO},950000,951000
14860,,9120,"Greater Bridgeport Planning Region, CT",{COUNTY},327000,328000
14860,,9190,"Western Connecticut Planning Region, CT",{COUNTY},623000,623000
25540,,,"Hartford-West Hartford-East Hartford, CT",{METRO},1150000,1152000
25540,,9110,"Capitol Planning Region, CT",{COUNTY},974000,976000
25540,,9130,"Lower Connecticut River Valley Planning Region, CT",{COUNTY},176000,176000
35300,,,"New Haven, CT",{METRO},570000,569000
35300,,9170,"South Central Connecticut Planning Region, CT",{COUNTY},570000,569000
35980,,,"Norwich-New London-Willimantic, CT",{METRO},280000,280000
35980,,9180,"Southeastern Connecticut Planning Region, CT",{COUNTY},280000,280000
47930,,,"Waterbury-Shelton, CT",{METRO},450000,454000
47930,,9140,"Naugatuck Valley Planning Region, CT",{COUNTY},450000,454000
49340,,,"Worcester, MA",{METRO},863000,866000
49340,,25027,"Worcester County, MA",{COUNTY},863000,866000
39480,,,"Putnam, CT",{MICRO},96000,97000
39480,,9150,"Northeastern Connecticut Planning Region, CT",{COUNTY},96000,97000
45860,,,"Torrington, CT",{MICRO},113000,113000
45860,,9160,"Northwest Hills Planning Region, CT",{COUNTY},113000,113000
"""
HARTFORD, WATERBURY, SHELTON, PUTNAM, TORRINGTON = "06106", "06702", "06484", "06260", "06790"
OLD = {HARTFORD: "25540", WATERBURY: "35300", SHELTON: "14860", PUTNAM: "49340", TORRINGTON: "45860", "01604": "49340"}
NEW = {HARTFORD: "25540", WATERBURY: "47930", SHELTON: "47930", PUTNAM: "39480", TORRINGTON: "45860", "01604": "49340"}


def crosswalk(cbsas: dict[str, str]) -> str:
    rows = "".join(f"{zip_code},{cbsa},1,1,1,1\n" for zip_code, cbsa in cbsas.items())
    return f"ZIP,CBSA,RES_RATIO,BUS_RATIO,OTH_RATIO,TOT_RATIO\n{rows}"


@pytest.fixture(autouse=True)
def connecticut(run: Import) -> None:
    for zips, metros, vintage in ((OLD, BY_COUNTIES, "2022"), (NEW, BY_PLANNING_REGIONS, "2023")):
        assert run(crosswalk(zips), metros, vintage).absent == {}


@pytest.mark.parametrize(
    ("vintage", "zip_code", "cbsa", "kind", "msa"),
    [
        ("2022", HARTFORD, "25540", "metropolitan", "Hartford-East Hartford-Middletown, CT"),
        ("2023", HARTFORD, "25540", "metropolitan", "Hartford-West Hartford-East Hartford, CT"),
        ("2022", WATERBURY, "35300", "metropolitan", "New Haven-Milford, CT"),
        ("2023", WATERBURY, "47930", "metropolitan", "Waterbury-Shelton, CT"),
        ("2022", SHELTON, "14860", "metropolitan", "Bridgeport-Stamford-Norwalk, CT"),
        ("2023", SHELTON, "47930", "metropolitan", "Waterbury-Shelton, CT"),
        ("2022", PUTNAM, "49340", "metropolitan", "Worcester, MA-CT"),
        ("2023", PUTNAM, "39480", "micropolitan", None),
        ("2022", TORRINGTON, "45860", "micropolitan", None),
        ("2023", TORRINGTON, "45860", "micropolitan", None),
    ],
)
def test_each_vintage_answers_by_its_own_areas(client: Client, vintage: str, zip_code: str, cbsa: str, kind: str, msa: str | None) -> None:
    body = client.get(f"/ziptocbsa/{zip_code}", {"vintage": vintage}).json()
    assert (body["cbsa"], body["kind"], body["msa"]) == (cbsa, kind, msa)
    assert client.get("/ziptocbsa", {"zip": f"{zip_code},{HARTFORD}", "vintage": vintage}).json()["results"][0] == body


def test_both_vintages_stand_side_by_side_in_a_zips_history(client: Client) -> None:
    def changes(zip_code: str) -> dict[str, tuple[str | None, str | None]]:
        _, newer = client.get(f"/ziptocbsa/{zip_code}/history").json()["results"]
        return {name: (change["before"], change["after"]) for name, change in newer["changes"].items()}

    assert changes(HARTFORD) == {"msa": ("Hartford-East Hartford-Middletown, CT", "Hartford-West Hartford-East Hartford, CT")}
    assert changes(PUTNAM) == {
        "kind": ("metropolitan", "micropolitan"),
        "cbsa": ("49340", "39480"),
        "effective_cbsa": ("49340", "39480"),
        "msa": ("Worcester, MA-CT", None),
    }
    assert changes(TORRINGTON) == {}
    assert changes("01604") == {"msa": ("Worcester, MA-CT", "Worcester, MA")}


@pytest.mark.parametrize(
    ("code", "vintage", "counties"),
    [
        ("25540", "2022", ["09003", "09007", "09013"]),
        ("25540", "2023", ["09110", "09130"]),
        ("14860", "2022", ["09001"]),
        ("14860", "2023", ["09120", "09190"]),
        ("49340", "2022", ["09015", "25027"]),
        ("49340", "2023", ["25027"]),
    ],
)
def test_an_area_has_the_counties_or_planning_regions_of_its_vintage(client: Client, code: str, vintage: str, counties: list[str]) -> None:
    area = client.get(f"/cbsa/{code}", {"vintage": vintage}).json()
    assert [county["fips"] for county in area["counties"]] == counties
    assert [row["zip"] for row in client.get(f"/cbsa/{code}/zips", {"vintage": vintage}).json()["results"]] == sorted(
        zip_code for zip_code, cbsa in (OLD if vintage == "2022" else NEW).items() if cbsa == code
    )


def test_an_area_that_only_one_vintage_has(client: Client) -> None:
    assert client.get("/cbsa/47930").json()["name"] == "Waterbury-Shelton, CT"
    assert client.get("/cbsa/47930?vintage=2022").json()["code"] == "unknown_cbsa"
    assert client.get("/cbsa?search=waterbury&vintage=2022").json()["count"] == 0
    found = client.get("/cbsa", {"search": "naugatuck valley"}).json()["results"]
    assert [(row["cbsa"], row["matched"]) for row in found] == [("47930", "Naugatuck Valley Planning Region, CT")]


def test_the_whole_of_both_vintages(client: Client) -> None:
    def msas(vintage: str) -> set[str]:
        content = b"".join(client.get("/ziptocbsa.csv", {"vintage": vintage}).streaming_content)  # type: ignore[attr-defined]
        return {line.split(",")[0] for line in content.decode().splitlines() if ",metropolitan," in line}

    assert msas("2022") - msas("2023") == {PUTNAM}
    assert msas("2023") <= msas("2022")
