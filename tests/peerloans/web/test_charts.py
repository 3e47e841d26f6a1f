"""Charts are drawn as SVG; the tests read positions and texts out of it."""

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from peerloans.web import charts
from peerloans.web.charts import Series

DAYS = [date(2026, 11, day) for day in (2, 3, 6)]


@pytest.mark.parametrize(
    ("number", "unit", "text"),
    [
        (0, "$", "$0"),
        (950, "", "950"),
        (Decimal("12500.00"), "$", "$12.5k"),
        (1_250_000, "", "1.25M"),
        (2_000_000_000, "$", "$2B"),
        (12.5, "%", "12.5 %"),
    ],
)
def test_numbers_are_shortened_for_an_axis(number: charts.Number, unit: str, text: str) -> None:
    assert charts.short_text(number, unit) == text


def test_areas_are_stacked_and_step_where_they_change() -> None:
    lower, upper = Series("Settled", "settled", [0, 50, 50]), Series("Pending", "pending", [100, 50, 0])
    drawn = charts.curve("Fill", "How it filled.", DAYS, areas=[lower, upper])
    assert '<path class="area settled" d="M0.0,1000.0 250.0,1000.0 250.0,500.0 1000.0,500.0 1000.0,1000.0 0.0,1000.0Z"/>' in drawn
    assert re.findall(r'class="mark-text"[^>]*>([^<]*)<', drawn) == ["$25", "$50", "$75", "$100"]
    assert re.findall(r'class="tick"[^>]*>([^<]*)<', drawn) == ["Nov 2", "Nov 3", "Nov 4", "Nov 5", "Nov 6"]


def test_a_curve_has_a_description_a_table_and_no_inline_style() -> None:
    line = Series("<b>", "limit", [1, 1, 2])
    drawn = charts.curve("Fill", "How it filled.", DAYS, lines=[line], unit="%", stepped=False)
    assert 'role="img" aria-labelledby="chart-fill-title chart-fill-desc"' in drawn
    assert '<desc id="chart-fill-desc">How it filled.</desc>' in drawn
    assert '<tr><th scope="row">2026-11-06</th><td>2 %</td></tr>' in drawn
    assert "2026-11-03" not in drawn, "a row whose values are those of the row before"
    assert "<b>" not in drawn
    assert "style=" not in drawn


def test_instants_are_written_in_new_york_time() -> None:
    start = datetime(2026, 11, 2, 12, tzinfo=ZoneInfo("UTC"))
    drawn = charts.curve("Fill", "", [start, start + timedelta(hours=8)], lines=[Series("A", "first", [1, 2])])
    assert "Mon 07:00" in drawn
    assert "2026-11-02 15:00" in drawn


@pytest.mark.parametrize("highest", [0, Decimal("0.01"), 3, 99, 100, 120_000, 13_340_068])
def test_the_axis_reaches_the_highest_value(highest: charts.Number) -> None:
    drawn = charts.bars("People", "", [("2014", 0), ("2015", highest)])
    tops = [float(y) for y in re.findall(r'<rect[^>]* y="([^"]*)"', drawn)]
    assert min(tops) >= 0
    assert 2 <= drawn.count('class="mark"') <= 6


def test_the_funding_bar_marks_the_loan_and_the_limit() -> None:
    amounts = {
        name: Decimal(dollars) for name, dollars in (("amount", 100), ("settled", 50), ("pending", 20), ("reserved", 10), ("limit", 60))
    }
    drawn = charts.funding("Funding of PL-1", **amounts)
    widths = re.findall(r'class="area (\w+)" x="([\d.]+)%" width="([\d.]+)%"', drawn)
    assert widths == [
        ("settled", "0.00", "45.45"),
        ("pending", "45.45", "18.18"),
        ("reserved", "63.64", "9.09"),
        ("free", "72.73", "27.27"),
    ]
    assert '<line class="line amount" x1="90.91%"' in drawn
    assert '<line class="line limit" x1="100.00%"' in drawn
    assert "Free $30.00" in drawn


def test_reservations_over_a_limit_that_shrank_leave_nothing_free() -> None:
    amounts = {
        name: Decimal(dollars) for name, dollars in (("amount", 100), ("settled", 90), ("pending", 40), ("reserved", 0), ("limit", 12))
    }
    assert "Free $0.00" in charts.funding("Funding of PL-1", **amounts)


def test_without_values_nothing_is_drawn() -> None:
    assert charts.curve("Fill", "", DAYS[:1], lines=[Series("A", "first", [1])]) == ""
    assert charts.bars("People", "", []) == ""


def test_lines_against_a_rate_have_uprights_a_table_and_ticks() -> None:
    lines = [Series("Chance", "third", [0, Decimal("12.5"), 100]), Series("Unsold", "first", [10, 5, 0])]
    drawn = charts.against("Rates", "At each rate.", "Rate", [0, 50, 100], lines=lines, uprights=[("Present rate", "amount", 20)])
    assert '<path class="line amount" d="M200.0,0 200.0,1000"/>' in drawn
    assert '<path class="line third" d="M0.0,1000.0 500.0,875.0 1000.0,0.0"/>' in drawn
    assert re.findall(r'class="tick"[^>]*>([^<]*)<', drawn) == ["0 %", "25 %", "50 %", "75 %", "100 %"]
    assert '<li class="amount">Present rate</li>' in drawn
    assert '<th scope="row">50 %</th><td>12.5 %</td><td>5 %</td>' in drawn
    assert "style=" not in drawn
    assert charts.against("Rates", "At each rate.", "Rate", [0], lines=lines) == ""
