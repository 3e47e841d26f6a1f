"""One way to write instants, deadlines, dollars and shares."""

from datetime import datetime
from decimal import Decimal

import pytest
import time_machine

from peerloans import wording
from peerloans.web import wording_filters


@pytest.mark.parametrize(
    ("at", "written"),
    [
        ("2026-12-04T22:00:00Z", "Dec 4, 5:00 pm ET"),
        ("2026-07-04T16:05:59Z", "Jul 4, 12:05 pm ET"),
        ("2026-12-04T05:00:00Z", "Dec 4, 12:00 am ET"),
        ("2027-01-01T04:59:00Z", "Dec 31, 11:59 pm ET"),
    ],
)
def test_an_instant_is_in_new_york_and_says_so(at: str, written: str) -> None:
    assert wording.instant_text(datetime.fromisoformat(at)) == written


@pytest.mark.parametrize(
    ("at", "written"),
    [
        ("2026-12-04T05:00:00Z", "11:59 pm ET, Thu Dec 3"),
        ("2026-07-04T04:00:00Z", "11:59 pm ET, Fri Jul 3"),
        ("2027-01-01T05:00:00Z", "11:59 pm ET, Thu Dec 31"),
        ("2026-11-02T05:00:00Z", "11:59 pm ET, Sun Nov 1"),  # the day on which clocks go back
        ("2026-12-04T22:00:00Z", "Dec 4, 5:00 pm ET"),
    ],
)
def test_a_deadline_at_midnight_is_the_last_minute_of_its_day(at: str, written: str) -> None:
    assert wording.deadline_text(datetime.fromisoformat(at)) == written


def test_an_email_names_the_year_and_a_page_only_another_one() -> None:
    at = datetime.fromisoformat("2026-12-04T05:00:00Z")
    assert wording_filters.deadline_with_year(at) == "11:59 pm ET, Thu Dec 3, 2026"
    with time_machine.travel("2026-12-01T12:00:00Z"):
        assert wording_filters.deadline(at) == "11:59 pm ET, Thu Dec 3"
    with time_machine.travel("2027-01-02T12:00:00Z"):
        assert wording_filters.deadline(at) == "11:59 pm ET, Thu Dec 3, 2026"
        assert wording_filters.instant(at) == "Dec 4, 2026, 12:00 am ET"


@pytest.mark.parametrize(
    ("amount", "written"),
    [("275000", "$275,000.00"), ("0.1", "$0.10"), ("-1234.5", "-$1,234.50"), ("999999999999.99", "$999,999,999,999.99")],
)
def test_dollars_have_a_sign_separators_and_cents(amount: str, written: str) -> None:
    assert wording.dollars_text(Decimal(amount)) == written


@pytest.mark.parametrize(("percent", "written"), [("8.50", "8.5 %"), ("62.25", "62.25 %"), ("100", "100 %"), ("0", "0 %")])
def test_percents_have_no_needless_zeros(percent: str, written: str) -> None:
    assert wording.percent_text(Decimal(percent)) == written
    assert wording.share_text(Decimal(percent) / 100) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("PL-0010 #6", '<span class="unbroken">PL-0010 #6</span>'),
        ("$5.00 of T-A2A6CC29DF81 <b>", '$5.00 of <span class="unbroken">T-A2A6CC29DF81</span> &lt;b&gt;'),
        ("PL-0001, PL-0002", '<span class="unbroken">PL-0001</span>, <span class="unbroken">PL-0002</span>'),
        ("well-known", "well-known"),
        ("", ""),
        (7, "7"),
    ],
)
def test_a_reference_stays_on_one_line(text: object, written: str) -> None:
    assert wording_filters.unbroken(text) == written
