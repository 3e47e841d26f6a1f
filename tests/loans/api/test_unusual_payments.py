"""What a bank does besides paying once and in full, over HTTP; what staff do about it, by the admin's pages."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from loans.admin.actions import ACTIONS
from loans.models import BankEvent, Loan, Reservation, ReviewItem, Transfer, User
from loans.services.settlement import settle_due
from tests.loans.admin.test_actions import Page
from tests.loans.api.conftest import Caller
from tests.loans.api.test_bank_events import NEW, event, send

NOW = timezone.now()
numbers = count(1)


@pytest.fixture(autouse=True)
def _secrets(settings: Any) -> None:
    settings.BANK_WEBHOOK_SECRETS = [NEW]


@pytest.fixture
def staff(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password="x"))
    return client


@pytest.fixture
def start(investor: Caller) -> Callable[..., str]:
    """Reserve dollars of a loan, start the transfer, and return its reference."""

    def started(loan: Loan, amount: str = "5000.00") -> str:
        reservation = investor.post(f"loans/{loan.reference}/reservations/", {"amount": amount}).json()
        return str(investor.post(f"reservations/{reservation['id']}/transfer/", {"method": "ach"}).json()["transfer"]["reference"])

    return started


def report(kind: str, reference: str, amount: str = "5000.00", minutes: float = 0) -> str:
    """Let the bank report something; `minutes` is its own time."""
    at = (NOW + timedelta(minutes=minutes)).isoformat()
    answer = send(event(reference, id=f"evt-{next(numbers)}", type=kind, amount=amount, occurred_at=at))
    assert answer.status_code in {200, 202}, answer.content
    return str(answer.json()["outcome"])


def act(staff: Client, row: Any, name: str, **fields: Any) -> str:
    action = next(action for action in ACTIONS if action.name == name and action.model is type(row))
    return Page(staff, action, row, **fields).confirm()


def state() -> tuple[str, Decimal, Decimal, Decimal, Decimal]:
    reservation = Reservation.objects.order_by("-number").first()
    assert reservation
    return reservation.state, reservation.received, reservation.settled_amount, reservation.refunded, reservation.lost


def listed() -> list[str]:
    return list(ReviewItem.objects.filter(resolved_at=None).order_by("id").values_list("kind", flat=True))


@pytest.mark.parametrize("failure_first", [True, False])
def test_a_failed_first_attempt_changes_nothing_in_either_order(loan: Loan, start: Any, failure_first: bool) -> None:
    reference = start(loan)
    steps = [lambda: report("transfer.failed", reference, minutes=0), lambda: report("transfer.cleared", reference, minutes=1)]
    for step in steps if failure_first else steps[::-1]:
        step()
    assert state() == ("pending", 5000, 0, 0, 0)
    settle_due()
    assert state() == ("settled", 5000, 5000, 0, 0)


def test_a_part_that_is_returned_leaves_the_rest_settled(loan: Loan, start: Any) -> None:
    reference = start(loan)
    report("transfer.cleared", reference)
    settle_due()
    assert report("transfer.failed", reference, "100.00", minutes=1) == "returned"
    assert (state(), listed()) == (("settled", 4900, 4900, 0, 0), ["payment_returned"])


def test_a_refund_that_was_paid_although_void_takes_the_reservations_money(loan: Loan, start: Any, staff: Client) -> None:
    report("transfer.cleared", start(loan))
    reservation = Reservation.objects.get()
    act(staff, reservation, "cancel")
    act(staff, Reservation.objects.get(), "reinstate")
    refund = Transfer.objects.get(direction="refund")
    assert (refund.status, state()[0]) == ("void", "pending")
    assert report("refund.paid", refund.reference) == "refund_differs"
    assert (state(), listed()) == (("canceled", 5000, 0, 5000, 0), ["refund_differs"])


def test_a_return_on_a_funded_loan_lists_both(new_loan: Callable[..., Loan], start: Any) -> None:
    loan = new_loan(amount=Decimal(5000))
    reference = start(loan)
    report("transfer.cleared", reference)
    settle_due()
    assert Loan.objects.get().status == "funded"
    report("transfer.failed", reference, minutes=62 * 24 * 60)
    assert (Loan.objects.get().status, state()[0]) == ("open", "canceled")
    assert sorted(listed()) == ["loan_reopened", "payment_returned"]


def test_a_refund_that_bounces_is_due_again_and_sent_by_a_button(loan: Loan, start: Any, staff: Client) -> None:
    report("transfer.cleared", start(loan))
    act(staff, Reservation.objects.get(), "cancel")
    refund = Transfer.objects.get(direction="refund")
    send_page = reverse("admin:loans_paymentfile_add")
    for _ in range(2):
        staff.post(send_page, {"refunds": [refund.pk], "reason": "The weekly run."})
        assert Transfer.objects.get(pk=refund.pk).status == "sent"
        assert report("refund.failed", refund.reference) == "bounced"
        assert (Transfer.objects.get(pk=refund.pk).status, "refund_bounced" in listed()) == ("due", True)
    assert refund.reference in staff.get(send_page).content.decode()


@pytest.mark.parametrize(("payments", "refunded"), [(["3000.00", "2000.00"], "0.00"), (["0.01", "5000.00"], "0.01")])
def test_payments_add_up_and_the_excess_is_refunded(loan: Loan, start: Any, payments: list[str], refunded: str) -> None:
    reference = start(loan)
    outcomes = [report("transfer.cleared", reference, amount, minutes) for minutes, amount in enumerate(payments)]
    assert outcomes == ["too_little", "funded"]
    settle_due()
    assert state()[2:4] == (5000, Decimal(refunded))


def test_staff_accept_a_closing_piece_that_is_a_cent_short(new_loan: Callable[..., Loan], start: Any, staff: Client) -> None:
    loan = new_loan(amount=Decimal(5500))
    report("transfer.cleared", start(loan))
    settle_due()
    report("transfer.cleared", start(loan, "500.00"), "499.99")
    closing = Reservation.objects.get(amount=500)
    assert "done for" in act(staff, closing, "accept_amount")
    settle_due()
    assert Reservation.objects.get(pk=closing.pk).settled_amount == Decimal("499.99")


@pytest.mark.parametrize(("answer", "refunded"), [("same_payment", 0), ("another_payment", 5000)])
def test_a_doubtful_second_payment_waits_for_staff(loan: Loan, start: Any, staff: Client, answer: str, refunded: int) -> None:
    reference = start(loan)
    assert [report("transfer.cleared", reference) for _ in range(2)] == ["funded", "possible_duplicate"]
    assert (state()[3], listed()) == (0, ["possible_duplicate"])
    act(staff, BankEvent.objects.get(outcome="possible_duplicate"), answer)
    assert (state()[3], "possible_duplicate" in listed()) == (refunded, False)


def test_the_banks_event_confirms_what_staff_recorded(loan: Loan, start: Any, staff: Client) -> None:
    reference = start(loan)
    act(staff, Reservation.objects.get(), "record_money")
    assert report("transfer.cleared", reference) == "confirmation"
    assert state() == ("pending", 5000, 0, 0, 0)


@pytest.mark.parametrize("written", [str.lower, lambda reference: f"Rent {reference.replace('-', ' ')} thank you"])
def test_a_reference_is_matched_however_it_is_written(loan: Loan, start: Any, written: Callable[[str], str]) -> None:
    assert report("transfer.cleared", written(start(loan))) == "funded"


def test_what_names_nothing_is_listed_with_what_it_may_mean_and_assigned(loan: Loan, start: Any, staff: Client) -> None:
    reference = start(loan)
    assert report("transfer.cleared", "rent for June") == "unknown_reference"
    assert reference in ReviewItem.objects.get().detail
    act(staff, BankEvent.objects.get(), "assign", reference=reference)
    assert (state()[:2], listed()) == (("pending", 5000), [])
