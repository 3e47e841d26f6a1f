"""The published files, where a folder `shared/data` holds them beside the checkout, and the demo's extract of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django import DjangoDbBlocker

from cbsa.imports import service
from cbsa.lookup import zip_answer
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
