"""Choose the CBSA of a ZIP code and the metropolitan area that gives it a name: the rule, on plain values.

Sources: HUD, "USPS ZIP Code Crosswalk Files" (TOT_RATIO, RES_RATIO and the code 99999); Census Bureau, "Annual Estimates of the
Resident Population for Metropolitan and Micropolitan Statistical Areas" (CBSA, MDIV, LSAD); the areas themselves are those of
OMB Bulletin 13-01, "Revised Delineations of Metropolitan Statistical Areas, Micropolitan Statistical Areas, and Combined
Statistical Areas" (2013), and of its successors.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import NamedTuple

from cbsa.errors import InvalidZip

NO_CBSA = "99999"
"""HUD's code for addresses in no CBSA. The choice treats it like any other code."""

METROPOLITAN = "Metropolitan Statistical Area"
MICROPOLITAN = "Micropolitan Statistical Area"
DIVISION = "Metropolitan Division"
COUNTY = "County or equivalent"
"""The kinds of area (LSAD) that the census file has."""


class Kind(StrEnum):
    """What kind of area a code is, and so why a ZIP has no MSA."""

    METROPOLITAN = "metropolitan"
    MICROPOLITAN = "micropolitan"
    DIVISION = "division"  # of a metropolitan area; never the kind of a ZIP
    NONE = "none"  # HUD says that the ZIP lies in no CBSA
    ABSENT = "absent"  # a CBSA that the census file lacks


KINDS = {METROPOLITAN: Kind.METROPOLITAN, MICROPOLITAN: Kind.MICROPOLITAN, DIVISION: Kind.DIVISION}


def kind_of(code: str, lsad: str | None) -> Kind:
    """Return the kind of a CBSA or division, given the LSAD of its row in the census file, or None where that lacks it."""
    return KINDS[lsad] if lsad else Kind.NONE if code == NO_CBSA else Kind.ABSENT


ZIP_CODE = re.compile(r"([0-9]{5})(?:-?[0-9]{4})?")


class Share(NamedTuple):
    """The shares of a ZIP's addresses in one CBSA, each from 0 to 1: of all, of residential, of business and of other ones."""

    cbsa: str
    tot_ratio: float
    res_ratio: float
    bus_ratio: float
    oth_ratio: float


def rank(share: Share) -> tuple[float, float, str]:
    """Return a sorting key that puts the deciding share first: highest TOT_RATIO, then highest RES_RATIO, then lowest code."""
    return -share.tot_ratio, -share.res_ratio, share.cbsa


def effective_cbsa(cbsa: str, divided: Mapping[str, str]) -> str:
    """Return the CBSA of a code, which may be a metropolitan division's. `divided` maps each division to its CBSA."""
    return divided.get(cbsa, cbsa)


def growth_percent(population: Mapping[str, int]) -> float | None:
    """Return the growth from the year before to the latest year, in percent with two decimals; None where either is unknown."""
    latest = max(population, default="")
    before = population.get(str(int(latest) - 1)) if latest else None
    if not before:
        return None
    change = Decimal(population[latest] - before) * 100 / before
    return float(change.quantize(Decimal("0.01"), ROUND_HALF_UP))


def five_digits(text: str) -> str:
    """Return the five digits of "90266", "90266-1234" or "902661234".

    Raises:
        InvalidZip: the text is anything else.
    """
    if match := ZIP_CODE.fullmatch(text.strip()):
        return match[1]
    shown = repr(text[:20])
    raise InvalidZip(f"{shown} is not a ZIP code: five digits such as 90266, or ZIP+4 such as 90266-1234.", zip=text[:20])
