"""Files as people have them: each ends with the right answers, or with a refusal that names the file, the place and the remedy."""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import openpyxl
import pytest

from cbsa.errors import ImportRefused
from cbsa.imports import service
from cbsa.lookup import has_dataset, zip_answer, zip_answers
from cbsa.models import ImportRun, Zip
from tests.cbsa.conftest import Import
from tests.cbsa.imports.test_service import facts
from tests.cbsa.publishers import METROS, ZIPS

pytestmark = pytest.mark.django_db

Write = Callable[[str, str | bytes], str]
HEADER, *ROWS = ZIPS.splitlines()
TABLE = [line.split(",") for line in ZIPS.splitlines()]
GREAT_CITY = '"Great City-Bay, CA-NV"'
KNOWN = {"00501", "10001", "10002", "10003", "10004", "10005"}


@pytest.fixture
def imported(write: Write) -> Callable[..., ImportRun]:
    """Import files of any kind; text is written in Latin-1."""

    def _imported(zips: str | bytes = ZIPS, metros: str | bytes = METROS, **options: object) -> ImportRun:
        paths = {"zips": write("zips.csv", zips), "metros": write("metros.csv", metros)}
        return service.run(**{"vintage": "2015", "actor": "tester", **paths, **options})

    return _imported


def refusal(importing: Callable[..., ImportRun], *files: str | bytes, **options: object) -> ImportRefused:
    with pytest.raises(ImportRefused) as refused:
        importing(*files, **options)
    assert not has_dataset()
    return refused.value


# --- The wrong crosswalk -----------------------------------------------------------------------------------------------
REVERSED = "CBSA,ZIP,RES_RATIO,BUS_RATIO,OTH_RATIO,TOT_RATIO\n" + "".join(
    f"{cbsa},{10001 + number},0.1,0.1,0.1,{ratio}\n" for cbsa in ("10100", "20000") for number, ratio in enumerate((0.5, 0.3, 0.2))
)
COUNTIES = ZIPS.replace("20004", "06037").replace("10100", "01001").replace("10200", "48001").replace("10300", "35001")


def test_the_reversed_crosswalk_is_refused(imported: Callable[..., ImportRun]) -> None:
    refused = refusal(imported, REVERSED.replace("20000,10002", "20000,10007"), force=True)
    assert refused.detail.endswith(
        "zips.csv: for 3 of its 4 ZIPs the TOT_RATIO do not add up to 1. It looks like HUD's reversed crosswalk, CBSA to ZIP, "
        "whose ratios are shares of the CBSA. Take the crosswalk ZIP to CBSA."
    )


def test_a_crosswalk_to_counties_is_refused_unless_forced(imported: Callable[..., ImportRun]) -> None:
    refused = refusal(imported, COUNTIES)
    assert "of the 4 codes in its column CBSA, 4 are no CBSAs of the census file, such as 01001, 06037, 10900." in refused.detail
    assert "--force" in refused.hint
    assert "--force" not in refused.detail
    assert imported(COUNTIES, force=True).counts["absent"] == 5


def test_two_far_vintages_make_a_pair_that_warns(imported: Callable[..., ImportRun]) -> None:
    record = imported(metros=METROS.replace("10100,", "10110,"))
    assert record.absent == {"10100": 2, "10900": 1}
    assert any("are both files of the same vintage?" in warning for warning in record.warnings)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (ROWS[1], "", "the TOT_RATIO of ZIP 10001 add up to 0.25, not to 1: a row of it is missing."),
        (ROWS[0], "", "the TOT_RATIO of ZIP 10001 add up to 0.75, not to 1: a row of it is missing."),
        (ROWS[2], f"{ROWS[2]}\n{ROWS[2].replace('20004', '20000')}", "add up to 2, not to 1: a row of it is too much."),
        (ROWS[2], f"{ROWS[2]}\n{ROWS[2]}", "ZIP 10002 with CBSA 20004 stands on an earlier line, too."),
        (ROWS[1], ROWS[1] + ",7", "it has 7 cells, the header 6."),
    ],
    ids=["main row missing", "minor row missing", "two CBSAs", "doubled", "extra cell"],
)
def test_a_zip_without_all_of_its_rows_is_bad(imported: Callable[..., ImportRun], old: str, new: str, reason: str) -> None:
    refused = refusal(imported, ZIPS.replace(f"{old}\n", f"{new}\n" if new else ""))
    (reject,) = refused.data["rejects"]
    assert reason in reject["reason"]
    assert reject["line"] > 1


@pytest.mark.parametrize("ratio", ["", "x", "1.5"])
def test_a_zip_with_a_skipped_row_is_left_out_whole_and_named(imported: Callable[..., ImportRun], ratio: str) -> None:
    """Of ZIP 10001 the main row is bad. The minor one must not decide."""
    bad = ZIPS.replace(ROWS[1], ROWS[1][:-11] + ratio)
    assert refusal(imported, bad).detail == "1 bad row. Correct the file and import it again."
    record = imported(bad, skip_bad_rows=1)
    assert (record.counts["zips"], record.counts["zip_rows"], record.counts["bad_rows"]) == (5, 6, 1)
    assert record.left_out == ["10001"]
    assert "1 ZIP is left out, because of bad rows: 10001." in record.warnings
    assert "10001" not in zip_answers(["10001"]).by_zip
    assert set(Zip.objects.values_list("zip", flat=True)) == KNOWN - {"10001"}


def test_a_short_row_takes_its_zip_with_it(imported: Callable[..., ImportRun]) -> None:
    record = imported(ZIPS.replace(ROWS[1], "10001,99999,0.75"), skip_bad_rows=1)
    assert (record.left_out, record.counts["bad_rows"]) == (["10001"], 1)


@pytest.mark.parametrize("ratio", ["1.0000000001", "1.000000001", "1.0", "1.", "1e0", "+1", "0.9999999", " 1 ", "1.000000000000000000"])
def test_ratios_are_taken_as_programs_write_them(imported: Callable[..., ImportRun], ratio: str) -> None:
    imported(ZIPS.replace(ROWS[2], f"10002,20004,{ratio},-0.0000000001,-0,{ratio}"))
    (share,) = zip_answer("10002").matches
    assert share.tot_ratio == pytest.approx(1, abs=1e-6)
    assert 0 <= share.bus_ratio <= share.tot_ratio <= 1


# --- Text ---------------------------------------------------------------------------------------------------------------
METRO = "Great City-Bay, CA-NV"
TEXTS = {
    "UTF-16 LE": ("\ufeff" + ZIPS).encode("utf-16-le"),
    "UTF-16 BE with tabs": ("\ufeff" + ZIPS.replace(",", "\t")).encode("utf-16-be"),
    "UTF-32": ("\ufeff" + ZIPS).encode("utf-32-le"),
    "two byte order marks": ("\ufeff\ufeff" + ZIPS).encode(),
    "no-break spaces": ZIPS.replace(",", "\xa0,\xa0").encode(),
    "zero-width spaces": ZIPS.replace(",", "\u200b,").encode(),
    "extra comma in the header": ZIPS.replace("TOT_RATIO", "TOT_RATIO,"),
    "extra commas everywhere": ZIPS.replace("\n", ",,\n"),
    "geoid": ZIPS.replace("CBSA", "geoid").lower(),
    "geoid beside CBSA": "\n".join(f"{'GEOID' if n == 0 else '77777'},{line}" for n, line in enumerate(ZIPS.splitlines())),
    "quoted": "\n".join(",".join(f'"{cell}"' for cell in row) for row in TABLE),
    "JSON of HUD's API": json.dumps(
        {
            "data": {
                "year": "2015",
                "results": [dict(zip(("zip", "geoid", *map(str.lower, TABLE[0][2:])), row, strict=True)) for row in TABLE[1:]],
            }
        }
    ),
    "JSON, a list": json.dumps([dict(zip(TABLE[0], [*row[:2], *map(float, row[2:])], strict=True)) for row in TABLE[1:]]),
    "JSON, lists": json.dumps(TABLE),
}


@pytest.mark.parametrize("zips", TEXTS.values(), ids=TEXTS.keys())
def test_other_forms_of_the_crosswalk_give_the_same_answers(imported: Callable[..., ImportRun], zips: str | bytes) -> None:
    imported()
    expected = facts(*KNOWN)
    record = imported(zips, force=True)
    assert facts(*KNOWN) == expected
    assert (record.counts["zips"], record.rejects) == (6, [])


NAMES = {
    "Windows-1252": (METROS.encode("latin-1").replace(b"Great City-Bay", b"Great City\x96Bay"), "Great City\u2013Bay, CA-NV"),
    "its control characters in UTF-8": (METROS.replace("Great City-Bay", "Great City\x96Bay").encode(), "Great City\u2013Bay, CA-NV"),
    "double blanks": (METROS.replace("Great City-Bay", "  Great   City-Bay"), METRO),
    "no-break spaces": (METROS.replace("Great City-Bay", "Great\xa0City-Bay"), METRO),
    "blanks in the kind": (METROS.replace("Metropolitan Statistical", "Metropolitan\xa0 Statistical"), METRO),
    "blanks in the header": (METROS.replace("NAME", " NAME\xa0"), METRO),
}


@pytest.mark.parametrize(("metros", "msa"), NAMES.values(), ids=NAMES.keys())
def test_names_and_kinds_are_read_as_meant(imported: Callable[..., ImportRun], metros: str | bytes, msa: str) -> None:
    record = imported(metros=metros)
    assert zip_answer("10002").msa == msa
    assert zip_answer("00501").msa == "Doña Ana, NM"
    assert not [warning for warning in record.warnings if "vintage" not in warning]


@pytest.mark.parametrize(
    ("metros", "warning"),
    [
        (METROS.encode().replace("ñ".encode(), "\ufffd".encode()), "has a letter that could not be decoded (U+FFFD) (line 4)."),
        (METROS.encode("latin-1").replace(b"\xf1", b"\x81"), "has a letter that could not be decoded (U+FFFD) (line 4)."),
        (METROS.replace("ñ", "Ã±").encode(), "looks wrongly decoded; it may be meant as 'Doña Ana, NM' (line 4)."),
        (METROS.replace("Metropolitan Division", "Metro Division"), "LSAD 'Metro Division' is none that the rule knows"),
    ],
    ids=["U+FFFD", "a byte without a meaning", "decoded twice", "unknown kind"],
)
def test_doubtful_text_warns_with_file_and_line(imported: Callable[..., ImportRun], metros: str | bytes, warning: str) -> None:
    record = imported(metros=metros)
    assert any(warning in text and "metros.csv: " in text for text in record.warnings), record.warnings


@pytest.mark.parametrize(
    ("zips", "metros", "reason"),
    [
        (ZIPS, METROS.replace("NPOPCHG2015", "POPESTIMATE2015"), "metros.csv: the header names POPESTIMATE2015 more than once."),
        (ZIPS, METROS.replace("CENSUS2010POP", "stcou"), "the header names STCOU more than once."),
        (
            "\n".join(f"{line},{'' if number else 'zip'}" for number, line in enumerate(ZIPS.splitlines())),
            METROS,
            "the header names ZIP more than once.",
        ),
        (ZIPS.replace(ROWS[2], f'"{ROWS[2]}'), METROS, "zips.csv: line 4 is not CSV: a quotation mark is opened there"),
        (ZIPS, METROS.replace(GREAT_CITY, GREAT_CITY[:-1]), "metros.csv: line 7 is not CSV: a quotation mark is opened there"),
    ],
    ids=["a year", "the county", "the ZIP", "open quote", "open quote among others"],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(imported: Callable[..., ImportRun], zips: str, metros: str, reason: str) -> None:
    assert reason in refusal(imported, zips, metros).detail


OTHER_FILES = {
    "UTF-16 without a mark": (ZIPS.encode("utf-16-le"), "UTF-16 text without its byte order mark"),
    "XML Spreadsheet 2003": (
        b'<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"/>',
        "XML Spreadsheet 2003. Save it as .xlsx or CSV",
    ),
    "XML": (b'<?xml version="1.0"?><kml/>', "an XML file"),
    "password": (b"\xd0\xcf\x11\xe0" + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le"), "protected by a password"),
    "PDF": (b"%PDF-1.7\n", "a PDF"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive. Unpack it"),
    "JSON without rows": (b'{"error": "Unauthorized"}', "its JSON holds no list of rows"),
    "broken JSON": (b'{"data": ', "it is not JSON"),
    "deep JSON": (b"[" * 100_000, "it is not JSON"),
    "semicolons": (ZIPS.replace(",", ";").encode(), "separated by ';'"),
}


@pytest.mark.parametrize(("content", "reason"), OTHER_FILES.values(), ids=OTHER_FILES.keys())
def test_other_kinds_of_file_are_called_by_their_names(imported: Callable[..., ImportRun], content: bytes, reason: str) -> None:
    refused = refusal(imported, content)
    assert "zips.csv: " in refused.detail
    assert reason in refused.detail


# --- Archives and workbooks ---------------------------------------------------------------------------------------------------
def archive(**files: str | bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        for name, text in files.items():
            target.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize("litter", [".DS_Store", "folder/.DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._zips.csv", "folder/"])
def test_what_an_operating_system_leaves_in_an_archive_does_no_harm(imported: Callable[..., ImportRun], litter: str) -> None:
    assert imported(archive(**{"zips.csv": ZIPS, litter: b""})).counts["zips"] == 6


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        ("xl/workbook.bin", "binary workbook (.xlsb)"),
        ("content.xml", "OpenDocument"),
        ("Index/Document.iwa", "Numbers document"),
        ("word/document.xml", "Word document"),
    ],
)
def test_other_documents_are_called_by_their_names(imported: Callable[..., ImportRun], member: str, kind: str) -> None:
    assert kind in refusal(imported, archive(**{"[Content_Types].xml": "", member: ""})).detail


Sheets = dict[str, Sequence[Sequence[object]]]
CELLS: list[list[object]] = [TABLE[0], *([*row[:2], *map(float, row[2:])] for row in TABLE[1:])]  # type: ignore[list-item]
OTHER_CELLS = [row if row[0] != "10002" else [row[0], "10200", *row[2:]] for row in CELLS]
EMPTY: list[list[object]] = [TABLE[0], [None], [" "]]  # type: ignore[list-item]


def workbook(sheets: Sheets, hidden: Sequence[str] = ()) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if name in hidden:
            sheet.sheet_state = "hidden"
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("sheets", "hidden", "sheet", "chosen"),
    [
        ({"Old": OTHER_CELLS, "New": CELLS}, ["Old"], "", "New"),
        ({"New": CELLS, "Old": OTHER_CELLS}, ["Old"], "", "New"),
        ({"Template": EMPTY, "Data": CELLS}, [], "", "Data"),
        ({"Notes": [["about"], ["this file"]], "Data": CELLS}, [], "", "Data"),
        ({"Q3": OTHER_CELLS, "Q4": CELLS}, [], "Q4", "Q4"),
        ({"Q3": OTHER_CELLS, "Q4": CELLS}, ["Q4"], "Q4", "Q4"),
        ({"Data": CELLS, "Cover": [["Crosswalk"]]}, ["Data"], "", "Data"),
    ],
)
def test_the_right_sheet_is_read_and_named(
    imported: Callable[..., ImportRun], sheets: Sheets, hidden: list[str], sheet: str, chosen: str
) -> None:
    record = imported(workbook(sheets, hidden), sheet=sheet)
    assert zip_answer("10002").cbsa == "20004"
    assert record.files["zips"]["sheet"] == chosen
    assert any("hidden" in warning for warning in record.warnings) == (chosen in hidden)


def test_two_sheets_that_fit_are_refused_with_their_names(imported: Callable[..., ImportRun]) -> None:
    refused = refusal(imported, workbook({"Q3": OTHER_CELLS, "Q4": CELLS}))
    assert refused.detail.endswith("zips.csv: 2 of its sheets have the columns: Q3, Q4. Keep only the right one.")
    assert refused.hint == "Or name it with --sheet."
    assert "there is no sheet 'Q5'. It has Q3, Q4." in refusal(imported, workbook({"Q3": CELLS, "Q4": CELLS}), sheet="Q5").detail
    assert "there is no sheet 'Q5'. It is no workbook." in refusal(imported, sheet="Q5").detail
    assert "below the header of sheet 'Empty' there is no row." in refusal(imported, workbook({"Empty": EMPTY})).detail


def test_another_sheet_of_the_same_file_is_other_data(imported: Callable[..., ImportRun]) -> None:
    book = workbook({"Q3": OTHER_CELLS, "Q4": CELLS})
    imported(book, sheet="Q3")
    assert zip_answer("10002").cbsa == "10200"
    with pytest.raises(ImportRefused, match="holds other files already"):
        imported(book, sheet="Q4")
    assert imported(book, sheet="Q3").outcome == "unchanged"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("F", "#N/A", "TOT_RATIO holds #N/A (sheet 'Data', cell F4)."),
        ("B", "#REF!", "CBSA holds #REF! (sheet 'Data', cell B4)."),
        (
            "F",
            "=1-0",
            "TOT_RATIO holds a formula without a calculated value (sheet 'Data', cell F4); calculate the workbook and save it again.",
        ),
    ],
)
def test_cells_without_a_value_are_named(imported: Callable[..., ImportRun], column: str, value: str, reason: str) -> None:
    book, content = openpyxl.load_workbook(io.BytesIO(workbook({"Data": CELLS}))), io.BytesIO()
    book["Data"][f"{column}4"] = value
    book.save(content)
    (reject,) = refusal(imported, content.getvalue()).data["rejects"]
    assert reject["reason"] == reason


def test_cells_are_named_rightly_in_a_table_that_starts_further_in(imported: Callable[..., ImportRun]) -> None:
    rows = [[None] * 6, *([None, None, *row] for row in CELLS)]
    rows[3][7] = "#DIV/0!"
    (reject,) = refusal(imported, workbook({"Data": rows})).data["rejects"]
    assert reject["reason"] == "TOT_RATIO holds #DIV/0! (sheet 'Data', cell H4)."


def test_an_error_outside_of_the_columns_does_no_harm(imported: Callable[..., ImportRun]) -> None:
    assert imported(workbook({"Data": [[*row, "#N/A"] for row in CELLS]})).counts["zips"] == 6


# --- Several census files, and what would change --------------------------------------------------------------------------------
PUERTO_RICO = """\
CBSA,MDIV,STCOU,NAME,LSAD,POPESTIMATE2014,POPESTIMATE2015
10900,,,"San Juan, PR",Metropolitan Statistical Area,100,99
"""


def test_puerto_ricos_estimates_come_as_a_second_file(imported: Callable[..., ImportRun], write: Write) -> None:
    metros = [write("metros.csv", METROS), write("pr.csv", PUERTO_RICO)]
    record = service.run(zips=write("zips.csv", ZIPS), metros=metros, vintage="2015", actor="tester")
    assert (record.absent, record.counts["metropolitan"]) == ({}, 4)
    assert (zip_answer("10004").msa, zip_answer("10004").population) == ("San Juan, PR", {"2014": 99 + 1, "2015": 99})
    assert list(record.files) == ["zips", "metros", "metros_2"]
    assert service.run(zips=write("zips.csv", ZIPS), metros=metros[::-1], vintage="2015", actor="tester").outcome == "unchanged"


def test_a_dry_run_and_an_import_say_what_changes(run: Import) -> None:
    run()
    newer = ZIPS.replace("10002,20004", "10002,10200").replace("10005,", "10006,")
    expected = {"in_use": "2015", "held": 6, "new": 1, "lost": 1, "moved": 1, "lost_examples": ["10005"], "consequences": []}
    assert run(newer, vintage="2016", dry_run=True, force=True).changes == expected
    assert zip_answer("10002").vintage == "2015"
    assert run(newer, vintage="2016", force=True).changes == expected
    assert ImportRun.objects.latest("pk").changes == expected


def numbered(last: int) -> str:
    return HEADER + "".join(f"\n{20000 + number},10100,1,1,1,1" for number in range(last))


def test_a_lost_tail_looks_like_a_file_that_was_cut_off(run: Import) -> None:
    run(numbered(2_000), vintage="a")
    with pytest.raises(ImportRefused, match="150 of the 2,000 ZIPs in use would be lost") as refused:
        run(numbered(1_850), vintage="b")
    assert "150 of the lost ZIPs are all those above 21849, the last ZIP of the new file: was it cut off?" in refused.value.detail
    record = run(numbered(1_950), vintage="c")
    assert "50 of the lost ZIPs are all those above 21949" in record.warnings[-1]
    thinned = "\n".join(line for number, line in enumerate(numbered(1_950).splitlines()) if number % 20 != 5)
    assert not any("cut off" in warning for warning in run(thinned, vintage="d").warnings)


def test_a_further_census_file_may_lack_divisions(imported: Callable[..., ImportRun], write: Write) -> None:
    without = "CBSA,NAME,LSAD,POPESTIMATE2015\n" + '10900,"San Juan, PR",Metropolitan Statistical Area,99\n'
    metros = [write("metros.csv", METROS), write("pr.csv", without)]
    service.run(zips=write("zips.csv", ZIPS), metros=metros, vintage="2015", actor="tester")
    assert zip_answer("10004").msa == "San Juan, PR"
    with pytest.raises(ImportRefused, match=r"pr\.csv: the header has no column MDIV"):
        service.run(zips=write("zips.csv", ZIPS), metros=metros[::-1], vintage="2016", actor="tester")


def test_many_moved_zips_look_like_a_crosswalk_to_other_areas(run: Import) -> None:
    run(numbered(600), vintage="a")
    moved = numbered(600).replace(",10100,", ",99999,", 200)
    with pytest.raises(ImportRefused, match="200 of the 600 ZIPs in use would move to another area"):
        run(moved, vintage="b")
    assert run(moved, vintage="b", force=True).changes["moved"] == 200
    run(numbered(600), vintage="c", force=True)
    assert run(numbered(600).replace(",10100,", ",99999,", 100), vintage="d").outcome == "imported"


def test_a_first_file_that_ends_early_warns(run: Import) -> None:
    ends = [run(numbered(count), vintage=str(count), dry_run=True).warnings for count in (9_000, 10_001, 79_951)]
    assert ends[1] == ["the crosswalk ends with ZIP 30000, but the ZIPs of the USA go up to 99950: was it cut off?"]
    assert (ends[0], ends[2]) == ([], [])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("file:///data/zips.csv", "write the path alone, without file://"),
        ("ftp://ftp.census.gov/x", "only http:// and https:// addresses"),
        ("s3://bucket/x", "only http:// and https:// addresses"),
    ],
)
def test_addresses_that_are_not_fetched_say_what_works(address: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refused:
        service.run(zips=address, metros=address, vintage="2015", actor="tester")
    assert refused.value.detail.startswith(f"{address}: ")
    assert reason in refused.value.detail
