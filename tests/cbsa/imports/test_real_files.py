"""The published files, where a folder `shared/data` holds them beside the checkout, and the demo's extract of them."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from cbsa.errors import ImportRefused
from cbsa.imports import service
from cbsa.lookup import has_dataset, market_of, zip_answer
from cbsa.models import ImportRun

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = next((path / "shared" / "data" for path in ROOT.parents if (path / "shared" / "data").is_dir()), ROOT / "absent")
DEMO = ROOT / "cbsa" / "demo"
KNOWN = [
    ("90266", "31084", "31080", "Los Angeles-Long Beach-Anaheim, CA", 13254397, 13340068, 0.65),
    ("32003", "27260", "27260", "Jacksonville, FL", 1421004, 1449481, 2.0),
    ("88340", "10460", "10460", None, None, None, None),
    ("88338", "99999", "99999", None, None, None, None),
]


def imported(zips: Path, metros: Path) -> Iterator[ImportRun]:
    """Yield one import for all tests of a pair, and undo it at the end."""
    if not zips.exists():
        pytest.skip("the published files are not here")
    with transaction.atomic():
        yield service.run(zips=str(zips), metros=str(metros), vintage="pair", actor="tester")
        transaction.set_rollback(True)


@pytest.fixture(scope="module", params=["published", "demo"])
def pair_of_2015(request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[ImportRun]:
    with django_db_blocker.unblock():
        if request.param == "demo":
            yield from imported(DEMO / "zips.csv", DEMO / "metros.csv")
        else:
            yield from imported(PUBLISHED / "zip_to_cbsa.csv", PUBLISHED / "cbsa_to_msa.csv")


@pytest.mark.parametrize(("zip_code", "cbsa", "effective", "msa", "in_2014", "in_2015", "growth"), KNOWN)
def test_known_answers(
    pair_of_2015: ImportRun,
    zip_code: str,
    cbsa: str,
    effective: str,
    msa: str | None,
    in_2014: int | None,
    in_2015: int | None,
    growth: float | None,
) -> None:
    answer = zip_answer(zip_code)
    assert (answer.cbsa, answer.effective_cbsa, answer.msa, answer.growth_percent) == (cbsa, effective, msa, growth)
    assert (answer.population.get("2014"), answer.population.get("2015")) == (in_2014, in_2015)


def test_counts_of_2015(pair_of_2015: ImportRun) -> None:
    if pair_of_2015.files["zips"]["name"].startswith(str(DEMO)):
        assert pair_of_2015.counts["metropolitan"] >= 40
        assert pair_of_2015.absent == {"41980": 1}
        return
    assert pair_of_2015.counts == {
        "zip_rows": 46_632,
        "zips": 39_464,
        "metropolitan": 23_489,
        "micropolitan": 6_527,
        "no_cbsa": 9_284,
        "absent": 164,
        "divided": 5_120,
        "census_rows": 2_755,
        "bad_rows": 0,
    }
    assert len(pair_of_2015.absent) == 12
    assert zip_answer("98068").cbsa == "21260"


@pytest.mark.django_db
def test_the_pair_of_2023_with_its_workbook() -> None:
    for record in imported(PUBLISHED / "hud_zip_cbsa_2023q3.xlsx", PUBLISHED / "census_cbsa_est2022.csv"):
        assert (record.counts["zip_rows"], record.counts["zips"], record.counts["divided"]) == (47_579, 39_490, 0)
        assert len(record.absent) == 12
        assert zip_answer("90266").cbsa == "31080"
        assert zip_answer("88338").cbsa == "40760"


# --- Small files that differ in one way from a right pair, where the checkout has them beside it -------------------------------
CASES = PUBLISHED.parent / "cases" / "zip"
MAIN = {
    "00501": ("35004", "New York-Newark-Jersey City, NY-NJ-PA"),
    "00601": ("10260", None),
    "01001": ("44140", "Springfield, MA"),
    "79922": ("21340", "El Paso, TX"),
    "88338": ("99999", None),
    "88340": ("10460", None),
    "90266": ("31084", "Los Angeles-Long Beach-Anaheim, CA"),
    "98068": ("21260", None),
}


def import_case(zips: str = "good_zips.csv", metros: str = "good_metros.csv", **options: object) -> ImportRun:
    if not CASES.exists():
        pytest.skip("the small files are not here")
    return service.run(zips=str(CASES / zips), metros=str(CASES / metros), vintage="case", actor="tester", **options)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "files",
    [
        {},
        {"zips": "a04_zips.zip"},
        {"zips": "x04_zips.xlsx"},
        {"zips": "x06_zips.xlsx", "sheet": "Q4"},
        {"zips": "x43_template_first.xlsx"},
        {"zips": "z08_zips.txt"},
        {"zips": "z14_zips.csv"},
        {"zips": "z15_zips.json"},
        {"zips": "z21_zips.csv"},
        {"zips": "z35_zips.csv"},
        {"metros": "m17_metros.csv"},
    ],
    ids=lambda files: next(iter(files.values()), "good"),
)
def test_small_files_that_end_right(files: dict[str, str]) -> None:
    record = import_case(**files)
    assert (record.outcome, record.counts["zips"], record.rejects) == ("imported", 11, [])
    assert {zip_code: (zip_answer(zip_code).cbsa, zip_answer(zip_code).msa) for zip_code in MAIN} == MAIN


@pytest.mark.django_db
def test_the_small_file_in_windows_1252() -> None:
    import_case(metros="m05_metros.csv")
    assert zip_answer("90266").msa == "Los Angeles\u2013Long Beach\u2013Anaheim, CA"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"zips": "z18_zips.csv"}, "It looks like HUD's reversed crosswalk"),
        ({"zips": "z25_zips.csv"}, "13: the TOT_RATIO of ZIP 79922 add up to 0.045, not to 1: a row of it is missing."),
        ({"zips": "z55_zips.csv"}, "9: the TOT_RATIO of ZIP 90266 add up to 2, not to 1: a row of it is too much."),
        ({"zips": "skip_split.csv"}, "13: TOT_RATIO '' is not a number from 0 to 1."),
        ({"zips": "z47_zips.csv"}, "are no CBSAs of the census file"),
        ({"zips": "z48_zips.csv"}, "line 6 is not CSV: a quotation mark is opened there"),
        ({"zips": "x06_zips.xlsx"}, "2 of its sheets have the columns: Q3, Q4."),
        ({"zips": "x10_zips.xlsx"}, "9: TOT_RATIO holds #N/A (sheet 'Sheet', cell F9)."),
        ({"zips": "x22_zips.xlsb"}, "this is a binary workbook (.xlsb). Save it as .xlsx or CSV."),
        ({"metros": "m20_metros.csv"}, "the header names POPESTIMATE2015 more than once."),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_small_files_that_are_refused_with_file_line_and_remedy(files: dict[str, str], reason: str) -> None:
    with pytest.raises(ImportRefused) as refusal:
        import_case(**files)
    rejects = "".join(f"{reject['file']}:{reject['line']}: {reject['reason']}" for reject in refusal.value.data.get("rejects", []))
    text = rejects or refusal.value.detail
    assert next(iter(files.values())) in text
    assert reason in text
    assert not has_dataset()


@pytest.mark.django_db
def test_the_small_file_whose_main_row_is_bad() -> None:
    record = import_case("skip_split.csv", skip_bad_rows=1)
    assert record.left_out == ["79922"]
    assert market_of("79922") is None


@pytest.mark.django_db
def test_hud_s_own_file_reversed_is_refused(tmp_path: Path) -> None:
    """Shares of the CBSA in place of shares of the ZIP, as HUD's crosswalk from CBSA to ZIP has them."""
    if not PUBLISHED.exists():
        pytest.skip("the published files are not here")
    with (PUBLISHED / "zip_to_cbsa.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))[1:]
    zips_in = Counter(cbsa for _, cbsa, *_ in rows)
    lines = (f"{cbsa},{zip_code},0,0,0,{1 / zips_in[cbsa]:.9f}" for zip_code, cbsa, *_ in rows)
    (tmp_path / "reversed.csv").write_text("\n".join(["CBSA,ZIP,RES_RATIO,BUS_RATIO,OTH_RATIO,TOT_RATIO", *lines]))
    with pytest.raises(ImportRefused, match=r"reversed.csv: for 39,\d\d\d of its 39,464 ZIPs the TOT_RATIO do not add up to 1"):
        service.run(zips=str(tmp_path / "reversed.csv"), metros=str(PUBLISHED / "cbsa_to_msa.csv"), vintage="x", actor="tester", force=True)
