"""What a reservation can expect: for its investor, for staff, remembered until the loan changes."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from loans.api import outlooks
from loans.domain.settlement_rules import RULES
from loans.models import Loan, Reservation, User
from loans.selectors.reservation_outlook import reservation_outlook
from tests.factories import HOURS_24, fresh, funded, money_comes, pending, reserved
from tests.loans.api.conftest import Caller, problem


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> None:
    cache.delete_pattern("*")


def outlook_path(reservation: Reservation) -> str:
    return f"reservations/{reservation.pk}/outlook/"


@pytest.mark.parametrize("rule", RULES)
def test_an_investor_sees_the_outlook_of_a_reservation(
    new_investor: Callable[..., Caller], new_loan: Callable[..., Loan], rule: str
) -> None:
    loan, caller, now = new_loan(settlement_rule=rule), new_investor(), timezone.now()
    funded(loan, 30_000, now=now)
    reserved(loan, 60_000, now=now)
    own = pending(loan, 20_000, now=now, investor=caller.investor)
    body = caller.get(outlook_path(own)).json()
    assert (body["queue_position"], body["if_all_ahead_settle"]) == (3, "10000.00")
    assert 0 < float(body["expected_amount"]) <= 20_000
    assert (body["basis"]["rule"], body["basis"]["computed_by"]) == (rule, "exact" if rule == "fifo" else "scenarios")
    assert list(body) == list(outlooks.OutlookSerializer().fields)
    assert list(body["basis"]) == list(outlooks.OutlookBasisSerializer().fields)
    assert list(body["basis"]["standard_error"]) == list(outlooks.StandardErrorSerializer().fields)
    assert list(body["basis"]["reserved_lapse"]) == list(outlooks.LapseShareSerializer().fields)


def test_without_any_history_half_of_each_phase_is_taken_to_lapse(investor: Caller, loan: Loan) -> None:
    now = timezone.now()
    reserved(loan, 90_000, now=now)
    own = reserved(loan, 20_000, now=now, investor=investor.investor)
    body = investor.get(outlook_path(own)).json()
    assert (body["chance_full"], body["expected_amount"]) == ("0.7500", "17500.00")
    assert body["basis"]["reserved_lapse"] == {"lapse_share": "0.5000", "counted": 0, "counted_of_all": 0}


def test_one_that_is_not_live_has_no_outlook(investor: Caller, loan: Loan) -> None:
    own = reserved(loan, 20_000, now=timezone.now() - HOURS_24, investor=investor.investor)
    body = investor.get(outlook_path(own)).json()
    assert set(body.values()) == {None}


def test_it_is_its_investors_alone(investor: Caller, new_investor: Callable[..., Caller], anyone: Caller, loan: Loan) -> None:
    own = reserved(loan, 20_000, now=timezone.now(), investor=investor.investor)
    assert problem(new_investor().get(outlook_path(own))) == (404, "not_found")
    assert problem(anyone.get(outlook_path(own))) == (401, "not_authenticated")


def test_it_is_remembered_until_the_loan_changes(investor: Caller, loan: Loan) -> None:
    now = timezone.now()
    first = pending(loan, 90_000, now=now)
    own = reserved(loan, 20_000, now=now, investor=investor.investor)
    before = investor.get(outlook_path(own))
    assert investor.get(outlook_path(own), headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    money_comes(first, now=timezone.now())
    after = investor.get(outlook_path(own)).json()
    assert (after["expected_amount"], after["chance_full"]) == ("10000.00", "0.0000")
    assert after["as_of"] > before.json()["as_of"]


def test_it_is_computed_again_when_a_deadline_passes(investor: Caller, loan: Loan) -> None:
    now = timezone.now()
    reserved(loan, 90_000, now=now)
    own = pending(loan, 20_000, now=now, investor=investor.investor)
    outlook = reservation_outlook(own, now)
    assert outlook
    assert outlook.queue_position == 2
    assert reservation_outlook(own, now + HOURS_24 - timedelta(seconds=1)) == outlook
    later = reservation_outlook(own, now + HOURS_24)
    assert later
    assert (later.queue_position, later.outlook.chance_full) == (1, 1)


def test_a_remembered_outlook_takes_two_reads(investor: Caller, loan: Loan, django_assert_num_queries) -> None:
    own = fresh(reserved(loan, 20_000, now=timezone.now(), investor=investor.investor))
    reservation_outlook(own)
    with django_assert_num_queries(2):  # the reservation's loan, and what it offers now
        reservation_outlook(fresh_without_loan := Reservation(pk=own.pk, number=own.number, loan_id=own.loan_id))
    assert fresh_without_loan.loan.pk == loan.pk


def test_the_secret_of_a_lottery_does_not_matter(investor: Caller, new_loan: Callable[..., Loan]) -> None:
    loan, now = new_loan(settlement_rule="lottery"), timezone.now()
    for _ in range(2):
        funded(loan, 45_000, now=now)
    own = pending(loan, 20_000, now=now, investor=investor.investor)
    first = investor.get(outlook_path(own)).json()
    cache.delete_pattern("*")
    Loan.objects.update(lottery_secret="another")
    again = investor.get(outlook_path(own)).json()
    assert {**first, "as_of": None} == {**again, "as_of": None}


def test_staff_see_the_chances_in_the_queue(client: Client, new_loan: Callable[..., Loan]) -> None:
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    loan, now = new_loan(), timezone.now()
    reserved(loan, 90_000, now=now)
    reserved(loan, 20_000, now=now)
    page = client.get(f"/admin/loans/loan/{loan.pk}/change/").content.decode()
    for text in ("Chance of all", "17,500.00", "75 %", "0 %"):
        assert text in page
