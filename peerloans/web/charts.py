"""Draw series of numbers as SVG on the server, with the same numbers in a table beside the drawing.

Each function returns the HTML of a figure; the titles on one page must differ, because elements are named after them. A series
names a CSS class, and loans/static/loans/charts.css has the colours, for light and dark. The lines and areas of a plot are drawn
in a square of `SIDE` by `SIDE` units, which the page stretches to the figure; texts stand outside of it and keep their size.
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

from peerloans.wording import dollars_text

Number = Decimal | int | float
SIDE = 1000
TICKS = 5  # under the time axis
NAMES_UNDER_BARS = 8  # at most, so that they do not overlap on a phone
HOURS_SHOWN_UP_TO_SECONDS = 3 * 24 * 3600  # a shorter time axis shows hours, a longer one days


@dataclass(frozen=True)
class Series:
    """One value for each instant. `kind` is its CSS class: settled, pending, reserved, limit, amount, or first to fourth."""

    name: str
    kind: str
    values: Sequence[Number]


def curve(
    title: str,
    description: str,
    instants: Sequence[date],
    *,
    areas: Sequence[Series] = (),
    lines: Sequence[Series] = (),
    unit: str = "$",
    stepped: bool = True,
) -> SafeString:
    """Draw areas stacked on one another, and lines over them, against time. Empty where there are fewer than two instants.

    A stepped value holds until the next instant; otherwise a straight line leads to the next value.
    """
    if len(instants) < 2:
        return SafeString("")
    edges = _stack(areas, len(instants))
    values = [value for heights in [*edges, *(line.values for line in lines)] for value in heights]
    marks, top = _value_axis(max(map(Decimal, values)), unit)
    xs = _positions_in_time(instants)
    series = [*areas, *lines]
    rows = [[_instant_text(at), *(_full_text(each.values[index], unit) for each in series)] for index, at in enumerate(instants)]
    return _render(
        "curve",
        title,
        description,
        marks=marks,
        ticks=_time_axis(instants),
        areas=[
            {"series": area, "path": _closed_path(_corners(xs, upper, top, stepped), _corners(xs, lower, top, stepped))}
            for area, (lower, upper) in zip(areas, pairwise(edges), strict=True)
        ],
        lines=[{"series": line, "path": _open_path(_corners(xs, line.values, top, stepped))} for line in lines],
        key=series,
        columns=["", *(each.name for each in series)],
        rows=_changed_rows(rows),
    )


def against(
    title: str,
    description: str,
    column: str,
    positions: Sequence[Number],
    *,
    lines: Sequence[Series],
    uprights: Sequence[tuple[str, str, Number]] = (),
    unit: str = "%",
) -> SafeString:
    """Draw lines against evenly spaced positions, which have the same unit as the values. Empty where there are fewer than two.

    `column` names the positions in the table. Each upright line has a name, a kind as that of a series, and a position.
    """
    if len(positions) < 2:
        return SafeString("")
    marks, top = _value_axis(max(Decimal(value) for line in lines for value in line.values), unit)
    first, span = float(positions[0]), float(positions[-1]) - float(positions[0])
    xs = [SIDE * (float(position) - first) / span for position in positions]
    return _render(
        "curve",
        title,
        description,
        marks=marks,
        ticks=_ticks([short_text(first + span * number / (TICKS - 1), unit) for number in range(TICKS)]),
        lines=[{"series": line, "path": _open_path(_corners(xs, line.values, top, stepped=False))} for line in lines],
        uprights=[{"kind": kind, "x": f"{SIDE * (float(position) - first) / span:.1f}"} for _, kind, position in uprights],
        key=[*lines, *(Series(name, kind, []) for name, kind, _ in uprights)],
        columns=[column, *(line.name for line in lines)],
        rows=[
            [_full_text(position, unit), *(_full_text(line.values[index], unit) for line in lines)]
            for index, position in enumerate(positions)
        ],
    )


def bars(title: str, description: str, values: Sequence[tuple[str, Number]], *, unit: str = "") -> SafeString:
    """Draw a bar from zero up for each name. Empty where there are no values."""
    if not values:
        return SafeString("")
    marks, top = _value_axis(max(Decimal(value) for _, value in values), unit)
    slot_percent = 100 / len(values)
    names_apart = ceil(len(values) / NAMES_UNDER_BARS)
    last = len(values) - 1
    drawn = [
        {
            "x": f"{slot_percent * (number + 0.14):.2f}%",
            "width": f"{slot_percent * 0.72:.2f}%",
            "middle": f"{slot_percent * (number + 0.5):.2f}%",
            "y": f"{_y(value, top):.1f}",
            "height": f"{SIDE - _y(value, top):.1f}",
            "name": name if (last - number) % names_apart == 0 else "",
            "full": f"{name}: {_full_text(value, unit)}",
        }
        for number, (name, value) in enumerate(values)
    ]
    rows = [[name, _full_text(value, unit)] for name, value in values]
    return _render("bars", title, description, marks=marks, bars=drawn, columns=["", "Value"], rows=rows)


def funding(
    title: str, *, amount: Decimal, settled: Decimal, pending: Decimal, reserved: Decimal, limit: Decimal, key: bool = True
) -> SafeString:
    """Draw a loan's dollars on one bar: settled, pending, reserved, and free up to the limit, with a mark at the loan's amount.

    `limit` is on pending and reserved dollars together, and has a mark of its own. Without the key the bar fits into a table's row.
    """
    free = max(Decimal(0), limit - pending - reserved)
    parts = [("Settled", settled), ("Pending", pending), ("Reserved", reserved), ("Free", free)]
    width = max(amount, settled + pending + reserved + free) or Decimal(1)
    drawn, start = [], Decimal(0)
    for name, dollars in parts:
        drawn.append({"kind": name.lower(), "x": _percent(start, width), "width": _percent(dollars, width)})
        start += dollars
    legend = [(name, name.lower(), _full_text(dollars, "$")) for name, dollars in parts]
    legend += [("Limit of what may be claimed", "limit", _full_text(limit, "$")), ("Loan", "amount", _full_text(amount, "$"))]
    return _render(
        "funding",
        title,
        ", ".join(f"{name} {dollars}" for name, _, dollars in legend),
        parts=drawn,
        end=_percent(amount, width),
        limit=_percent(settled + limit, width),
        key=legend if key else [],
    )


def short_text(value: Number, unit: str = "") -> str:
    """Write a number as short as an axis needs it: 950, $12.5k, 1.25M, 12.5 %."""
    number, suffix = Decimal(value), ""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if abs(number) >= size:
            number, suffix = number / size, letter
            break
    digits = f"{number.quantize(Decimal('0.01')):f}".rstrip("0").rstrip(".")
    return _with_unit(digits + suffix, unit)


def _full_text(value: Number, unit: str) -> str:
    return dollars_text(Decimal(value)) if unit == "$" else _with_unit(f"{value:,}", unit)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} %" if unit == "%" else f"{unit}{text}"


def _instant_text(at: date) -> str:
    return f"{localtime(at):%Y-%m-%d %H:%M}" if isinstance(at, datetime) else f"{at:%Y-%m-%d}"


def _percent(part: Decimal, whole: Decimal) -> str:
    return f"{100 * part / whole:.2f}%"


# --- Geometry: x grows to the right, y downwards, both from 0 to SIDE ----------------------------------------------------
def _stack(areas: Sequence[Series], count: int) -> list[list[Decimal]]:
    """Return the heights at which the areas meet, from the bottom up: zero, the first, the first and the second, …"""
    edges = [[Decimal(0)] * count]
    for area in areas:
        edges.append([below + Decimal(value) for below, value in zip(edges[-1], area.values, strict=True)])
    return edges


def _positions_in_time(instants: Sequence[date]) -> list[float]:
    """Return the x of each instant; evenly spaced where all are the same."""
    first, seconds = instants[0], (instants[-1] - instants[0]).total_seconds()
    if not seconds:
        return [SIDE * index / (len(instants) - 1) for index in range(len(instants))]
    return [SIDE * (at - first).total_seconds() / seconds for at in instants]


def _y(value: Number, top: Decimal) -> float:
    return SIDE * (1 - float(value) / float(top))


def _corners(xs: Sequence[float], values: Sequence[Number], top: Decimal, stepped: bool) -> list[str]:
    """Return the corners of a line as "x,y". A stepped line has none where it stays at its value, except at its ends."""
    corners: list[str] = []
    for index, (x, value) in enumerate(zip(xs, values, strict=True)):
        before = values[index - 1] if index else value
        if stepped and value != before:
            corners.append(f"{x:.1f},{_y(before, top):.1f}")
        if not stepped or value != before or index in {0, len(values) - 1}:
            corners.append(f"{x:.1f},{_y(value, top):.1f}")
    return corners


def _open_path(corners: list[str]) -> str:
    return f"M{' '.join(corners)}"


def _closed_path(upper: list[str], lower: list[str]) -> str:
    """Return the outline of an area: along its upper edge, and back along its lower one."""
    return f"M{' '.join([*upper, *lower[::-1]])}Z"


# --- Axes -------------------------------------------------------------------------------------------------------------
def _value_axis(highest: Decimal, unit: str) -> tuple[list[dict[str, str]], Decimal]:
    """Return the marks of the axis, and the value at its top: about four round steps that reach at least the highest value."""
    rough_step = max(float(highest), 0.01) / 4
    magnitude = 10 ** floor(log10(rough_step))
    factors = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
    # The tolerance keeps a step that only rounding of floats makes too small.
    step = next(Decimal(str(magnitude)) * factor for factor in factors if magnitude * float(factor) >= rough_step * 0.9999)
    steps = ceil(highest / step) or 1
    marks = [{"y": f"{100 - 100 * number / steps:.2f}%", "text": short_text(step * number, unit)} for number in range(steps + 1)]
    return marks, step * steps


def _time_axis(instants: Sequence[date]) -> list[dict[str, str]]:
    """Return the ticks of the axis."""
    first, span = instants[0], instants[-1] - instants[0]
    with_hours = isinstance(first, datetime) and span.total_seconds() < HOURS_SHOWN_UP_TO_SECONDS
    texts = []
    for number in range(TICKS):
        at = first + span * number / (TICKS - 1)
        local = localtime(at) if isinstance(at, datetime) else at
        texts.append(f"{local:%a %H:%M}" if with_hours else f"{local:%b} {local.day}")
    return _ticks(texts)


def _ticks(texts: Sequence[str]) -> list[dict[str, str]]:
    """Return ticks with these texts, evenly spaced; the first and the last text stay within the drawing."""
    last = len(texts) - 1
    anchors = {0: "start", last: "end"}
    return [
        {"x": f"{100 * number / last:.0f}%", "anchor": anchors.get(number, "middle"), "text": text} for number, text in enumerate(texts)
    ]


def _changed_rows(rows: list[list[str]]) -> list[list[str]]:
    """Return the table's first and last row, and those between whose values differ from the row before."""
    return [row for number, row in enumerate(rows) if number in {0, len(rows) - 1} or row[1:] != rows[number - 1][1:]]


def _render(template: str, title: str, description: str, **context: object) -> SafeString:
    context |= {"name": f"chart-{slugify(title)}", "title": title, "description": description, "side": SIDE}
    return render_to_string(f"charts/{template}.html", context)
