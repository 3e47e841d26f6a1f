"""Fill an empty database with the demo: loans and investors, and about three weeks of what they did, played through the services.

To add a reservation, add a line to a loan in plans.py. To add a loan, append one at the end of plans.py, so that the random numbers
of the others stay the same. To let something else happen, add a story to stories.py and name it in a plan.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Concat

from loans import remaining_cache
from loans.demo.descriptions import DESCRIPTIONS
from loans.demo.documents import demo_document
from loans.demo.plans import PLANS, STANDING_ORDERS, LoanPlan, OrderPlan
from loans.demo.play import Moment, Play, Scene
from loans.demo.stories import Story
from loans.domain.business_calendar import new_york_day
from loans.domain.states import LoanStatus, ReservationState, TransferStatus
from loans.models import Investor, Loan, Reservation, Transfer
from loans.notifications import outbox
from loans.selectors.daily_figures import forget_daily_figures
from loans.selectors.loans import all_loan_ids
from loans.services.closing_values import record_due_closing_values
from loans.services.loan_documents import add_document
from loans.services.loans import announce_loan, create_loan, open_loan
from loans.services.standing_orders import create_standing_order
from loans.services.waiting_list import join_waiting_list
from loans.services.watches import watch_loan

PASSWORD = "demo"  # noqa: S105  of a developer's own machine; the command refuses any other
UNFUNDED_LIMIT = Decimal(1_000_000)  # the twenty investors of the demo hold as much as many more would
DAYS_WITH_REFUNDS = (-8, -5, -3)  # on which the bank pays the refunds that are due
# The job of the closing values catches up on ten banking days. The second time is the end of today, so today's close is among
# them if it has passed.
MOMENTS_OF_CLOSING_VALUES = (Moment(-6, 18 * 60), Moment(0, 24 * 60))

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


def fill(now: datetime) -> None:
    """Make the demo's users, investors and loans, and play everything up to `now`. There must be no loan yet."""
    staff_id, investors = _make_people(now)
    play = Play(now, staff_id)
    for number, plan in enumerate(PLANS, start=1):
        _add_loan(play, plan, f"PL-{number:04}", Moment(plan.created, 7 * 60 + number), investors)
    for order, investor in zip(STANDING_ORDERS, investors[-len(STANDING_ORDERS) :], strict=True):
        play.do(Moment(order.day, 12 * 60), partial(_keep_standing_order, play, order, investor))
    for day in DAYS_WITH_REFUNDS:
        play.do(Moment(day, 16 * 60), partial(_pay_refunds, play))
    for moment in MOMENTS_OF_CLOSING_VALUES:
        play.do(moment, lambda: record_due_closing_values(play.at))
    play.run()
    transaction.on_commit(partial(_renew_cache, now), robust=True)


def _make_people(now: datetime) -> tuple[int, list[Investor]]:
    """Return the id of the staff user, and the investors. All have the same hash of the password, because making one is slow."""
    users = get_user_model().objects
    common = {"password": make_password(PASSWORD), "date_joined": now - timedelta(days=60)}
    staff = users.create(username="staff", first_name="Staff", email="staff@example.com", is_staff=True, is_superuser=True, **common)
    investor_users = users.bulk_create(users.model(username=f"investor{number}", **common) for number in range(1, len(NAMES) + 1))
    accredited_until = new_york_day(now) + timedelta(days=365)
    investors = Investor.objects.bulk_create(
        Investor(user=user, name=name, accredited_until=accredited_until, unfunded_limit=UNFUNDED_LIMIT)
        for user, name in zip(investor_users, NAMES, strict=True)
    )
    return staff.pk, investors


def _add_loan(play: Play, plan: LoanPlan, reference: str, created: Moment, investors: list[Investor]) -> None:
    play.add(created, _create_and_open(play, plan, reference))
    if plan.by_staff:
        play.add(created, plan.by_staff(play, reference))
    reserving = play.random_investors(investors, len(plan.reservations))
    for position, ((day, thousands, story), investor) in enumerate(zip(plan.reservations, reserving, strict=True)):
        moment = Moment(day, 8 * 60 + position * 30 + play.random_number(0, 29))
        play.add(moment, story(Story(play, reference, investor, Decimal(thousands * 1000))))

    if plan.watched is not None:
        play.do(Moment(plan.watched, 9 * 60), lambda: watch_loan(investor_id=investors[0].pk, reference=reference, now=play.at))

    # The last investors wait, so that the random ones stay who they are.
    for position, ((day, thousands, least), investor) in enumerate(zip(plan.waiting, reversed(investors), strict=False)):
        amounts = {"amount": Decimal(thousands * 1000), "at_least": Decimal(least * 1000)}
        join = partial(_join_waiting_list, play, reference=reference, investor=investor, **amounts)
        play.do(Moment(day, 15 * 60 + position), join)


def _keep_standing_order(play: Play, order: OrderPlan, investor: Investor) -> None:
    amount, at_least, cap = (Decimal(thousands * 1000) for thousands in (order.thousands, order.least, order.cap))
    create_standing_order(investor=investor, amount=amount, at_least=at_least, cap=cap, now=play.at, **order.criteria)  # type: ignore[arg-type]


def _join_waiting_list(play: Play, **entry: Any) -> None:
    join_waiting_list(now=play.at, **entry)


def _create_and_open(play: Play, plan: LoanPlan, reference: str) -> Scene:
    city, _, state_and_zip = plan.place.partition(", ")
    state, zip_code = state_and_zip.split()
    description = DESCRIPTIONS[plan.title]
    loan = Loan(
        reference=reference,
        title=plan.title,
        description=description.text,
        borrower_type=description.borrower_type,
        lien_position=description.lien_position,
        address=plan.address,
        city=city,
        state=state,
        zip=zip_code,
        annual_rate=Decimal(plan.terms.annual_rate_percent),
        term_months=plan.terms.term_months,
        ltv=Decimal(plan.terms.loan_to_value_percent),
        amount=Decimal(plan.thousands * 1000),
        **plan.facts,
    )
    create_loan(loan, actor=play.staff, now=play.at)
    for title in plan.documents:
        add_document(loan_id=loan.pk, title=title, content=demo_document(loan, title), user_id=play.staff_id, now=play.at)
    if plan.opens is None:
        return
    yield play.moment.later(minutes=20)
    closes_at = play.instant(Moment(plan.closes, 17 * 60))
    if plan.is_announced:
        opens_at = play.instant(Moment(plan.opens, 9 * 60))
        announce_loan(reference=reference, opens_at=opens_at, closes_at=closes_at, actor=play.staff, now=play.at)
    else:
        open_loan(reference=reference, actor=play.staff, closes_at=closes_at, now=play.at)
        _go_on_with_served_orders(play, reference)


def _go_on_with_served_orders(play: Play, reference: str) -> None:
    """Let the investors whose standing orders were served start their transfers, but for the last, whose reservation lapses."""
    served = list(Reservation.objects.filter(loan__reference=reference).select_related("investor").order_by("number"))
    for reservation in served[:-1]:
        story = Story(play, reference, reservation.investor, reservation.amount, reservation)
        play.do(play.moment.later(minutes=90), story.start_transfer)
    for reservation in served[-1:]:
        play.sweep_after_deadline(reservation)


def _pay_refunds(play: Play) -> None:
    for refund in Transfer.objects.filter(status=TransferStatus.DUE).order_by("created_at", "amount"):
        play.bank_reports("refund.paid", refund.reference, refund.amount, earlier=timedelta(minutes=15))


def _renew_cache(now: datetime) -> None:
    # Redis may hold values of an earlier database, whose loans had the same ids.
    remaining_cache.repair(remaining_cache.compare(all_loan_ids()))
    forget_daily_figures(now)


def give_addresses() -> None:
    """Give the investors e-mail addresses, so that they are notified from now on, and not of what was played. Not in a transaction."""
    for _ in range(outbox.MOST_BATCHES):
        if not outbox.fan_out():
            break
    get_user_model().objects.filter(investor__isnull=False).update(email=Concat("username", Value("@example.com")))


def summary() -> str:
    """Return what there is now, in lines for a terminal."""
    statuses = [f"{Loan.objects.filter(status=status).count()} {status}" for status in LoanStatus]
    states = [f"{Reservation.objects.filter(state=state).count()} {state}" for state in ReservationState]
    due = Transfer.objects.filter(status=TransferStatus.DUE).count()
    return "\n".join(
        [
            f"Loans: {', '.join(statuses)}.",
            f"Reservations: {', '.join(states)}; {due} refunds are due.",
            f"Sign in as staff or as investor1 to investor{Investor.objects.count()}, password {PASSWORD}.",
        ]
    )
