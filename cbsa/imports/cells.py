"""Check one cell of the public files, and bring its text into one form. Each check raises ValueError with what is wrong."""

import re

from cbsa.rules import COUNTY, DIVISION, METROPOLITAN, MICROPOLITAN

LSADS = (METROPOLITAN, MICROPOLITAN, DIVISION, COUNTY)
RATIO_TOLERANCE = 1e-6
"""How far a ratio may lie outside of 0 to 1, as sums of rounded numbers do."""

INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200e\u200f\u00ad"))
"""Marks that spreadsheets and copying leave in a text: byte order marks, zero-width spaces, direction marks, soft hyphens."""

CONTROL = {code: bytes([code]).decode("cp1252", "replace") for code in range(0x80, 0xA0)}
"""The characters that Windows-1252 has where Latin-1 has control characters, which no name holds."""

FIVE_DIGITS = re.compile(r"[0-9]{5}")
PLAIN_RATIO = re.compile(r"[01]|[01]?\.[0-9]{1,20}")


def plain(text: str) -> str:
    """Return a text without invisible marks, and with one plain blank where it has no-break spaces or several blanks."""
    if not text.isascii():
        text = text.translate(INVISIBLE)
    return " ".join(text.split())


def check_code(column: str, text: str) -> str:
    """Return the five digits of a ZIP, a CBSA, a division or a county."""
    if not FIVE_DIGITS.fullmatch(text):
        text = plain(text)
        if not FIVE_DIGITS.fullmatch(text):
            hint = "; its leading zeros may have been lost in a spreadsheet" if text.isdigit() and len(text) < 5 else ""
            raise ValueError(f"{column} {text[:20]!r} is not five digits{hint}")
    return text


def check_ratio(column: str, text: str) -> float:
    """Return a share of addresses, from 0 to 1."""
    text = plain(text)
    try:
        ratio = float(text) if text.isascii() and "_" not in text else -1.0
    except ValueError:
        ratio = -1.0
    if not -RATIO_TOLERANCE <= ratio <= 1 + RATIO_TOLERANCE:
        raise ValueError(f"{column} {text[:20]!r} is not a number from 0 to 1")
    return min(ratio, 1.0) if ratio > 0 else 0.0


def check_people(column: str, text: str) -> int:
    """Return a number of people."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError(f"{column} {text[:20]!r} is not a number of people")
    return int(text)


def check_text(column: str, text: str) -> str:
    """Return a name of 1 to 100 characters, those of Windows-1252 decoded."""
    if not 0 < len(text) <= 100:
        raise ValueError(f"{column} has {len(text)} characters, which is not from 1 to 100")
    return text.translate(CONTROL) if not text.isascii() else text


def known_kind(text: str) -> str:
    """Return LSAD, with the kinds that the rule knows in one spelling."""
    return next((kind for kind in LSADS if kind.casefold() == text.casefold()), text)


def decoding_doubt(name: str) -> str:
    """Return why a name looks wrongly decoded; "" where it does not."""
    if "\N{REPLACEMENT CHARACTER}" in name:
        return f"NAME {name[:60]!r} has a letter that could not be decoded (U+FFFD)"
    try:
        repaired = name.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return ""
    return f"NAME {name[:60]!r} looks wrongly decoded; it may be meant as {repaired[:60]!r}"


def is_caption(row: list[str]) -> bool:
    """Return whether the row is blank or holds one text and no figures, as captions of the Census Bureau do."""
    filled = [cell for cell in row if cell and not cell.isspace()]
    return not filled or (len(filled) == 1 and not filled[0].strip()[0].isdigit())
