import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from cbsa.errors import ImportRefused
from cbsa.sources import Limits, fetch

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
    source = fetch(name, tmp_path / "copy", limits)
    return [row for sheet in source.sheets() for _, row in sheet]


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
    assert [line for sheet in source.sheets() for line, _ in sheet] == [1, 3, 4, 5]


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


def bomb() -> bytes:
    return gzip.compress(b"0" * 100_000)


@pytest.mark.parametrize("content", [b"0" * 100_000, bomb(), zipped("a.csv", content=b"0" * 100_000), workbook(["0" * 30_000])])
def test_no_source_holds_more_than_its_limit(content: bytes, write: Write, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="more than 20,000 bytes"):
        fetch(write("file", content), tmp_path / "copy", Limits(size_bytes=20_000))


def test_an_address_is_fetched_and_its_secrets_stay_out_of_messages(publisher: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    address, files = publisher
    files["/a.csv.gz"] = gzip.compress(LATIN)
    source = fetch(f"{address}/a.csv.gz?token=secret", tmp_path / "copy", Limits())
    assert [row for sheet in source.sheets() for _, row in sheet] == ROWS
    assert source.name == f"{address}/a.csv.gz"
    assert source.size_bytes == len(files["/a.csv.gz"])


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/absent", "answered 404 Not Found"),
        ("/silent", "too slow"),
        ("/halfway", "stopped at 8 of 1,000 bytes"),
        ("/halfway-in-chunks", "stopped after 8 bytes"),
        ("/trickle", "did not come within 0.3 seconds"),
    ],
)
def test_a_bad_server_is_refused(path: str, reason: str, publisher: tuple[str, dict[str, bytes]], tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=reason):
        fetch(publisher[0] + path, tmp_path / "copy", Limits(stall_seconds=0.2, total_seconds=0.3))


@pytest.mark.parametrize(
    ("address", "reason"),
    [("http://127.0.0.1:1/", "Connection refused"), ("http://[broken/", "no usable address"), ("http://a b/", "no usable address")],
)
def test_an_address_without_a_server_is_refused(address: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match=reason):
        fetch(address, tmp_path / "copy", Limits())
