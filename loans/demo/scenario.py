"""What does a newcomer find? Loans and investors of about three weeks, played through the services in the order of time.

Every instant, past or coming, is a minute of a banking day: 0 is today, whatever day that is, -1 the banking day before
it, 1 the one after it. The deadlines for money count in banking days too, so weekends, holidays and changes of clocks
alter nothing: the same happens in the same order on every day. Sums are thousands of dollars. Today's events are spread
over the part of today that has passed.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import NamedTuple

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Concat

from loans import remaining_cache
from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK, banking_days_after, closed_banking_days, new_york_day
from loans.domain.states import Direction, LoanStatus, State, TransferStatus
from loans.models import Investor, Loan, Reservation, Transfer
from loans.notifications import outbox
from loans.selectors.loans import all_loan_ids
from loans.services.closing_values import record_due_closing_values
from loans.services.expiry import expire_due
from loans.services.loans import close_loan_at_settled, create_loan, extend_loan, open_loan, withdraw_loan
from loans.services.payments import Notice, record_bank_event
from loans.services.reservations import cancel_reservation, reserve, start_transfer
from loans.services.settlement import settle_due
from loans.services.staff_overrides import accept_amount, cancel_by_staff, extend_reservation

PASSWORD = "demo"  # noqa: S105  of a machine of one's own; the command refuses any other
FIRST_DAY, LAST_DAY = -15, 14
SEED = 90266

NAMES = (
    "Alice Moreau",
    "Bayview Capital LLC",
    "Carlos Ibarra",
    "Dana Whitfield",
    "Elm Street Partners",
    "Farid Haddad",
    "Grace Okafor",
    "Harbor Family Trust",
    "Ingrid Solberg",
    "Juniper Holdings",
    "Kenji Watanabe",
    "Lena Petrova",
    "Mesa Verde Fund I",
    "Noah Feldman",
    "Olive Tree Ventures",
    "Priya Raman",
    "Quarry Lane LP",
    "Rosa Delgado",
    "Samuel Adeyemi",
    "Thistle & Sons",
)


class Moment(NamedTuple):
    """A minute of a banking day, in New York."""

    day: int
    minute: int

    def later(self, *, days: int = 0, minutes: int = 0) -> "Moment":
        """On the same day so many minutes later, or at ten in the morning some banking days later and so many minutes."""
        return Moment(self.day + days, (10 * 60 if days else self.minute) + minutes)


Scene = Iterator[Moment]
"""Does something, and says when it goes on."""


class Play:
    """Scenes resumed in the order of their moments, with the scheduled jobs in between."""

    def __init__(self, now: datetime, staff_id: int) -> None:
        self.now = now
        self.at = now
        self.moment = Moment(FIRST_DAY, 0)
        self.staff = Actor("staff", staff_id)
        today = new_york_day(now)
        self._midnight = datetime.combine(today, time(), NEW_YORK).astimezone(UTC)
        self._days = [*closed_banking_days(self._midnight, -FIRST_DAY), today, *banking_days_after(today, LAST_DAY)]
        self._random = Random(SEED)  # noqa: S311  nothing secret
        self._order = count()
        self._coming: list[tuple[datetime, Moment, int, Scene]] = []

    def instant(self, moment: Moment) -> datetime:
        """Return the moment in UTC, where subtracting and comparing disregard changes of New York's clocks."""
        if moment.day == 0:
            return self._midnight + (self.now - self._midnight) * moment.minute / (24 * 60)
        midnight = datetime.combine(self._days[moment.day - FIRST_DAY], time(), NEW_YORK)
        return (midnight + timedelta(minutes=moment.minute)).astimezone(UTC)

    def some(self, least: int, most: int) -> int:
        return self._random.randint(least, most)

    def pick(self, investors: list[Investor], number: int) -> list[Investor]:
        return self._random.sample(investors, number)

    def enter(self, moment: Moment, scene: Scene) -> None:
        heapq.heappush(self._coming, (self.instant(moment), moment, next(self._order), scene))

    def watch(self, reservation: Reservation) -> None:
        """Have the expire job look at the minute after the reservation's time has run out."""
        if reservation.expires_at:
            heapq.heappush(self._coming, (reservation.expires_at + timedelta(minutes=1), self.moment, next(self._order), self._expire()))

    def _expire(self) -> Scene:
        expire_due(self.at)
        yield from ()

    def run(self) -> None:
        """Until the present."""
        while self._coming and self._coming[0][0] <= self.now:
            self.at, self.moment, _, scene = heapq.heappop(self._coming)
            if moment := next(scene, None):
                self.enter(moment, scene)


@dataclass
class Piece:
    """One investor's story with one piece of a loan."""

    play: Play
    reference: str
    investor: Investor
    amount: Decimal

    def reserve(self) -> Reservation:
        self.reservation = reserve(reference=self.reference, investor=self.investor, amount=self.amount, now=self.play.at)
        self.play.watch(self.reservation)
        return self.reservation

    def start(self) -> None:
        method = "wire" if self.amount >= 50_000 else "ach"
        self.reservation = start_transfer(reservation_id=self.reservation.pk, method=method, actor=self.actor, now=self.play.at)
        self.play.watch(self.reservation)

    def bank_says(self, kind: str, amount: Decimal | None = None, *, earlier: timedelta = timedelta(minutes=4)) -> None:
        transfer = Transfer.objects.filter(reservation=self.reservation, direction=Direction.INBOUND).earliest("created_at", "payment")
        say(self.play, kind, transfer.reference, amount or self.amount, earlier)

    @property
    def actor(self) -> Actor:
        return Actor("investor", self.investor.user_id)


def say(play: Play, kind: str, reference: str, amount: Decimal, earlier: timedelta) -> None:
    """The bank tells of something that happened a little earlier; the settle job follows at once."""
    number = f"evt-{reference}-{kind}-{play.at:%m%d%H%M}"
    record_bank_event(Notice(number, kind, reference, amount, play.at - earlier), now=play.at)  # type: ignore[arg-type]
    settle_due(play.at)


# --- Investors' stories -----------------------------------------------------------------------------------------------
Ending = Callable[[Piece], Scene]


def reserves(piece: Piece) -> Scene:
    piece.reserve()
    yield from ()


def starts(piece: Piece) -> Scene:
    piece.reserve()
    yield piece.play.moment.later(minutes=piece.play.some(20, 200))
    piece.start()


def lets_go(piece: Piece) -> Scene:
    piece.reserve()
    yield piece.play.moment.later(minutes=piece.play.some(30, 300))
    cancel_reservation(reservation_id=piece.reservation.pk, actor=piece.actor, investor_id=piece.investor.pk, now=piece.play.at)


def pays(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=piece.play.some(1, 2), minutes=piece.play.some(0, 200))
    piece.bank_says("transfer.cleared")


def fails(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=2, minutes=piece.play.some(0, 200))
    piece.bank_says("transfer.failed")


def pays_and_takes_back(piece: Piece) -> Scene:
    yield from pays(piece)
    yield piece.play.moment.later(days=3)
    piece.bank_says("transfer.failed")


def pays_late(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=6)
    piece.bank_says("transfer.cleared")


def pays_in_time_but_is_heard_late(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=6)
    in_time = piece.play.instant(Moment(piece.play.moment.day - 1, 16 * 60))
    piece.bank_says("transfer.cleared", earlier=piece.play.at - in_time)


def pays_twice(piece: Piece) -> Scene:
    yield from pays(piece)
    yield piece.play.moment.later(days=1)
    piece.bank_says("transfer.cleared")


def pays_too_much(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=2)
    piece.bank_says("transfer.cleared", piece.amount + 500)


def pays_too_little(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=1)
    piece.bank_says("transfer.cleared", piece.amount - 250)


def pays_too_little_and_staff_accept(piece: Piece) -> Scene:
    yield from pays_too_little(piece)
    yield piece.play.moment.later(minutes=180)
    accept_amount(
        reservation_id=piece.reservation.pk, actor=piece.play.staff, reason="The bank kept its fee; agreed on the phone.", now=piece.play.at
    )
    settle_due(piece.play.at)


def is_canceled_by_staff(piece: Piece) -> Scene:
    yield from starts(piece)
    yield piece.play.moment.later(days=1)
    cancel_by_staff(
        reservation_id=piece.reservation.pk, actor=piece.play.staff, reason="The investor asked for it by e-mail.", now=piece.play.at
    )


def gets_more_time(piece: Piece) -> Scene:
    piece.reserve()
    yield piece.play.moment.later(minutes=120)
    piece.reservation = extend_reservation(
        reservation_id=piece.reservation.pk,
        expires_at=piece.play.at + timedelta(days=7),
        actor=piece.play.staff,
        reason="The firm's board meets next week.",
        now=piece.play.at,
    )
    piece.play.watch(piece.reservation)


# --- Loans ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Plan:
    """A loan's facts, and what becomes of it. `pieces` are (day, thousands of dollars, story), in queue order."""

    title: str
    address: str
    place: str
    terms: str
    """Percent a year, months, loan to value in percent."""
    thousands: int
    opens: int | None = None
    closes: int = 8
    """At five in the afternoon of this banking day."""
    pieces: tuple[tuple[int, int, Ending], ...] = ()
    more: dict[str, object] = field(default_factory=dict)
    staff: Callable[[Play, str], Scene] | None = None


def withdrawn(play: Play, reference: str) -> Scene:
    yield Moment(-7, 15 * 60)
    withdraw_loan(reference=reference, actor=play.staff, reason="The borrower has sold the house.", now=play.at)


def withdrawn_at_once(play: Play, reference: str) -> Scene:
    yield Moment(-9, 11 * 60)
    withdraw_loan(reference=reference, actor=play.staff, reason="The appraisal came in too low.", now=play.at)


def closed_at_settled(play: Play, reference: str) -> Scene:
    yield Moment(-4, 14 * 60)
    close_loan_at_settled(reference=reference, actor=play.staff, reason="The borrower takes what is there.", now=play.at)


def extended(play: Play, reference: str) -> Scene:
    yield Moment(-3, 9 * 60)
    closes_at = play.instant(Moment(12, 17 * 60))
    extend_loan(reference=reference, closes_at=closes_at, actor=play.staff, reason="Two more weeks for the last third.", now=play.at)


PLANS = (
    Plan(
        "Beach duplex renovation",
        "1212 Highland Avenue",
        "Manhattan Beach, CA 90266",
        "7.50 12 62.0",
        480,
        opens=-12,
        closes=7,
        pieces=(
            (-12, 100, pays),
            (-12, 60, pays),
            (-11, 25, lets_go),
            (-10, 75, pays),
            (-8, 40, pays_too_much),
            (-6, 15, reserves),
            (-3, 50, starts),
            (-1, 30, starts),
            (0, 20, reserves),
        ),
    ),
    Plan(
        "Brownstone on Henry Street",
        "310 Henry Street",
        "Brooklyn, NY 11201",
        "6.90 18 58.5",
        900,
        opens=-15,
        closes=4,
        pieces=(
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
    Plan(
        "Three-flat in Lincoln Park",
        "2140 North Cleveland Avenue",
        "Chicago, IL 60614",
        "7.10 15 64.0",
        350,
        opens=-13,
        closes=2,
        pieces=((-13, 100, pays), (-13, 120, pays), (-11, 80, pays), (-8, 40, pays), (-2, 6, starts), (0, 5, reserves)),
    ),
    Plan(
        "Townhouses off Westheimer",
        "5320 Locke Lane",
        "Houston, TX 77056",
        "8.25 12 68.0",
        250,
        opens=-11,
        closes=6,
        pieces=(
            (-11, 60, pays),
            (-10, 50, pays),
            (-9, 30, pays),
            (-4, 60, starts),
            (-3, 40, starts),
            (-3, 25, pays),
        ),
    ),
    Plan(
        "Adobe ranch, Old Town",
        "7034 East 2nd Street",
        "Scottsdale, AZ 85251",
        "8.75 9 60.0",
        200,
        opens=-15,
        closes=-1,
        pieces=((-14, 40, pays), (-12, 50, pays), (-9, 20, fails), (-3, 30, starts)),
    ),
    Plan(
        "Mixed use on Pine Street",
        "119 Pine Street",
        "Seattle, WA 98101",
        "7.80 24 61.5",
        750,
        opens=-9,
        closes=9,
        more={"settlement_rule": "first_funded", "minimum": Decimal("2500.00")},
        pieces=(
            (-9, 150, pays),
            (-8, 75, pays),
            (-7, 35, is_canceled_by_staff),
            (-5, 60, pays),
            (-2, 110, starts),
            (0, 45, starts),
            (0, 10, reserves),
        ),
    ),
    Plan(
        "RiNo warehouse conversion",
        "2715 Larimer Street",
        "Denver, CO 80205",
        "9.10 10 55.0",
        300,
        opens=-8,
        closes=7,
        more={"settlement_rule": "pro_rata"},
        pieces=((-8, 60, pays), (-7, 80, pays), (-5, 45, pays), (-2, 50, starts), (0, 25, reserves)),
    ),
    Plan(
        "Midtown garden apartments",
        "845 Piedmont Avenue NE",
        "Atlanta, GA 30309",
        "7.95 12 66.0",
        220,
        opens=-13,
        closes=2,
        staff=withdrawn,
        pieces=((-13, 50, pays), (-12, 30, pays), (-10, 40, pays), (-8, 15, starts)),
    ),
    Plan(
        "Two-family near Inman Square",
        "24 Tremont Street",
        "Cambridge, MA 02139",
        "6.75 18 57.0",
        400,
        opens=-15,
        closes=-5,
        staff=closed_at_settled,
        pieces=((-15, 120, pays), (-13, 90, pays), (-12, 70, pays), (-10, 35, fails), (-9, 20, starts)),
    ),
    Plan(
        "Art Deco condominiums",
        "1020 Meridian Avenue",
        "Miami Beach, FL 33139",
        "8.40 12 63.0",
        600,
        opens=-14,
        closes=2,
        staff=extended,
        pieces=(
            (-14, 80, pays),
            (-13, 30, pays_late),
            (-12, 55, pays_too_little_and_staff_accept),
            (-10, 45, fails),
            (-9, 70, pays),
            (-8, 25, pays_in_time_but_is_heard_late),
            (-7, 12, reserves),
            (-6, 35, pays_twice),
            (-2, 20, pays_too_little),
            (-1, 90, starts),
            (0, 15, starts),
        ),
    ),
    Plan(
        "Bungalow on Doctors Lake",
        "1860 Lakeshore Drive",
        "Fleming Island, FL 32003",
        "8.10 12 59.0",
        180,
        opens=-1,
        closes=14,
        pieces=((-1, 10, starts), (0, 12, reserves), (0, 8, reserves), (0, 20, gets_more_time)),
    ),
    Plan(
        "South Congress cottages",
        "1507 Newning Avenue",
        "Austin, TX 78704",
        "8.60 9 65.0",
        320,
        opens=-7,
        closes=10,
        more={"overbooking_rate": Decimal(0), "minimum": Decimal("5000.00")},
        pieces=((-7, 70, pays), (-6, 50, pays), (-4, 25, lets_go), (-3, 90, starts), (-1, 40, starts)),
    ),
    Plan(
        "Craftsman fourplex",
        "1129 Chapline Lane",
        "Nashville, TN 37203",
        "8.05 12 62.5",
        275,
    ),
    Plan(
        "Pearl District lofts",
        "733 NW Everett Street",
        "Portland, OR 97209",
        "7.65 15 61.0",
        410,
        staff=withdrawn_at_once,
    ),
    Plan(
        "Main Street storefronts",
        "212 East Main Street",
        "Bozeman, MT 59715",
        "8.90 12 54.0",
        150,
        opens=-5,
        closes=12,
        pieces=((-5, 25, pays), (-4, 20, pays_too_much), (-1, 10, starts), (0, 5, reserves)),
    ),
    Plan(
        "Bayside row houses",
        "1455 Kettner Boulevard",
        "San Diego, CA 92101",
        "7.25 12 60.5",
        240,
        opens=-14,
        closes=5,
        pieces=((-14, 100, pays), (-13, 80, pays), (-12, 60, pays_and_takes_back), (-5, 30, pays)),
    ),
)


def fill(now: datetime) -> None:
    """Make the demo's people and loans, and play everything up to `now`. The tables of loans must be empty."""
    staff, investors = _people(now)
    play = Play(now, staff)
    for number, plan in enumerate(PLANS, start=1):
        reference = f"PL-{number:04}"
        play.enter(Moment(plan.opens or -10, 7 * 60 + number), _loan(play, plan, reference))
        if plan.staff:
            play.enter(Moment(plan.opens or -10, 7 * 60 + number), plan.staff(play, reference))
        for position, (piece, investor) in enumerate(zip(plan.pieces, play.pick(investors, len(plan.pieces)), strict=True)):
            day, thousands, story = piece
            moment = Moment(day, 8 * 60 + position * 30 + play.some(0, 29))
            play.enter(moment, story(Piece(play, reference, investor, Decimal(thousands * 1000))))
    for day in (-8, -5, -3):
        play.enter(Moment(day, 16 * 60), _pay_refunds(play))
    for moment in (Moment(-6, 18 * 60), Moment(0, 24 * 60)):  # each time of ten banking days, as after a pause; today's if it has closed
        play.enter(moment, _keep_closing_values(play))
    play.run()
    transaction.on_commit(_show_remaining, robust=True)


def _people(now: datetime) -> tuple[int, list[Investor]]:
    """The id of staff's user, and the investors. All share one hash of the password, which is slow to make."""
    users = get_user_model().objects
    password, joined = make_password(PASSWORD), now - timedelta(days=60)
    staff = users.create(
        username="staff",
        first_name="Staff",
        email="staff@example.com",
        is_staff=True,
        is_superuser=True,
        password=password,
        date_joined=joined,
    )
    made = users.bulk_create(
        users.model(username=f"investor{number}", password=password, date_joined=joined) for number in range(1, len(NAMES) + 1)
    )
    accredited_until = new_york_day(now) + timedelta(days=365)
    investors = Investor.objects.bulk_create(
        Investor(user=user, name=name, accredited_until=accredited_until) for user, name in zip(made, NAMES, strict=True)
    )
    return staff.pk, investors


def _loan(play: Play, plan: Plan, reference: str) -> Scene:
    city, _, state_and_zip = plan.place.partition(", ")
    state, zip_code = state_and_zip.split()
    annual_rate, term_months, ltv = plan.terms.split()
    loan = Loan(
        reference=reference,
        title=plan.title,
        address=plan.address,
        city=city,
        state=state,
        zip=zip_code,
        annual_rate=Decimal(annual_rate),
        term_months=int(term_months),
        ltv=Decimal(ltv),
        amount=Decimal(plan.thousands * 1000),
        **plan.more,
    )
    create_loan(loan, actor=play.staff, now=play.at)
    if plan.opens is not None:
        yield play.moment.later(minutes=20)
        closes_at = play.instant(Moment(plan.closes, 17 * 60))
        open_loan(reference=reference, actor=play.staff, closes_at=closes_at, now=play.at)


def _pay_refunds(play: Play) -> Scene:
    """The bank pays what is due by now."""
    for refund in Transfer.objects.filter(status=TransferStatus.DUE).order_by("created_at", "amount"):
        say(play, "refund.paid", refund.reference, refund.amount, timedelta(minutes=15))
    yield from ()


def _keep_closing_values(play: Play) -> Scene:
    record_due_closing_values(play.at)
    yield from ()


def _show_remaining() -> None:
    """Redis may hold values of another database, which had loans of the same numbers."""
    remaining_cache.repair(remaining_cache.compare(all_loan_ids()))


def give_addresses() -> None:
    """Let the investors be written to from now on; of what was only played nobody is told. Not within a transaction."""
    for _ in range(outbox.MOST_BATCHES):
        if not outbox.fan_out():
            break
    get_user_model().objects.filter(investor__isnull=False).update(email=Concat("username", Value("@example.com")))


def summary() -> str:
    """What there is now, in lines for a terminal."""
    statuses = [f"{Loan.objects.filter(status=status).count()} {status}" for status in LoanStatus]
    states = [f"{Reservation.objects.filter(state=state).count()} {state}" for state in State]
    due = Transfer.objects.filter(status=TransferStatus.DUE).count()
    return "\n".join(
        [
            f"Loans: {', '.join(statuses)}.",
            f"Reservations: {', '.join(states)}; {due} refunds are due.",
            f"Sign in as staff or as investor1 to investor{Investor.objects.count()}, password {PASSWORD}.",
        ]
    )
