"""Imports on a real database, always through `service.run`."""

import contextlib
import re
from collections.abc import Callable, Iterator

import pytest
from django.db import IntegrityError, connection, transaction

from cbsa.errors import ImportRefused, NoDataset
from cbsa.imports import service
from cbsa.lookup import Market, market_of, markets_of, zip_answer, zip_answers
from cbsa.models import Area, Dataset, ImportRun, Zip, ZipShare
from cbsa.signals import dataset_activated
from tests.cbsa.conftest import Import
from tests.cbsa.publishers import METROS, ZIPS

pytestmark = pytest.mark.django_db


def facts(*zip_codes: str) -> list[dict[str, object]]:
    """What is said of the ZIPs, without the instant of the import."""
    return [vars(zip_answer(zip_code)) | {"imported_at": None} for zip_code in zip_codes]


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Dataset, Area, Zip, ZipShare))


def test_an_import_counts_what_it_found(run: Import) -> None:
    record = run()
    assert record.outcome == "imported"
    assert record.counts == {
        "zip_rows": 8,
        "zips": 6,
        "metropolitan": 3,
        "micropolitan": 1,
        "no_cbsa": 1,
        "absent": 1,
        "divided": 1,
        "census_rows": 6,
        "bad_rows": 0,
    }
    assert record.absent == {"10900": 1}
    assert [file["bytes"] for file in record.files.values()] == [len(ZIPS), len(METROS)]
    assert rows() == (1, 6, 6, 8)


@pytest.mark.parametrize(
    ("zip_code", "cbsa", "effective", "msa", "growth"),
    [
        ("10001", "99999", "99999", None, None),
        ("10002", "20004", "20000", "Great City-Bay, CA-NV", 3.23),
        ("00501", "10100", "10100", "Doña Ana, NM", 3.0),
        ("10003", "10300", "10300", None, None),
        ("10004", "10900", "10900", None, None),
    ],
)
def test_answers(run: Import, zip_code: str, cbsa: str, effective: str, msa: str | None, growth: float | None) -> None:
    run()
    answer = zip_answer(zip_code)
    assert (answer.cbsa, answer.effective_cbsa, answer.msa, answer.growth_percent) == (cbsa, effective, msa, growth)
    assert bool(answer.population) == bool(msa)
    assert answer.matches[0].cbsa == cbsa


def test_markets_are_metropolitan_areas_only(run: Import) -> None:
    assert market_of("10002") is None
    run()
    great_city = Market("20000", "Great City-Bay, CA-NV")
    assert market_of("10002") == great_city
    assert markets_of(["10002", "10001", "10003", "10004", "77777"]) == {"10002": great_city}


OTHER_SHAPES = {
    "lower case": (ZIPS.lower(), METROS.replace("CBSA,MDIV,STCOU,NAME,LSAD", "cbsa,mdiv,stcou,name,lsad")),
    "spaces": (ZIPS.replace(",", " , "), METROS),
    "tabs": (ZIPS.replace(",", "\t"), METROS),
    "newer columns": ("\n".join(f"{line},X{n}" for n, line in enumerate(ZIPS.splitlines())), METROS),
    "other order": ("\n".join(",".join(reversed(line.split(","))) for line in ZIPS.splitlines()), METROS),
    "captions, blank rows": (f"ZIP codes of the quarter\n\n{ZIPS}\n,,,,,\n\nNote: no warranty", METROS + "\n,,,,,,,,,\n"),
    "trailing commas": (ZIPS.replace("\n", ",,\n"), METROS),
    "kinds in other case": (ZIPS, METROS.replace("Statistical Area", "statistical area")),
}


@pytest.mark.parametrize(("zips", "metros"), OTHER_SHAPES.values(), ids=OTHER_SHAPES.keys())
def test_other_shapes_of_the_same_facts_import_alike(run: Import, zips: str, metros: str) -> None:
    run()
    expected = facts("10001", "10002", "00501")
    run(zips, metros, vintage="2015", force=True)
    assert facts("10001", "10002", "00501") == expected


GOOD_ROW = "10005,10100,1.000000000,1.000000000,1.000000000,1.000000000"
BAD_ZIP_ROWS = {
    "short": ("10005,10100,1", "it has 3 cells, the header 6"),
    "very short": ("10005", "it has 1 cells, the header 6"),
    "long": (GOOD_ROW + ",7", "it has 7 cells, the header 6"),
    "letters": (GOOD_ROW.replace("10005", "1OOO5"), "ZIP '1OOO5' is not five digits"),
    "lost zeros": (GOOD_ROW.replace("10005", "501"), "leading zeros may have been lost"),
    "foreign digits": (GOOD_ROW.replace("10005", "²²²²²"), "is not five digits"),
    "no CBSA": (GOOD_ROW.replace("10100", ""), "CBSA '' is not five digits"),
    "no number": (GOOD_ROW.replace(",1.000000000", ",x", 1), "RES_RATIO 'x' is not a number from 0 to 1"),
    "over 1": (GOOD_ROW[:-11] + "1.00001", "TOT_RATIO '1.00001' is not a number from 0 to 1"),
    "below 0": (GOOD_ROW[:-11] + "-0.1", "TOT_RATIO '-0.1'"),
    "nan": (GOOD_ROW[:-11] + "nan", "TOT_RATIO 'nan'"),
    "Python's own spelling": (GOOD_ROW[:-11] + "0_1", "TOT_RATIO '0_1'"),
    "blank": (GOOD_ROW[:-11], "TOT_RATIO ''"),
    "twice": (GOOD_ROW + "\n" + GOOD_ROW, "stands on an earlier line, too"),
}


@pytest.mark.parametrize(("row", "reason"), BAD_ZIP_ROWS.values(), ids=BAD_ZIP_ROWS.keys())
def test_a_bad_row_is_refused_with_file_line_and_reason(run: Import, row: str, reason: str) -> None:
    run()
    with pytest.raises(ImportRefused, match="1 bad row") as refusal:
        run(ZIPS.replace(GOOD_ROW, row), vintage="bad")
    (reject,) = refusal.value.data["rejects"]
    assert reason in reject["reason"]
    assert reject["line"] == 9 + row.count("\n")
    assert reject["file"].endswith("zips.csv")
    assert rows() == (1, 6, 6, 8)
    assert ImportRun.objects.get(vintage="bad").rejects == [reject]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("10300,,", "103,,", "CBSA '103' is not five digits"),
        (",20004,", ",200O4,", "MDIV '200O4' is not five digits"),
        (",12,1\n", ",many,1\n", "POPESTIMATE2015 'many' is not a number of people"),
        (",12,1\n", ",-12,1\n", "POPESTIMATE2015 '-12' is not a number of people"),
        (",12,1\n", "\n", "it has 8 cells, the header 10"),
        ('"Little Town, NM"', "", "NAME has 0 characters"),
        ("10300,,", "10300,20004,", "division 20004 belongs to CBSA 20000 on an earlier line, here to 10300"),
        ("10300,,", "10200,,", "CBSA 10200 has its own row on an earlier line, too"),
    ],
)
def test_a_bad_census_row_is_refused(run: Import, old: str, new: str, reason: str) -> None:
    with pytest.raises(ImportRefused, match="1 bad row") as refusal:
        run(metros=METROS.replace(old, new))
    assert reason in refusal.value.data["rejects"][0]["reason"]


@pytest.mark.parametrize(
    ("zips", "metros", "reason"),
    [
        (METROS, ZIPS, "this is the other of the two files"),
        (ZIPS, ZIPS, "metros.csv: this is the other"),
        (ZIPS.replace("TOT_RATIO", "TOTAL"), METROS, "no column TOT_RATIO"),
        (ZIPS, METROS.replace("MDIV", "DIV"), "no column MDIV"),
        (ZIPS, METROS.replace("POPESTIMATE", "POP"), "no column POPESTIMATE"),
        (ZIPS.replace(",", ";"), METROS, "separated by ';'"),
        (ZIPS.splitlines()[0], METROS, "there is no row"),
        (ZIPS.replace("BUS_RATIO", "TOT_RATIO").replace("OTH_RATIO", "BUS_RATIO,OTH_RATIO"), METROS, "names TOT_RATIO more than once"),
        ("\n\n\n", METROS, "holds no row"),
        (ZIPS, METROS.replace("Metropolitan Statistical", "Metro Stat"), "no row has LSAD"),
    ],
)
def test_a_file_of_the_wrong_kind_is_refused(run: Import, zips: str, metros: str, reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason):
        run(zips, metros)
    assert rows() == (0, 0, 0, 0)


def test_bad_rows_may_be_passed_over_up_to_a_number(run: Import) -> None:
    spoilt = ZIPS + "1000X,10100,1,1,1,1\n10007,10100,2,1,1,1\n"
    with pytest.raises(ImportRefused, match="2 bad rows"):
        run(spoilt, skip_bad_rows=1)
    record = run(spoilt, skip_bad_rows=2)
    assert [reject["line"] for reject in record.rejects] == [10, 11]
    assert rows() == (1, 6, 6, 8)


def test_bad_rows_are_counted_to_the_end(run: Import) -> None:
    with pytest.raises(ImportRefused, match="5,000 bad rows") as refusal:
        run(ZIPS + "x,y,z,1,1,1\n" * 5_000)
    assert len(refusal.value.data["rejects"]) == 1_000


def test_the_same_import_twice_changes_nothing(run: Import) -> None:
    run()
    before = zip_answers(["10002"]).version, rows(), ImportRun.objects.count()
    assert run().outcome == "unchanged"
    assert (zip_answers(["10002"]).version, rows(), ImportRun.objects.count()) == before


def test_a_label_in_use_is_replaced_only_by_force(run: Import) -> None:
    run()
    newer = ZIPS.replace("10002,20004", "10002,10200")
    with pytest.raises(ImportRefused, match="2015 holds other files already"):
        run(newer)
    assert zip_answer("10002").cbsa == "20004"
    run(newer, force=True)
    assert zip_answer("10002").cbsa == "10200"
    assert rows() == (1, 6, 6, 8)


def many(count: int) -> str:
    return ZIPS.splitlines()[0] + "".join(f"\n{20000 + number},10100,1,1,1,1" for number in range(count))


def test_losing_more_than_a_tenth_of_the_zips_is_refused_without_force(run: Import) -> None:
    run(many(20), vintage="a")
    with pytest.raises(ImportRefused, match="3 of the 20 ZIPs in use would be lost"):
        run(many(17), vintage="b")
    run(many(18), vintage="c")
    run(many(3), vintage="d", force=True)
    assert Dataset.objects.get(active=True).vintage == "d"


def test_a_dry_run_reports_and_changes_nothing(run: Import) -> None:
    record = run(dry_run=True)
    assert (record.outcome, record.counts["zips"]) == ("checked", 6)
    with pytest.raises(ImportRefused):
        run("", dry_run=True)
    assert rows() == (0, 0, 0, 0)
    assert not ImportRun.objects.exists()


def test_going_back_and_forth(run: Import) -> None:
    run()
    run(ZIPS.replace("10002,20004", "10002,10200"), vintage="2016")
    versions = [zip_answers(["10002"]).version]
    assert service.activate(vintage="2015", actor="tester").outcome == "activated"
    assert service.activate(vintage="2015", actor="tester").outcome == "unchanged"
    assert (zip_answer("10002").cbsa, zip_answer("10002").vintage) == ("20004", "2015")
    versions.append(zip_answers(["10002"]).version)
    assert run(ZIPS.replace("10002,20004", "10002,10200"), vintage="2016").outcome == "activated"
    assert zip_answer("10002").cbsa == "10200"
    assert versions[0] == zip_answers(["10002"]).version != versions[1]
    with pytest.raises(ImportRefused, match=re.escape("There is no dataset 1900. Those imported: 2016, 2015.")):
        service.activate(vintage="1900", actor="tester")


def test_prune_keeps_the_newest_and_the_one_in_use(run: Import) -> None:
    for vintage in "abcd":
        run(vintage=vintage)
    service.activate(vintage="a", actor="tester")
    assert service.prune(keep=1) == ["c", "b"]
    assert set(Dataset.objects.values_list("vintage", flat=True)) == {"a", "d"}
    assert rows() == (2, 12, 12, 16)
    assert ImportRun.objects.filter(vintage="b", dataset=None).exists()


@contextlib.contextmanager
def connected(receiver: Callable[..., object]) -> Iterator[None]:
    dataset_activated.connect(receiver)
    try:
        yield
    finally:
        dataset_activated.disconnect(receiver)


def test_apps_that_depend_on_the_data_follow_each_activation(run: Import) -> None:
    markets: list[Market | None] = []

    def follow(**_: object) -> None:
        markets.append(market_of("10002"))

    with connected(follow):
        run()
        run()
        run(ZIPS.replace("10002,20004", "10002,10200"), vintage="2016")
    assert markets == [Market("20000", "Great City-Bay, CA-NV"), Market("10200", "Elsewhere-Town, TX")]


def test_an_activation_stands_when_a_receiver_fails(run: Import, caplog: pytest.LogCaptureFixture) -> None:
    def fail(**_: object) -> None:
        raise NoDataset("cannot follow")

    run()
    with connected(fail):
        run(ZIPS.replace("10002,20004", "10002,10200"), vintage="2016")
    assert zip_answer("10002").vintage == "2016"
    assert "cannot follow" in caplog.text


def test_the_database_allows_one_dataset_in_use(run: Import) -> None:
    run()
    with pytest.raises(IntegrityError, match="one_active_dataset"), transaction.atomic():
        Dataset.objects.create(vintage="2016", active=True)


def test_imports_wait_for_each_other_but_not_for_ever(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another connection holds the lock that an import takes."""
    monkeypatch.setattr(service, "LOCK_WAIT_SECONDS", 0.1)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [service.LOCK])
        with pytest.raises(ImportRefused, match="Another import has been running"):
            run()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [service.LOCK])
    finally:
        other.close()
    assert run().outcome == "imported"


@pytest.mark.parametrize("vintage", ["", "  ", "x" * 51, "a\nb"])
def test_a_label_can_be_printed(run: Import, vintage: str) -> None:
    with pytest.raises(ImportRefused, match="1 to 50 printable characters"):
        run(vintage=vintage, dry_run=True)
