"""How is a series of numbers drawn? As SVG by the server, with the same numbers in a table beside it.

Nothing is said here of colours: each series names a class of loans/static/loans/charts.css, which knows light and
dark. A drawing takes the width it is given and keeps the size of its words. Titles are to differ within a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from math import ceil, floor, log10

from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.text import slugify
from django.utils.timezone import localtime

Number = Decimal | int | float
WIDE, HIGH = 1000, 1000  # of the drawing itself, which is stretched to its frame
TICKS = 5


@dataclass(frozen=True)
class Series:
    """One value for each instant. `kind` is its class: settled, pending, reserved, limit, amount, or first to fourth."""

    name: str
    kind: str
    values: Sequence[Number]


def curve(
    title: str,
    told: str,
    instants: Sequence[date],
    *,
    areas: Sequence[Series] = (),
    lines: Sequence[Series] = (),
    unit: str = "$",
    stepped: bool = True,
) -> SafeString:
    """Areas stacked on one another, and lines before them, over time; nothing where there are no two instants.

    `told` says in a sentence what there is to be seen. A value holds until the next one, or is led to it where not `stepped`.
    """
    if len(instants) < 2:
        return SafeString("")
    stacked = [[Decimal(0)] * len(instants)]
    for area in areas:
        stacked.append([below + Decimal(value) for below, value in zip(stacked[-1], area.values, strict=True)])
    highest = max((Decimal(value) for values in [*stacked, *(line.values for line in lines)] for value in values), default=Decimal(0))
    marks, top = _axis(highest, unit)
    across = _across(instants)
    drawn_areas = []
    for area, (below, above) in zip(areas, pairwise(stacked), strict=True):
        edge = _path(across, above, top, stepped=stepped)
        back = _path(across, below, top, stepped=stepped)
        drawn_areas.append({"series": area, "path": "M" + " ".join(edge + back[::-1]) + "Z"})
    drawn_lines = [{"series": line, "path": "M" + " ".join(_path(across, line.values, top, stepped=stepped))} for line in lines]
    every = [*areas, *lines]
    context = {
        "marks": marks,
        "ticks": _ticks(instants),
        "areas": drawn_areas,
        "lines": drawn_lines,
        "key": every,
        "columns": ["", *(series.name for series in every)],
        "rows": _changes([[_when(at), *(_full(series.values[i], unit) for series in every)] for i, at in enumerate(instants)]),
    }
    return _drawn("curve", title, told, context)


def bars(title: str, told: str, values: Sequence[tuple[str, Number]], *, unit: str = "") -> SafeString:
    """A bar for each name, from zero up; nothing where there are no values."""
    if not values:
        return SafeString("")
    marks, top = _axis(max(Decimal(value) for _, value in values), unit)
    step = 100 / len(values)
    every = -(-len(values) // 8)  # so that the names under the bars do not meet on a phone
    drawn = [
        {
            "x": f"{step * (number + 0.14):.2f}%",
            "middle": f"{step * (number + 0.5):.2f}%",
            "width": f"{step * 0.72:.2f}%",
            "name": name if (len(values) - 1 - number) % every == 0 else "",
            "full": f"{name}: {_full(value, unit)}",
            "y": f"{_down(value, top):.1f}",
            "height": f"{HIGH - _down(value, top):.1f}",
        }
        for number, (name, value) in enumerate(values)
    ]
    rows = [[name, _full(value, unit)] for name, value in values]
    return _drawn("bars", title, told, {"marks": marks, "bars": drawn, "columns": ["", "Value"], "rows": rows})


def funding(
    title: str, *, amount: Decimal, settled: Decimal, pending: Decimal, reserved: Decimal, limit: Decimal, words: bool = True
) -> SafeString:
    """A loan's money on one bar: what has settled, what is pending and reserved, and what is free up to the limit.

    The limit is on what is pending and reserved. One mark stands where the loan ends, one where the limit does. `words` adds
    the key with the dollars, without them the bar is for a row of a table.
    """
    free = max(Decimal(0), limit - pending - reserved)
    parts = [Series("Settled", "settled", [settled]), Series("Pending", "pending", [pending]), Series("Reserved", "reserved", [reserved])]
    parts.append(Series("Free", "free", [free]))
    width = max(amount, settled + pending + reserved + free) or Decimal(1)
    drawn, start = [], Decimal(0)
    for part in parts:
        share = Decimal(part.values[0])
        drawn.append({"kind": part.kind, "x": f"{100 * start / width:.2f}%", "width": f"{100 * share / width:.2f}%"})
        start += share
    said = [(part.name, part.kind, _full(part.values[0], "$")) for part in parts]
    said += [("Limit of what may be claimed", "limit", _full(limit, "$")), ("Loan", "amount", _full(amount, "$"))]
    context = {
        "parts": drawn,
        "end": f"{100 * amount / width:.2f}%",
        "limit": f"{100 * (settled + limit) / width:.2f}%",
        "said": said,
        "words": words,
    }
    told = ", ".join(f"{name} {dollars}" for name, _, dollars in said)
    return _drawn("funding", title, told, context)


def short(value: Number, unit: str = "") -> str:
    """A number as an axis bears it: 950, 12.5k, 1.25M; a percentage with its sign behind it."""
    number = Decimal(value)
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(number) >= size:
            return _with(unit, f"{(number / size).quantize(Decimal('0.01')):f}".rstrip("0").rstrip(".") + letter)
    text = f"{number.quantize(Decimal('0.01')):f}"
    return _with(unit, text.rstrip("0").rstrip("."))


def _full(value: Number, unit: str) -> str:
    return _with(unit, f"{value:,.2f}" if unit == "$" else f"{value:,}")


def _with(unit: str, text: str) -> str:
    return f"{text} %" if unit == "%" else f"{unit}{text}"


def _axis(highest: Decimal, unit: str) -> tuple[list[dict[str, str]], Decimal]:
    """Round marks from zero up to at least the highest value, and where the drawing ends."""
    rough = max(float(highest), 0.01) / 4
    size = 10 ** floor(log10(rough))
    step = next(Decimal(str(size)) * factor for factor in (1, 2, Decimal("2.5"), 5, 10) if size * float(factor) >= rough * 0.9999)
    steps = ceil(highest / step) or 1
    top = step * steps
    return [{"y": f"{100 - 100 * number / steps:.2f}%", "text": short(step * number, unit)} for number in range(steps + 1)], top


def _across(instants: Sequence[date]) -> list[float]:
    start, whole = instants[0], (instants[-1] - instants[0]).total_seconds()
    return [WIDE * (at - start).total_seconds() / whole if whole else WIDE * i / (len(instants) - 1) for i, at in enumerate(instants)]


def _down(value: Number, top: Decimal) -> float:
    return HIGH * (1 - float(value) / float(top))


def _path(across: Sequence[float], values: Sequence[Number], top: Decimal, *, stepped: bool) -> list[str]:
    """The corners of a line; one that stays where it was needs none."""
    corners: list[str] = []
    for number, (x, value) in enumerate(zip(across, values, strict=True)):
        y = _down(value, top)
        if stepped and number and values[number - 1] != value:
            corners.append(f"{x:.1f},{_down(values[number - 1], top):.1f}")
        if not stepped or not number or number == len(across) - 1 or values[number - 1] != value:
            corners.append(f"{x:.1f},{y:.1f}")
    return corners


def _ticks(instants: Sequence[date]) -> list[dict[str, str]]:
    start, whole = instants[0], instants[-1] - instants[0]
    brief = isinstance(start, datetime) and whole.total_seconds() < 3 * 86400
    ticks = []
    for number in range(TICKS):
        at = start + whole * number / (TICKS - 1)
        local = localtime(at) if isinstance(at, datetime) else at
        text = f"{local:%a %H:%M}" if brief else f"{local:%b} {local.day}"
        anchor = "start" if number == 0 else "end" if number == TICKS - 1 else "middle"
        ticks.append({"x": f"{100 * number / (TICKS - 1):.0f}%", "anchor": anchor, "text": text})
    return ticks


def _when(at: date) -> str:
    return f"{localtime(at):%Y-%m-%d %H:%M}" if isinstance(at, datetime) else f"{at:%Y-%m-%d}"


def _changes(rows: list[list[str]]) -> list[list[str]]:
    """The rows that say something new, and the last."""
    return [row for number, row in enumerate(rows) if number in {0, len(rows) - 1} or row[1:] != rows[number - 1][1:]]


def _drawn(kind: str, title: str, told: str, context: dict[str, object]) -> SafeString:
    name = f"chart-{slugify(title)}"
    return render_to_string(f"charts/{kind}.html", {"name": name, "title": title, "told": told, "wide": WIDE, "high": HIGH, **context})
