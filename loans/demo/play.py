"""Play scenes in the order of time, on a clock that runs from the past to the present.

A moment is a minute of a banking day in New York: day 0 is today, whatever day that is, -1 the banking day before it, 1 the next
one. Deadlines for money count in banking days too, so weekends, holidays and changes of clocks alter nothing: on every day of the
year the same happens in the same order. What happens today is spread over the part of today that has passed.
"""

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import NamedTuple

from loans.domain.actors import Actor
from loans.domain.business_calendar import NEW_YORK, banking_days_after, last_ended_banking_days, new_york_day
from loans.models import Investor, Reservation
from loans.services.bank_events import Notice, record_bank_event
from loans.services.expiry import expire_due
from loans.services.settlement import settle_due
from loans.services.waiting_list import serve_waiting_lists

FIRST_DAY, LAST_DAY = -15, 14  # the banking days that a moment may lie on
SEED = 90266


class Moment(NamedTuple):
    """A minute of a banking day, in New York."""

    day: int
    minute: int

    def later(self, *, days: int = 0, minutes: int = 0) -> "Moment":
        """Return the moment so many minutes later; with `days`, so many minutes after 10 a.m. of a later banking day."""
        return Moment(self.day + days, (10 * 60 if days else self.minute) + minutes)


Scene = Iterator[Moment]
"""A generator that acts, and then yields the moment at which it acts again."""


class Play:
    """Scenes, each resumed at its moment. While one acts, `at` is its instant and `moment` its moment."""

    def __init__(self, now: datetime, staff_id: int) -> None:
        self.now = self.at = now
        self.moment = Moment(FIRST_DAY, 0)
        self.staff_id, self.staff = staff_id, Actor("staff", staff_id)
        today = new_york_day(now)
        self._midnight = datetime.combine(today, time(), NEW_YORK).astimezone(UTC)
        self._days = [*last_ended_banking_days(self._midnight, -FIRST_DAY), today, *banking_days_after(today, LAST_DAY)]
        self._random = Random(SEED)  # noqa: S311  nothing secret
        self._order = count()  # scenes of the same instant act in the order in which they were added
        self._coming: list[tuple[datetime, int, Moment, Scene]] = []

    def instant(self, moment: Moment) -> datetime:
        """Return the moment in UTC, where subtracting and comparing disregard changes of New York's clocks."""
        if moment.day == 0:
            return self._midnight + (self.now - self._midnight) * moment.minute / (24 * 60)
        midnight = datetime.combine(self._days[moment.day - FIRST_DAY], time(), NEW_YORK)
        return (midnight + timedelta(minutes=moment.minute)).astimezone(UTC)

    def random_number(self, least: int, most: int) -> int:
        """Return a random whole number. All scenes draw in the same order on every day, so the numbers are the same too."""
        return self._random.randint(least, most)

    def random_investors(self, investors: list[Investor], number: int) -> list[Investor]:
        """Return so many different investors, drawn at random in the same way."""
        return self._random.sample(investors, number)

    def add(self, moment: Moment, scene: Scene) -> None:
        """Let the scene begin at the moment. It never begins if that is in the future."""
        self._add(self.instant(moment), moment, scene)

    def do(self, moment: Moment, action: Callable[[], object]) -> None:
        """Do one thing at the moment."""
        self.add(moment, _scene_of(action))

    def sweep_after_deadline(self, reservation: Reservation) -> None:
        """Run the expire job a minute after the reservation's deadline, which serves the waiting lists too."""
        if reservation.expires_at:
            sweep = _scene_of(lambda: (expire_due(self.at), serve_waiting_lists(self.at)))
            self._add(reservation.expires_at + timedelta(minutes=1), self.moment, sweep)

    def bank_reports(self, kind: str, reference: str, amount: Decimal, *, earlier: timedelta = timedelta(minutes=4)) -> None:
        """Let the bank report something that happened so much earlier, and run the settle job."""
        notice_id = f"evt-{reference}-{kind}-{self.at:%m%d%H%M}"
        record_bank_event(Notice(notice_id, kind, reference, amount, self.at - earlier), now=self.at)  # type: ignore[arg-type]
        settle_due(self.at)

    def run(self) -> None:
        """Play all scenes up to the present."""
        while self._coming and self._coming[0][0] <= self.now:
            self.at, _, self.moment, scene = heapq.heappop(self._coming)
            if moment := next(scene, None):
                self.add(moment, scene)

    def _add(self, at: datetime, moment: Moment, scene: Scene) -> None:
        heapq.heappush(self._coming, (at, next(self._order), moment, scene))


def _scene_of(action: Callable[[], object]) -> Scene:
    action()
    yield from ()
