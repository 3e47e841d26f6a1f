"""Read a statement in any of the formats; its content tells which one it is."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE

from loans.domain.errors import StatementRefused
from loans.statement_formats.bai2 import read_bai2
from loans.statement_formats.csv_columns import read_csv
from loans.statement_formats.lines import Statement
from loans.statement_formats.ofx import START, read_ofx

MOST_BYTES = 8 * 2**20
"""Of one file. OFX, the most verbose format, takes about 500 bytes a line."""


def read_statement(content: bytes) -> Statement:
    """Return the lines of the file, and those that cannot be read. A file with bad lines must not be booked.

    Raises:
        StatementRefused: nothing of the file can be trusted.
    """
    text = _decoded(content)
    if START.search(text):
        return read_ofx(text)
    if text.lstrip().startswith("01,"):
        return read_bai2(text.lstrip(" "))
    return read_csv(text)


def _decoded(content: bytes) -> str:
    """Return the text with single line feeds. It is UTF-8 or UTF-16 by its mark, or else UTF-8 or Windows-1252."""
    if len(content) > MOST_BYTES:
        raise StatementRefused(f"It has more than {MOST_BYTES // 2**20} MiB. Split it by days.")
    encoding = "utf-16" if content.startswith((BOM_UTF16_BE, BOM_UTF16_LE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    if not text.strip():
        raise StatementRefused("It is empty.")
    if "\0" in text:
        raise StatementRefused("It is not a text file. OFX, BAI2 and CSV are read.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
