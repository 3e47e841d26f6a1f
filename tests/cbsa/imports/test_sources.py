import gzip
import io
import logging
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import openpyxl
import pytest

from cbsa.errors import ImportRefused
from cbsa.imports.sources import Limits, Source, fetch
from cbsa.imports.tables import Row
from cbsa.imports.xlsx import CELLS_LIMIT
from peerloans import safe_http

Write = Callable[[str, str | bytes], str]
TEXT = 'ZIP,NAME\n00501,"Cañon City, CO"\n'
ROWS = [["ZIP", "NAME"], ["00501", "Cañon City, CO"]]


def zipped(*names: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, content)
    return archive.getvalue()


def workbook(*rows: list[object]) -> bytes:
    book, content = openpyxl.Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(content)
    return content.getvalue()


def rows_of(name: str, tmp_path: Path, limits: Limits = Limits()) -> list[list[str]]:  # noqa: B008
    return [row for _, row in rows_in(fetch(name, tmp_path / "copy", limits))]


def rows_in(source: Source) -> Iterator[Row]:
    """The rows of all sheets; of a text file as it is read with commas."""
    for sheet in source.sheets():
        yield from sheet.rows
        if not sheet.name:
            return


LATIN = TEXT.encode("latin-1")
FORMS = {
    "latin-1": LATIN,
    "utf-8": TEXT.encode(),
    "byte order mark": TEXT.encode("utf-8-sig"),
    "bare CR": LATIN.replace(b"\n", b"\r"),
    "CRLF": LATIN.replace(b"\n", b"\r\n"),
    "no last newline": LATIN.rstrip(),
    "gz": gzip.compress(LATIN),
    "zip": zipped("folder/a.csv", "__MACOSX/folder/._a.csv", content=LATIN),
    "zip in gz": gzip.compress(zipped("a.csv", content=LATIN)),
    "xlsx": workbook(*ROWS),
    "xlsx in zip": zipped("a.xlsx", content=workbook(*ROWS)),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_every_form_gives_the_same_rows(content: bytes, write: Write, tmp_path: Path) -> None:
    assert rows_of(write("any name", content), tmp_path) == ROWS


def test_a_workbooks_numbers_read_as_in_a_csv_file(write: Write, tmp_path: Path) -> None:
    assert rows_of(write("a.xlsx", workbook(["10001", 1, 0.25, 1.5e-05, 1.0])), tmp_path) == [["10001", "1", "0.25", "1.5e-05", "1"]]


def test_lines_are_counted_as_an_editor_does(write: Write, tmp_path: Path) -> None:
    source = fetch(write("a", 'a\n"b\nb"\n\nc\n'), tmp_path / "copy", Limits())
    assert [line for line, _ in rows_in(source)] == [1, 3, 4, 5]


REFUSALS = {
    "empty": (b"", "the file is empty"),
    "empty gz": (gzip.compress(b""), "the file is empty"),
    "broken gz": (b"\x1f\x8b" + b"not gzip at all", "broken"),
    "cut gz": (gzip.compress(LATIN * 100)[:-10], "broken"),
    "cut zip": (zipped("a.csv", content=LATIN)[:-30], "broken"),
    "two files in a zip": (zipped("a.csv", "b.csv", content=LATIN), "it holds a.csv, b.csv"),
    "no file in a zip": (zipped("__MACOSX/._a", content=b""), "it holds nothing"),
    "cut xlsx": (workbook(*ROWS)[:2000], "broken"),
    "web page": (b"\n<!DOCTYPE html><html><body>Not found, sorry", "web page"),
    "old Excel": (b"\xd0\xcf\x11\xe0" + b"\0" * 100, "old Excel"),
    "binary": (b"ZIP\0\1\2", "neither text nor"),
    "open quote": (b'ZIP,CBSA\n"10001,10100\n', "line 2 is not CSV"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_broken_file_is_refused_with_its_name_and_the_reason(content: bytes, reason: str, write: Write, tmp_path: Path) -> None:
    path = write("file", content)
    with pytest.raises(ImportRefused) as refusal:
        rows_of(path, tmp_path)
    assert refusal.value.detail.startswith(f"{path}: ")
    assert reason in refusal.value.detail


@pytest.mark.parametrize(("name", "reason"), [("absent.csv", "No such file"), (".", "Is a directory")])
def test_what_is_no_file_is_refused(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=reason):
        fetch(str(tmp_path / name), tmp_path / "copy", Limits())


@pytest.mark.parametrize(
    "content", [b"0" * 100_000, gzip.compress(b"0" * 100_000), zipped("a.csv", content=b"0" * 100_000), workbook(["0" * 30_000])]
)
def test_no_source_holds_more_than_its_limit(content: bytes, write: Write, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="more than 20,000 bytes"):
        fetch(write("file", content), tmp_path / "copy", Limits(size_bytes=20_000))


def test_an_address_is_fetched_and_its_secrets_stay_out_of_messages(publisher: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    address, files = publisher
    files["/a.csv.gz"] = gzip.compress(LATIN)
    source = fetch(f"{address}/a.csv.gz?token=secret", tmp_path / "copy", Limits())
    assert [row for _, row in rows_in(source)] == ROWS
    assert source.name == f"{address}/a.csv.gz"
    assert source.size_bytes == len(files["/a.csv.gz"])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/absent", "answered 404 Not Found"),
        ("/silent", "too slow"),
        ("/halfway", "received 8 bytes, expected 1000"),
        ("/halfway-in-chunks", "without sending complete message body"),
        ("/trickle", "not all within 0.3 seconds"),
        ("/round-and-round", "redirected more than 5 times"),
        ("/to-a-file", "Write the address as"),
    ],
)
def test_a_bad_server_is_refused(path: str, reason: str, publisher: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    limits = Limits(stall_seconds=0.2, total_seconds=0.3) if path in {"/silent", "/trickle"} else Limits()
    with pytest.raises(ImportRefused, match=reason):
        fetch(publisher[0] + path, tmp_path / "copy", limits)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:1/", "Connection refused"),
        ("http://[broken/", "not an address"),
        ("http://a b/", "without spaces"),
        ("http://me:word@a/", "http://a/: Leave out"),
    ],
)
def test_an_address_without_a_server_is_refused(address: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=reason):
        fetch(address, tmp_path / "copy", Limits())


# --- Attacks ------------------------------------------------------------------------------------------------------------
def rewritten(change: Callable[[str, bytes], bytes]) -> bytes:
    """A workbook with its files changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(*ROWS))) as book, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as copy:
        for name in book.namelist():
            copy.writestr(name, change(name, book.read(name)))
    return content.getvalue()


def with_cells(*references: str) -> bytes:
    rows = "".join(f'<row><c r="{reference}"><v>1</v></c></row>' if reference else "<row><c><v>1</v></c></row>" for reference in references)
    return rewritten(
        lambda name, text: text.replace(b"<sheetData>", f"<sheetData>{rows}".encode()) if name.startswith("xl/worksheets/") else text
    )


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><worksheet>&b;</worksheet>'
FAR = '<worksheet><sheetData><row r="1048576"><c r="XFD1048576"/></row></sheetData></worksheet>'
ATTACKS = {
    "gz of gz of gz": (gzip.compress(gzip.compress(gzip.compress(LATIN))), "packed more than 2 times"),
    "workbook too deep": (gzip.compress(gzip.compress(gzip.compress(workbook(*ROWS)))), "packed more than 2 times"),
    "many files": (zipped(*(f"{number}" for number in range(1_001)), content=b""), "more than 1,000 files"),
    "long names": (zipped("\x1b[31m" + "a" * 60_000, "b", content=LATIN), r"\x1b[31maaaa"),
    "entities": (rewritten(lambda name, text: LAUGHS if name.endswith("sheet1.xml") else text), "declares a document type"),
    "entities in its styles": (rewritten(lambda name, text: LAUGHS if name == "xl/styles.xml" else text), "declares a document type"),
    "cells far apart": (with_cells("A1", "XFD1048576"), f"more than {CELLS_LIMIT:,} cells"),
    "a wide and a long row": (with_cells("XFD1", "A1048576"), f"more than {CELLS_LIMIT:,} cells"),
    "a cell after the last": (with_cells("XFD1", "A99999", ""), f"more than {CELLS_LIMIT:,} cells"),
    "no place": (with_cells("A0000000000000001"), "has the place 'A0000000000000001'"),
    "another encoding": (
        rewritten(lambda name, text: FAR.encode("utf-16") if name.endswith("sheet1.xml") else text),
        "not in UTF-8",
    ),
    "broken XML": (rewritten(lambda name, text: text[:-9]), "not well-formed"),
}


@pytest.mark.parametrize(("content", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused_before_it_costs_anything(content: bytes, reason: str, write: Write, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused) as refusal:
        rows_of(write("file", content), tmp_path)
    assert reason in refusal.value.detail
    assert len(refusal.value.detail) < 1_000


def test_a_workbook_that_claims_to_be_small_gives_only_what_it_claims(write: Write, tmp_path: Path) -> None:
    """Its central directory says 10 bytes, the stream inside goes on; so does the check of its sum."""
    content = workbook(["0" * 30_000])
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        size = struct.pack("<I", book.getinfo("xl/worksheets/sheet1.xml").file_size)
    content = content.replace(size, struct.pack("<I", 10))
    with pytest.raises(ImportRefused, match="broken"):
        fetch(write("file", content), tmp_path / "copy", Limits())


def test_a_member_may_be_called_anything_and_is_written_nowhere_else(write: Write, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    fetch(write("file", zipped("../../escaped.csv", content=LATIN)), inside / "copy", Limits())
    assert [path.name for path in tmp_path.rglob("*.csv")] == []


def test_what_else_lies_in_a_workbook_does_not_reach_its_reader(write: Write, tmp_path: Path) -> None:
    content = io.BytesIO(workbook(*ROWS))
    with zipfile.ZipFile(content, "a") as book:
        book.writestr("content.xml", "<office:table-cell/>")
        book.writestr("xl/media/huge.bin", b"0" * 100)
    source = fetch(write("file", content.getvalue()), tmp_path / "copy", Limits())
    with zipfile.ZipFile(source.table) as kept:
        assert not {"content.xml", "xl/media/huge.bin"} & set(kept.namelist())
    assert [row for _, row in rows_in(source)] == ROWS


STAFF = Limits(allowed=safe_http.is_public)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "169.254.169.254",
        "192.168.0.1",
        "0.0.0.0",  # noqa: S104
        "[::1]",
        "[::ffff:10.0.0.1]",
        "2130706433",
        "0x7f.1",
    ],
)
def test_an_address_inside_the_network_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="not a public address"):
        fetch(f"http://{host}:1/a.csv", tmp_path / "copy", STAFF)


def test_a_redirect_into_the_network_is_refused(publisher: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    """127.0.0.1 stands for what may be called, 127.0.0.2 for what may not."""
    limits = Limits(allowed=lambda address: address == "127.0.0.1")
    publisher[1]["/a.csv"] = LATIN
    assert rows_of(publisher[0] + "/to?/a.csv", tmp_path, limits) == ROWS
    inward = publisher[0].replace("127.0.0.1", "127.0.0.2")
    with pytest.raises(ImportRefused, match=r"127\.0\.0\.2 is not a public address"):
        fetch(f"{publisher[0]}/to?{inward}/a.csv", tmp_path / "other", limits)


def test_secrets_in_an_address_are_in_no_log(
    publisher: tuple[str, dict[str, bytes]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(ImportRefused) as refusal:
        fetch(f"{publisher[0]}/absent?token=hush#hush", tmp_path / "copy", Limits())
    assert "hush" not in refusal.value.detail + caplog.text
