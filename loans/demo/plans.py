"""The loans of the demo: what each is, who reserves it, and what becomes of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from loans.demo.play import Play, Scene
from loans.demo.stories import (
    Story,
    cancels,
    is_canceled_by_staff,
    is_closed_at_settled,
    is_extended,
    is_extended_by_staff,
    is_withdrawn,
    is_withdrawn_as_draft,
    payment_is_returned,
    pays,
    pays_in_time_but_is_reported_late,
    pays_late,
    pays_too_little,
    pays_too_little_and_staff_accept,
    pays_too_much,
    pays_twice,
    reserves,
    starts_transfer,
    transfer_fails,
)

FIRST_DAY_OF_DRAFTS = -10


class Terms(NamedTuple):
    annual_rate_percent: str
    term_months: int
    loan_to_value_percent: str


@dataclass(frozen=True)
class LoanPlan:
    """A loan, and what becomes of it. Days are banking days: 0 is today, -1 the banking day before.

    `opens` is the day on which it opens, None for a draft that stays one; a loan whose day is to come is announced. It closes at 5 p.m.
    of the day `closes`. Each reservation is a day, thousands of dollars, and a story from stories.py; they are made in the order of
    their days, and within a day of this list. `waiting` are the entries of its waiting list: a day, thousands of dollars, and the least
    thousands that they take. `documents` are the titles of its documents, which staff add to the draft. The first investor watches the
    loan from the day `watched` on, if it names one. `facts` are further fields of the loan.
    """

    title: str
    address: str
    place: str
    terms: Terms
    thousands: int
    opens: int | None = None
    closes: int = 8
    reservations: tuple[tuple[int, int, Callable[[Story], Scene]], ...] = ()
    waiting: tuple[tuple[int, int, int], ...] = ()
    documents: tuple[str, ...] = ()
    watched: int | None = None
    by_staff: Callable[[Play, str], Scene] | None = None
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def is_announced(self) -> bool:
        """Whether it opens on a later day."""
        return self.opens is not None and self.opens > 0

    @property
    def created(self) -> int:
        """The day on which its draft is made."""
        return FIRST_DAY_OF_DRAFTS if self.opens is None or self.is_announced else self.opens


class OrderPlan(NamedTuple):
    """A standing order: the day on which it is kept, thousands of dollars, the least thousands, the cap in thousands, and criteria."""

    day: int
    thousands: int
    least: int
    cap: int
    criteria: dict[str, object]


# One for each of the last investors. They want only the last two loans, so that the stories of the others stay as they are.
STANDING_ORDERS = (
    OrderPlan(-4, 25, 5, 60, {"states": ["CO", "GA"], "least_rate": Decimal("7.50")}),
    OrderPlan(-4, 40, 10, 100, {"states": ["GA"], "greatest_ltv": Decimal("60.00")}),
    OrderPlan(-4, 50, 10, 50, {"states": ["CO", "GA"]}),
    OrderPlan(-3, 60, 20, 200, {"states": ["GA"]}),
    OrderPlan(-3, 60, 60, 200, {"states": ["CO", "GA"]}),
)

PLANS = (
    LoanPlan(
        "Beach duplex renovation",
        "1212 Highland Avenue",
        "Manhattan Beach, CA 90266",
        Terms("7.50", 12, "62.0"),
        thousands=480,
        opens=-12,
        closes=7,
        documents=("Appraisal",),
        reservations=(
            (-12, 100, pays),
            (-12, 60, pays),
            (-11, 25, cancels),
            (-10, 75, pays),
            (-8, 40, pays_too_much),
            (-6, 15, reserves),
            (-3, 50, starts_transfer),
            (-1, 30, starts_transfer),
            (0, 20, reserves),
        ),
    ),
    LoanPlan(
        "Brownstone on Henry Street",
        "310 Henry Street",
        "Brooklyn, NY 11201",
        Terms("6.90", 18, "58.5"),
        thousands=900,
        opens=-15,
        closes=4,
        reservations=(
            (-15, 250, pays),
            (-15, 200, pays),
            (-15, 180, pays),
            (-14, 120, pays),
            (-14, 90, pays),
            (-13, 50, pays),
            (-13, 40, pays_twice),
            (-13, 20, pays),
        ),
    ),
    LoanPlan(
        "Three-flat in Lincoln Park",
        "2140 North Cleveland Avenue",
        "Chicago, IL 60614",
        Terms("7.10", 15, "64.0"),
        thousands=350,
        opens=-13,
        closes=2,
        reservations=((-13, 100, pays), (-13, 120, pays), (-11, 80, pays), (-8, 40, pays), (-2, 6, starts_transfer), (0, 5, reserves)),
        waiting=((0, 8, 3), (0, 10, 10)),
    ),
    LoanPlan(
        "Townhouses off Westheimer",
        "5320 Locke Lane",
        "Houston, TX 77056",
        Terms("8.25", 12, "68.0"),
        thousands=250,
        opens=-11,
        closes=6,
        reservations=(
            (-11, 60, pays),
            (-10, 50, pays),
            (-9, 30, pays),
            (-4, 60, starts_transfer),
            (-3, 40, starts_transfer),
            (-3, 25, pays),
        ),
    ),
    LoanPlan(
        "Adobe ranch, Old Town",
        "7034 East 2nd Street",
        "Scottsdale, AZ 85251",
        Terms("8.75", 9, "60.0"),
        thousands=200,
        opens=-15,
        closes=-1,
        watched=0,
        reservations=((-14, 40, pays), (-12, 50, pays), (-9, 20, transfer_fails), (-3, 30, starts_transfer)),
    ),
    LoanPlan(
        "Mixed use on Pine Street",
        "119 Pine Street",
        "Seattle, WA 98101",
        Terms("7.80", 24, "61.5"),
        thousands=750,
        opens=-9,
        closes=9,
        facts={"settlement_rule": "first_funded", "minimum": Decimal("2500.00")},
        reservations=(
            (-9, 150, pays),
            (-8, 75, pays),
            (-7, 35, is_canceled_by_staff),
            (-5, 60, pays),
            (-2, 110, starts_transfer),
            (0, 45, starts_transfer),
            (0, 10, reserves),
        ),
    ),
    LoanPlan(
        "RiNo warehouse conversion",
        "2715 Larimer Street",
        "Denver, CO 80205",
        Terms("9.10", 10, "55.0"),
        thousands=300,
        opens=-8,
        closes=7,
        facts={"settlement_rule": "pro_rata"},
        reservations=((-8, 60, pays), (-7, 80, pays), (-5, 45, pays), (-2, 50, starts_transfer), (0, 25, reserves)),
    ),
    LoanPlan(
        "Midtown garden apartments",
        "845 Piedmont Avenue NE",
        "Atlanta, GA 30309",
        Terms("7.95", 12, "66.0"),
        thousands=220,
        opens=-13,
        closes=2,
        by_staff=is_withdrawn,
        reservations=((-13, 50, pays), (-12, 30, pays), (-10, 40, pays), (-8, 15, starts_transfer)),
    ),
    LoanPlan(
        "Two-family near Inman Square",
        "24 Tremont Street",
        "Cambridge, MA 02139",
        Terms("6.75", 18, "57.0"),
        thousands=400,
        opens=-15,
        closes=-5,
        by_staff=is_closed_at_settled,
        reservations=((-15, 120, pays), (-13, 90, pays), (-12, 70, pays), (-10, 35, transfer_fails), (-9, 20, starts_transfer)),
    ),
    LoanPlan(
        "Art Deco condominiums",
        "1020 Meridian Avenue",
        "Miami Beach, FL 33139",
        Terms("8.40", 12, "63.0"),
        thousands=600,
        opens=-14,
        closes=2,
        by_staff=is_extended,
        reservations=(
            (-14, 80, pays),
            (-13, 30, pays_late),
            (-12, 55, pays_too_little_and_staff_accept),
            (-10, 45, transfer_fails),
            (-9, 70, pays),
            (-8, 25, pays_in_time_but_is_reported_late),
            (-7, 12, reserves),
            (-6, 35, pays_twice),
            (-2, 20, pays_too_little),
            (-1, 90, starts_transfer),
            (0, 15, starts_transfer),
        ),
    ),
    LoanPlan(
        "Bungalow on Doctors Lake",
        "1860 Lakeshore Drive",
        "Fleming Island, FL 32003",
        Terms("8.10", 12, "59.0"),
        thousands=180,
        opens=-1,
        closes=14,
        documents=("Appraisal", "Purchase contract"),
        reservations=((-1, 10, starts_transfer), (0, 12, reserves), (0, 8, reserves), (0, 20, is_extended_by_staff)),
    ),
    LoanPlan(
        "South Congress cottages",
        "1507 Newning Avenue",
        "Austin, TX 78704",
        Terms("8.60", 9, "65.0"),
        thousands=320,
        opens=-7,
        closes=10,
        facts={"overbooking_rate": Decimal(0), "minimum": Decimal("5000.00")},
        reservations=((-7, 70, pays), (-6, 50, pays), (-4, 25, cancels), (-3, 90, starts_transfer), (-1, 40, starts_transfer)),
    ),
    LoanPlan(
        "Craftsman fourplex",
        "1129 Chapline Lane",
        "Nashville, TN 37203",
        Terms("8.05", 12, "62.5"),
        thousands=275,
    ),
    LoanPlan(
        "Pearl District lofts",
        "733 NW Everett Street",
        "Portland, OR 97209",
        Terms("7.65", 15, "61.0"),
        thousands=410,
        by_staff=is_withdrawn_as_draft,
    ),
    LoanPlan(
        "Main Street storefronts",
        "212 East Main Street",
        "Bozeman, MT 59715",
        Terms("8.90", 12, "54.0"),
        thousands=150,
        opens=-5,
        closes=12,
        reservations=((-5, 25, pays), (-4, 20, pays_too_much), (-1, 10, starts_transfer), (0, 5, reserves)),
    ),
    LoanPlan(
        "Bayside row houses",
        "1455 Kettner Boulevard",
        "San Diego, CA 92101",
        Terms("7.25", 12, "60.5"),
        thousands=240,
        opens=-14,
        closes=5,
        reservations=((-14, 100, pays), (-13, 80, pays), (-12, 60, payment_is_returned), (-5, 30, pays)),
    ),
    LoanPlan(
        "Bungalow court in Grant Park",
        "478 Cherokee Avenue SE",
        "Atlanta, GA 30312",
        Terms("7.95", 12, "63.0"),
        thousands=220,
        opens=-2,
        closes=13,
    ),
    LoanPlan(
        "Warehouse lofts on Blake Street",
        "2134 Blake Street",
        "Denver, CO 80205",
        Terms("8.35", 18, "61.0"),
        thousands=360,
        opens=2,
        closes=14,
        watched=-3,
    ),
)
