"""How do a publisher's bytes become rows of text? From a path, `-` or an address; plain, .gz, .zip or .xlsx.

Everything is first copied into a private folder: a slow or broken source is found out before anything is read, a file
that changes meanwhile does no harm, and memory stays flat however long it is. What a file is, its first bytes say.
"""

import codecs
import contextlib
import csv
import gzip
import hashlib
import itertools
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, NoReturn, cast
from zipfile import BadZipFile, ZipFile

from cbsa.errors import ImportRefused

CHUNK_BYTES = 1 << 16
WRAPPINGS = 2  # a workbook in a .zip in a .gz; deeper, nobody publishes
GZIP_MAGIC, ZIP_MAGIC, OLD_EXCEL_MAGIC = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
ADDRESS = ("http://", "https://")

Row = tuple[int, list[str]]
"""A line number (in a workbook, the row's) and its cells."""


@dataclass(frozen=True)
class Limits:
    """What one source may cost at most. The largest file that HUD publishes has 3 MB."""

    size_bytes: int = 256 * 2**20
    stall_seconds: float = 30
    total_seconds: float = 600


@dataclass(frozen=True)
class Source:
    """One file as it came: the name it goes by in messages, its checksum and size, and the table that was inside."""

    name: str
    sha256: str
    size_bytes: int
    table: Path

    def sheets(self) -> Iterator[Iterator[Row]]:
        """The rows of each sheet; a text file has one. Raises ImportRefused where they cannot be read."""
        if _starts_with(self.table, ZIP_MAGIC):
            yield from self._workbook_sheets()
        else:
            yield self._text_rows()

    def refuse(self, reason: str) -> NoReturn:
        raise ImportRefused(f"{self.name}: {reason}")

    def _text_rows(self) -> Iterator[Row]:
        with self.table.open(newline="", encoding=self._encoding()) as file:
            reader = csv.reader(file, strict=True)
            try:
                for row in reader:
                    yield reader.line_num, row
            except csv.Error as error:
                self.refuse(f"line {reader.line_num} is not CSV: {error}.")

    def _encoding(self) -> str:
        """UTF-8 where the whole file is, else Latin-1, in which the Census Bureau publishes."""
        if _starts_with(self.table, OLD_EXCEL_MAGIC):
            self.refuse("this is a workbook of the old Excel format. Save it as .xlsx or CSV.")
        encoding, decoder = "utf-8-sig", codecs.getincrementaldecoder("utf-8")()
        with self.table.open("rb") as file:
            if file.read(CHUNK_BYTES).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<"):
                self.refuse("this is a web page, not a table; perhaps the publisher's error page. Download the file itself.")
            file.seek(0)
            for chunk in itertools.chain(iter(partial(file.read, CHUNK_BYTES), b""), [b""]):
                if b"\0" in chunk:
                    self.refuse("this is neither text nor .xlsx, .gz or .zip.")
                if encoding != "latin-1":
                    try:
                        decoder.decode(chunk, final=not chunk)
                    except UnicodeDecodeError:
                        encoding = "latin-1"
        return encoding

    def _workbook_sheets(self) -> Iterator[Iterator[Row]]:
        from python_calamine import CalamineError, CalamineWorkbook

        try:
            with CalamineWorkbook.from_path(self.table) as workbook:
                for name in workbook.sheet_names:
                    sheet = workbook.get_sheet_by_name(name)
                    yield ((line, [_text(cell) for cell in row]) for line, row in enumerate(sheet.iter_rows(), 1))
        except CalamineError as error:
            self.refuse(f"the workbook cannot be read: {error}.")


def fetch(name: str, folder: Path, limits: Limits) -> Source:
    """Copy what `name` leads to into the new `folder`, and unpack it. Raises ImportRefused where that fails."""
    shown = _without_secrets(name)
    deadline = time.monotonic() + limits.total_seconds
    folder.mkdir()
    copy = folder / "as-published"
    try:
        with _opened(name, limits) as (stream, expected):
            sha256, size = _copy(stream, copy, limits, deadline)
        if expected is not None and size < expected:
            raise ImportRefused(f"the download stopped at {size:,} of {expected:,} bytes. Try again.")
        table = _unpacked(copy, limits, deadline)
        if not table.stat().st_size:
            raise ImportRefused("the file is empty.")
    except ImportRefused as error:
        raise ImportRefused(f"{shown}: {error.detail}") from error
    except OSError as error:
        raise ImportRefused(f"{shown}: {_reason(error)}.") from error
    return Source(shown, sha256, size, table)


def _without_secrets(name: str) -> str:
    """An address without the parts that may hold a password or a token."""
    if not name.startswith(ADDRESS):
        return name
    scheme, _, rest = name.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@contextlib.contextmanager
def _opened(name: str, limits: Limits) -> Iterator[tuple[IO[bytes], int | None]]:
    """The bytes of `name`, and how many there must be where the server said so."""
    if name == "-":
        yield sys.stdin.buffer, None
    elif name.startswith(ADDRESS):
        with _answer(name, limits) as answer:
            length = answer.headers.get("Content-Length", "")
            yield answer, int(length) if length.isdecimal() else None
    else:
        with Path(name).open("rb") as file:
            yield file, None


def _answer(address: str, limits: Limits) -> Any:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    try:
        request = Request(address, headers={"User-Agent": "peerloans"})  # noqa: S310  http and https only
        return urlopen(request, timeout=limits.stall_seconds)  # noqa: S310
    except HTTPError as error:
        with error:
            raise ImportRefused(f"the server answered {error.code} {error.reason}. Check the address.") from None
    except (HTTPException, ValueError) as error:
        raise ImportRefused(f"this is no usable address, or no web server answers there: {error}.") from error


def _reason(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or error
    if isinstance(error, TimeoutError) or isinstance(reason, TimeoutError):
        return "the server is too slow and sent nothing for too long. Try again, or download the file by hand"
    return str(reason)


def _copy(stream: IO[bytes], path: Path, limits: Limits, deadline: float) -> tuple[str, int]:
    """Write the stream to `path`; its SHA-256 and its size in bytes."""
    sha256, size = hashlib.sha256(), 0
    # read1 hands over what has come so far, so that a trickle meets the deadline, too.
    read = cast("Callable[[int], bytes]", getattr(stream, "read1", stream.read))
    with path.open("wb") as file:
        while True:
            try:
                chunk = read(CHUNK_BYTES)
            except HTTPException:
                raise ImportRefused(f"the download stopped after {size:,} bytes. Try again.") from None
            if not chunk:
                return sha256.hexdigest(), size
            size += len(chunk)
            _check_size(size, limits)
            if time.monotonic() > deadline:
                raise ImportRefused(f"it did not come within {limits.total_seconds:g} seconds. Try again, or download it by hand.")
            sha256.update(chunk)
            file.write(chunk)


def _check_size(size_bytes: int, limits: Limits) -> None:
    if size_bytes > limits.size_bytes:
        raise ImportRefused(f"it holds more than {limits.size_bytes:,} bytes, which no such file does.")


def _unpacked(path: Path, limits: Limits, deadline: float) -> Path:
    """The table inside one or two wrappings; a workbook, itself a .zip, is left to its reader."""
    for number in range(WRAPPINGS):
        inner = path.with_name(f"inner-{number}")
        try:
            if _starts_with(path, GZIP_MAGIC):
                with gzip.open(path) as stream:
                    _copy(cast("IO[bytes]", stream), inner, limits, deadline)
            elif _starts_with(path, ZIP_MAGIC):
                with ZipFile(path) as archive:
                    if "xl/workbook.xml" in archive.namelist():
                        _check_size(sum(entry.file_size for entry in archive.infolist()), limits)
                        return path
                    with archive.open(_only_member(archive)) as stream:
                        _copy(stream, inner, limits, deadline)
            else:
                return path
        except (EOFError, zlib.error, gzip.BadGzipFile, BadZipFile, NotImplementedError, RuntimeError) as error:
            raise ImportRefused(f"it is broken or cannot be unpacked: {error}.") from error
        path = inner
    return path


def _only_member(archive: ZipFile) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        held = ", ".join(names[:10]) or "nothing"
        raise ImportRefused(f"the archive must hold one file, but it holds {held}. Unpack it and name the right one.")
    return names[0]


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _text(cell: object) -> str:
    """A workbook's cell as a CSV file would have it: whole numbers without a decimal point."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
