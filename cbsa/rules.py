"""Which CBSA does a ZIP code belong to, and which metropolitan area gives it a name? The rule, on plain values."""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from cbsa.errors import InvalidZip

NO_CBSA = "99999"
"""HUD's code for "in no CBSA". It takes part in the choice like any other."""

METROPOLITAN = "Metropolitan Statistical Area"
MICROPOLITAN = "Micropolitan Statistical Area"

ZIP_CODE = re.compile(r"([0-9]{5})(?:-?[0-9]{4})?")


class Share(NamedTuple):
    """How much of a ZIP's addresses lies in one CBSA: of all, residential, business and other ones, each from 0 to 1."""

    cbsa: str
    tot_ratio: float
    res_ratio: float
    bus_ratio: float
    oth_ratio: float


def rank(share: Share) -> tuple[float, float, str]:
    """The sorting key of a ZIP's shares, the one that wins first: highest TOT_RATIO, highest RES_RATIO, lowest code."""
    return -share.tot_ratio, -share.res_ratio, share.cbsa


def effective_cbsa(cbsa: str, divided: Mapping[str, str]) -> str:
    """The CBSA that a code stands for. `divided` leads from each metropolitan division to its CBSA."""
    return divided.get(cbsa, cbsa)


def growth_percent(population: Mapping[str, int]) -> float | None:
    """Growth from the year before to the latest year, in percent with two decimals; None where either is not known."""
    latest = max(population, default="")
    before = population.get(str(int(latest) - 1)) if latest else None
    if not before:
        return None
    change = Decimal(population[latest] - before) * 100 / before
    return float(change.quantize(Decimal("0.01"), ROUND_HALF_UP))


def five_digits(text: str) -> str:
    """The ZIP code of "90266", "90266-1234" or "902661234". Raises InvalidZip for anything else."""
    if match := ZIP_CODE.fullmatch(text.strip()):
        return match[1]
    shown = repr(text[:20])
    raise InvalidZip(f"{shown} is not a ZIP code: five digits such as 90266, or ZIP+4 such as 90266-1234.", zip=text[:20])
