"""Read a publisher's file into rows of text, from a path, `-` or an address; plain, .gz, .zip or .xlsx.

Everything is first copied into a private folder. So a slow or broken source fails before anything is read, a file that
changes meanwhile does no harm, and memory stays flat for any size. The first bytes of a file decide what it is.
"""

import codecs
import contextlib
import csv
import gzip
import hashlib
import itertools
import lzma
import mmap
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, NoReturn, cast
from zipfile import BadZipFile, ZipFile

from cbsa.errors import ImportRefused
from cbsa.imports.xlsx import XmlCheck
from peerloans import safe_http
from peerloans.safe_http import CallLimits, TooSlow

CHUNK_BYTES = 1 << 16
WRAPPINGS = 2  # a workbook in a .zip in a .gz; no publisher goes deeper
MEMBERS_LIMIT = 1_000  # of one archive; a workbook of a hundred sheets has less
GZIP_MAGIC, ZIP_MAGIC, OLD_EXCEL_MAGIC = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
ZIP_ENTRY_MAGIC = b"PK\x01\x02"
WORKBOOK = "xl/workbook.xml"
ADDRESS = ("http://", "https://")

Progress = Callable[[str], None]
Row = tuple[int, list[str]]
"""A line number (in a workbook, the row's) and its cells."""


@dataclass(frozen=True)
class Limits:
    """What one source may cost at most, packed and unpacked, and which addresses it may come from. HUD's largest file has 3 MB."""

    size_bytes: int = 256 * 2**20
    stall_seconds: float = 30
    total_seconds: float = 600
    allowed: Callable[[str], bool] = safe_http.any_address


@dataclass(frozen=True)
class Source:
    """One fetched file: its name in messages, its checksum and size as published, and the table that was inside."""

    name: str
    sha256: str
    size_bytes: int
    table: Path

    def sheets(self) -> Iterator[Iterator[Row]]:
        """Yield the rows of each sheet; a text file has one.

        Raises:
            ImportRefused: the rows cannot be read.
        """
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
        """Return UTF-8 where the whole file is valid UTF-8, else Latin-1, in which the Census Bureau publishes."""
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


def fetch(name: str | Path, folder: Path, limits: Limits) -> Source:
    """Copy the file, or what the address leads to, into the new `folder`, and unpack it.

    `name` as a Path is an uploaded file; messages call it by its last part.

    Raises:
        ImportRefused: the source is absent, broken, too large, too slow, or at an address that `limits` do not allow.
    """
    shown, name = (name.name, str(name)) if isinstance(name, Path) else (without_secrets(name), name)
    call_limits = CallLimits(limits.allowed, time.monotonic() + limits.total_seconds, limits.stall_seconds)
    folder.mkdir()
    copy = folder / "as-published"
    try:
        with _opened(name, call_limits) as chunks:
            sha256, size = _copy(chunks, copy, _Budget(limits, call_limits))
        table = _unpacked(copy, limits, call_limits)
        if not table.stat().st_size:
            raise ImportRefused("the file is empty.")
    except ImportRefused as error:
        raise ImportRefused(f"{shown}: {error.detail}") from error
    except TooSlow:
        raise ImportRefused(f"{shown}: {_too_slow(limits)}") from None
    except (safe_http.Failed, safe_http.Refused) as error:
        raise ImportRefused(f"{shown}: {error}") from None
    except OSError as error:
        raise ImportRefused(f"{shown}: {error.strerror or error}.") from error
    return Source(shown, sha256, size, table)


def without_secrets(name: str) -> str:
    """Return an address without the parts that may hold a password or a token. A path is returned as it is."""
    if not name.startswith(ADDRESS):
        return name
    scheme, _, rest = name.partition("#")[0].partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@contextlib.contextmanager
def _opened(name: str, call_limits: CallLimits) -> Iterator[Iterator[bytes]]:
    if name == "-":
        yield _chunks(sys.stdin.buffer)
    elif name.startswith(ADDRESS):
        with safe_http.download(name, call_limits) as chunks:
            yield chunks
    else:
        with Path(name).open("rb") as file:
            yield _chunks(file)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(stream.read, CHUNK_BYTES), b"")


def _too_slow(limits: Limits) -> str:
    return (
        f"it is too slow: nothing came for {limits.stall_seconds:g} seconds, or not all within {limits.total_seconds:g} seconds. "
        "Try again, or download it by hand."
    )


@dataclass
class _Budget:
    """The bytes read so far, against the limits of size and time."""

    limits: Limits
    call_limits: CallLimits
    size_bytes: int = 0

    def spend(self, chunk: bytes) -> None:
        """Count a chunk. Raises ImportRefused where it is too much or too late."""
        self.size_bytes += len(chunk)
        if self.size_bytes > self.limits.size_bytes:
            raise ImportRefused(f"it holds more than {self.limits.size_bytes:,} bytes, which no such file does.")
        if time.monotonic() > self.call_limits.deadline:
            raise ImportRefused(_too_slow(self.limits))


def _copy(chunks: Iterator[bytes], path: Path, budget: _Budget) -> tuple[str, int]:
    """Write the chunks to `path`. Return their SHA-256 and their size in bytes."""
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            budget.spend(chunk)
            sha256.update(chunk)
            file.write(chunk)
    return sha256.hexdigest(), budget.size_bytes


def _unpacked(path: Path, limits: Limits, call_limits: CallLimits) -> Path:
    """Return the table inside at most two wrappings. Count the bytes that come out, whatever sizes an archive claims."""
    try:
        for number in range(WRAPPINGS + 1):
            inner = path.with_name(f"inner-{number}")
            if _starts_with(path, GZIP_MAGIC):
                with gzip.open(path) as stream:
                    _copy(_chunks(cast("IO[bytes]", stream)), inner, _Budget(limits, call_limits))
            elif _starts_with(path, ZIP_MAGIC):
                _check_members(path)
                with ZipFile(path) as archive:
                    if WORKBOOK in archive.namelist():
                        return _workbook(archive, inner, _Budget(limits, call_limits))
                    with archive.open(_only_member(archive)) as stream:
                        _copy(_chunks(stream), inner, _Budget(limits, call_limits))
            else:
                return path
            path = inner
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ImportRefused(f"it is broken or cannot be unpacked: {error}.") from error
    raise ImportRefused(f"it is packed more than {WRAPPINGS} times. Unpack it.")


def _check_members(path: Path) -> None:
    """Count an archive's entries in its bytes, because ZipFile makes an object of each before anyone can count them."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        position, members = content.find(ZIP_ENTRY_MAGIC), 0
        while position >= 0:
            members += 1
            if members > MEMBERS_LIMIT:
                raise ImportRefused(f"the archive holds more than {MEMBERS_LIMIT:,} files. Unpack it and name the right one.")
            position = content.find(ZIP_ENTRY_MAGIC, position + 1)


def _only_member(archive: ZipFile) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    if len(names) != 1:
        held = ", ".join(ascii(name[:60]).strip("'\"") for name in names[:10]) or "nothing"
        raise ImportRefused(f"the archive must hold one file, but it holds {held}. Unpack it and name the right one.")
    return names[0]


def _workbook(archive: ZipFile, path: Path, budget: _Budget) -> Path:
    """Write the workbook to `path` unpacked, so that its reader sees exactly the bytes that were checked here."""
    with ZipFile(path, "w") as copy:
        for name in dict.fromkeys(archive.namelist()):
            if not re.fullmatch(r"(\[Content_Types\]|_rels/.*|xl/.*)\.(xml|rels)", name):
                continue
            check = XmlCheck()
            with archive.open(name) as stream, copy.open(name, "w") as file:
                for chunk in _chunks(stream):
                    budget.spend(chunk)
                    check.feed(chunk)
                    file.write(chunk)
            check.feed(b"", final=True)
    return path


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _text(cell: object) -> str:
    """Return a workbook's cell as a CSV file has it: whole numbers without a decimal point."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
