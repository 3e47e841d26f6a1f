"""Fetch a publisher's file from a path, `-` or an address, and unpack it: plain, .gz, .zip or .xlsx. `tables.py` reads its rows.

Everything is first copied into a private folder. So a slow or broken source fails before anything is read, a file that
changes meanwhile does no harm, and memory stays flat for any size. The first bytes of a file decide what it is.
"""

import contextlib
import gzip
import hashlib
import lzma
import mmap
import re
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, NoReturn, cast
from zipfile import BadZipFile, ZipFile

from cbsa.errors import ImportRefused
from cbsa.imports.tables import CHUNK_BYTES, ZIP_MAGIC, Row, Sheet, read_sheets
from cbsa.imports.xlsx import Problems, XmlCheck, problems_by_sheet
from peerloans import safe_http
from peerloans.safe_http import CallLimits, TooSlow

WRAPPINGS = 2  # a workbook in a .zip in a .gz; no publisher goes deeper
MEMBERS_LIMIT = 1_000  # of one archive; a workbook of a hundred sheets has less
GZIP_MAGIC = b"\x1f\x8b"
ZIP_ENTRY_MAGIC = b"PK\x01\x02"
WORKBOOK = "xl/workbook.xml"
ADDRESS = re.compile("https?://", re.I)
OTHER_ADDRESS = re.compile("[a-z][a-z0-9+.-]+://", re.I)

Progress = Callable[[str], None]
PROGRESS_ROWS = 5_000  # between two reports of progress


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
    problems: dict[str, Problems] = field(default_factory=dict)
    """The cells of a workbook without a value, by sheet."""

    def sheets(self) -> Iterator[Sheet]:
        """Yield the tables in the file, as `read_sheets` does.

        Raises:
            ImportRefused: the file or its rows cannot be read.
        """
        with self._named_refusals():
            for sheet in read_sheets(self.table, self.problems):
                yield replace(sheet, rows=self._named_rows(sheet.rows))

    def _named_rows(self, rows: Iterator[Row]) -> Iterator[Row]:
        with self._named_refusals():
            yield from rows

    @contextlib.contextmanager
    def _named_refusals(self) -> Iterator[None]:
        try:
            yield
        except ImportRefused as refusal:
            self.refuse(refusal.detail)

    def refuse(self, reason: str) -> NoReturn:
        raise ImportRefused(f"{self.name}: {reason}")


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
        table, problems = _unpacked(copy, limits, call_limits)
        if not table.stat().st_size:
            raise ImportRefused("the file is empty.")
    except ImportRefused as error:
        raise ImportRefused(f"{shown}: {error.detail}", hint=error.hint) from error
    except TooSlow:
        raise ImportRefused(f"{shown}: {_too_slow(limits)}") from None
    except (safe_http.Failed, safe_http.Refused) as error:
        raise ImportRefused(f"{shown}: {error}") from None
    except OSError as error:
        raise ImportRefused(f"{shown}: {error.strerror or error}.") from error
    return Source(shown, sha256, size, table, problems)


def without_secrets(name: str) -> str:
    """Return an address without the parts that may hold a password or a token. A path is returned as it is."""
    if not ADDRESS.match(name):
        return name
    scheme, _, rest = name.partition("#")[0].partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


@contextlib.contextmanager
def _opened(name: str, call_limits: CallLimits) -> Iterator[Iterator[bytes]]:
    if name == "-":
        yield _chunks(sys.stdin.buffer)
    elif ADDRESS.match(name):
        with safe_http.download(name, call_limits) as chunks:
            yield chunks
    elif OTHER_ADDRESS.match(name):
        if name.lower().startswith("file://"):
            raise ImportRefused("write the path alone, without file://.")
        raise ImportRefused("only http:// and https:// addresses are fetched. Download the file, and name its path.")
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


def _unpacked(path: Path, limits: Limits, call_limits: CallLimits) -> tuple[Path, dict[str, Problems]]:
    """Return the table inside at most two wrappings, and the problems of a workbook's sheets.

    The bytes that come out are counted, whatever sizes an archive claims.
    """
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
                        return inner, _workbook(archive, inner, _Budget(limits, call_limits))
                    _refuse_other_formats(archive)
                    with archive.open(_only_member(archive)) as stream:
                        _copy(_chunks(stream), inner, _Budget(limits, call_limits))
            else:
                return path, {}
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


OTHER_FORMATS = {
    "xl/workbook.bin": "a binary workbook (.xlsb). Save it as .xlsx or CSV",
    "content.xml": "an OpenDocument file (.ods). Save it as .xlsx or CSV",
    "Index/Document.iwa": "a Numbers document. Export it as CSV or for Excel",
    "Index.zip": "a Numbers document. Export it as CSV or for Excel",
    "word/document.xml": "a Word document. Save the table as .xlsx or CSV",
    "ppt/presentation.xml": "a PowerPoint file. Save the table as .xlsx or CSV",
}
"""By a file that only this format holds."""

LITTER = re.compile(r"/$|^__MACOSX/|(^|/)(\.[^/]*|Thumbs\.db|desktop\.ini)$", re.I)
"""Folders, and the files that macOS and Windows leave in a folder."""


def _refuse_other_formats(archive: ZipFile) -> None:
    for name in archive.namelist():
        if name in OTHER_FORMATS:
            raise ImportRefused(f"this is {OTHER_FORMATS[name]}.")


def _only_member(archive: ZipFile) -> str:
    names = [name for name in archive.namelist() if not LITTER.search(name)]
    if len(names) != 1:
        held = ", ".join(ascii(name[:60]).strip("'\"") for name in names[:10]) or "nothing"
        raise ImportRefused(f"the archive must hold one file, but it holds {held}. Unpack it and name the right one.")
    return names[0]


def _workbook(archive: ZipFile, path: Path, budget: _Budget) -> dict[str, Problems]:
    """Write the workbook to `path` unpacked, so that its reader sees exactly the bytes that were checked here.

    Returns the cells without a value, by sheet.
    """
    checks = {}
    with ZipFile(path, "w") as copy:
        for name in dict.fromkeys(archive.namelist()):
            if not re.fullmatch(r"(\[Content_Types\]|_rels/.*|xl/.*)\.(xml|rels)", name):
                continue
            check = checks[name] = XmlCheck()
            with archive.open(name) as stream, copy.open(name, "w") as file:
                for chunk in _chunks(stream):
                    budget.spend(chunk)
                    check.feed(chunk)
                    file.write(chunk)
            check.feed(b"", final=True)
    return problems_by_sheet(checks)


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
