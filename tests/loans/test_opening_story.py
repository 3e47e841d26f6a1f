"""The story of docs/rules.md from an announcement to the closing, over HTTP: investors, staff, the bank and the sandbox's clock."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import include, path
from pytest_django.fixtures import Settings

from loans.admin.actions import ACTIONS
from loans.demo.sandbox_bank import signed_request
from loans.domain.business_calendar import NEW_YORK
from loans.models import Loan, User
from loans.selectors.offers import loan_offer
from peerloans import urls
from peerloans.database.clock import database_now
from peerloans.database.sandbox_clock import move_forward
from tests.factories import DraftFactory, InvestorFactory, notice
from tests.loans.admin.test_actions import Page
from tests.loans.api.conftest import Caller
from tests.loans.test_worked_example import at, compare_with_page

urlpatterns = [path("api/sandbox/", include("loans.api.sandbox_urls")), *urls.urlpatterns]
pytestmark = [pytest.mark.urls(__name__), pytest.mark.usefixtures("clock_put_back")]
SECRET = "whsec_c3RvcnlzdG9yeXN0b3J5c3Rvcnk="


class OpeningStory:
    """A loan that is announced, opens, and is full. Each call does one thing at its time, and adds what came of it."""

    def __init__(self, staff: Client) -> None:
        self.lines = [f"{'':66}{'claimed':>11}{'waiting':>11}{'available':>11}"]
        self.staff = staff
        self.investors: dict[str, Caller] = {}
        self.orders: dict[str, str] = {}  # the id by the investor's name
        self.entries: dict[str, str] = {}  # the state by id
        self.loan = DraftFactory(reference="PL-3", overbooking_rate=Decimal(0), now=at(1, 6))

    def investor(self, name: str) -> Caller:
        if name not in self.investors:
            self.investors[name] = Caller(InvestorFactory(name=name).user)
        return self.investors[name]

    def pass_time(self, until: datetime) -> None:
        """Let the time pass until then, and all jobs run."""
        moved = Client().post("/api/sandbox/clock/", {"at": until.isoformat()}, content_type="application/json")
        assert moved.status_code == 200, moved.content

    def add_line(self, now: datetime, event: str, answer: Any = None) -> None:
        """Show what was done and what the loan has then; then the entries that became reservations or ended."""
        if answer is not None and answer.status_code >= 400:
            event = f"{event}: {answer.json()['code']}"
        offer = loan_offer("PL-3", database_now(None))
        columns = "".join(f"{amount:>11,.2f}" for amount in (offer.claimed, offer.loan.waiting_dollars, offer.available))
        self.lines.append(f"{now.astimezone(NEW_YORK):%a %d %H:%M}  {event:<53}{columns}".rstrip())
        self.lines += self.changed_entries()

    def changed_entries(self) -> Iterator[str]:
        shown = [(name, entry) for name, investor in self.investors.items() for entry in investor.get("waiting-list/").json()["results"]]
        for name, entry in sorted(shown, key=lambda each: str(each[1]["joined_at"])):
            before, self.entries[entry["id"]] = self.entries.get(entry["id"], "waiting"), entry["state"]
            if entry["state"] != before:
                placed = entry["reservation"] and self.investors[name].get(f"reservations/{entry['reservation']}/").json()["amount"]
                yield f"{'':14}{name} {entry['state']}" + (f" {Decimal(placed):,.2f}" if placed else "")

    # --- Investors --------------------------------------------------------------------------------------------------
    def order(self, name: str, dollars: str, now: datetime, *, at_least: str, cap: str) -> None:
        self.pass_time(now)
        body = {"amount": f"{dollars}.00", "at_least": f"{at_least}.00", "cap": f"{cap}.00"}
        created = self.investor(name).post("standing-orders/", body)
        self.orders[name] = created.json()["id"]
        terms = f"{Decimal(dollars):,.0f} per loan, at least {Decimal(at_least):,.0f}, cap {Decimal(cap):,.0f}"
        self.add_line(now, f"{name}: {terms}", created)

    def reserve(self, name: str, dollars: str, now: datetime) -> None:
        self.pass_time(now)
        reserved = self.investor(name).post("loans/PL-3/reservations/", {"amount": dollars})
        self.add_line(now, f"{name} reserves {Decimal(dollars):,.2f}", reserved)

    def wait(self, name: str, dollars: str, now: datetime, at_least: str | None = None) -> None:
        self.pass_time(now)
        joined = self.investor(name).post(
            "loans/PL-3/waiting-list/", {"amount": dollars} | ({"at_least": at_least} if at_least is not None else {})
        )
        least = f", at least {Decimal(at_least):,.2f}" if at_least else ""
        self.add_line(now, f"{name} waits for {Decimal(dollars):,.2f}{least}", joined)

    def newest_reservation(self, name: str) -> str:
        return str(self.investors[name].get("reservations/").json()["results"][0]["id"])

    def cancel(self, name: str, now: datetime) -> None:
        self.pass_time(now)
        canceled = self.investors[name].post(f"reservations/{self.newest_reservation(name)}/cancel/")
        self.add_line(now, f"{name} cancels", canceled)

    def pay(self, name: str, now: datetime) -> None:
        """Start the transfer. The bank reports the money, and the job settles it a second later."""
        self.pass_time(now)
        started = self.investors[name].post(f"reservations/{self.newest_reservation(name)}/transfer/", {"method": "ach"}).json()
        report = notice("transfer.cleared", started["transfer"]["reference"], started["amount"], occurred_at=now)
        headers, body = signed_request(report, SECRET)
        recorded = Caller().post("bank-events/", body.decode(), headers=headers)  # type: ignore[arg-type]
        moved = Client().post("/api/sandbox/clock/", {"advance": "PT1S"}, content_type="application/json")
        assert (recorded.status_code, moved.status_code) == (200, 200), recorded.content
        self.add_line(now, f"{name} pays, and it settles")

    # --- Staff and jobs ---------------------------------------------------------------------------------------------
    def act(self, action: str, **fields: str) -> None:
        """Let staff choose the action on the loan's page, read its preview, and confirm it."""
        (chosen,) = [each for each in ACTIONS if (each.model, each.name) == (Loan, action)]
        page = Page(self.staff, chosen, self.loan, **fields)
        assert ": done for" in page.confirm("It is time for this."), page.text

    def announce(self, opens_at: datetime, now: datetime) -> None:
        self.pass_time(now)
        self.act("announce", opens_at=f"{opens_at.astimezone(NEW_YORK):%Y-%m-%dT%H:%M}", closes_at="")
        self.add_line(now, "announced: $100,000, no overbooking, opens at 9")

    def open(self, now: datetime) -> None:
        self.pass_time(now)
        self.add_line(now, "the loan opens, with 50,000.00 for standing orders")
        positions = {}
        for name, order in self.orders.items():
            (opening,) = self.investors[name].get(f"standing-orders/{order}/openings/").json()["results"]
            outcome = f"reserves {Decimal(opening['amount']):,.2f}" if opening["amount"] else f"passed over: {opening['obstacle']}"
            self.lines.append(f"{'':14}{name} {outcome}")
            positions[name] = self.investors[name].get(f"standing-orders/{order}/").json()["line_position"]
        self.lines.append(f"{'':14}the line is now: {', '.join(sorted(positions, key=lambda name: int(positions[name])))}")

    def run_jobs(self, now: datetime, event: str) -> None:
        self.pass_time(now)
        self.add_line(now, event)

    def close(self, now: datetime) -> None:
        self.pass_time(now)
        self.act("close_at_settled")
        self.add_line(now, "staff close the loan at what has settled")


def test_the_page_shows_what_happens_over_http(settings: Settings, client: Client) -> None:
    settings.DEBUG, settings.BANK_WEBHOOK_SECRETS = True, [SECRET]
    move_forward(at(1, 6) - database_now(None))
    client.force_login(User.objects.create_superuser("boss", password="x"))
    story = OpeningStory(client)
    story.announce(at(1, 9), now=at(1, 7))
    story.order("Kim", "30000", at(1, 7, 1), at_least="10000", cap="90000")
    story.order("Lea", "25000", at(1, 7, 2), at_least="5000", cap="10000")
    story.order("Max", "20000", at(1, 7, 3), at_least="20000", cap="90000")
    story.reserve("Ana", "60000", at(1, 8))
    story.open(at(1, 9))
    story.reserve("Ana", "60000", at(1, 9, 1))
    story.reserve("Ben", "1000", at(1, 9, 2))
    story.wait("Cleo", "30000", at(1, 9, 3))
    story.wait("Dan", "20000", at(1, 9, 4), at_least="5000")
    story.wait("Eve", "15000", at(1, 9, 5))
    story.wait("Fay", "45000.50", at(1, 9, 6))
    story.wait("Gil", "50000", at(1, 9, 7))
    story.cancel("Kim", at(1, 10))
    story.reserve("Hal", "1000", at(1, 10, 1))
    story.pay("Cleo", at(1, 11))
    story.run_jobs(at(2, 9, 2), "Lea's and Ana's reservations have expired")
    story.reserve("Hal", "1000", at(2, 9, 3))
    story.run_jobs(at(3, 9, 3), "Dan's and Eve's reservations have expired")
    story.wait("Dan", "9000", at(3, 9, 4), at_least="1000")
    story.close(at(22, 10))
    compare_with_page("an opening and a waiting list", "\n".join(story.lines) + "\n")
