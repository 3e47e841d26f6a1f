"""How a funded loan was shared out: by the API, on its page and as CSV."""

import csv
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.utils import timezone

from loans.api.allotments import AllotmentSerializer, SizeBandSerializer
from loans.domain.settlement_rules import RULES, lottery_ticket
from loans.models import Loan
from loans.services.loans import close_loan_at_settled
from loans.services.settlement import settle_loans
from tests.factories import STAFF, InvestorFactory, fresh, funded, money_fails, pending, settled
from tests.loans.api.conftest import Caller, problem


def share_out(loan: Loan) -> Loan:
    """Fund the loan with a reservation that gets nothing from fifo, and one that has not paid."""
    now = timezone.now()
    for amount in (60_000, 30_000, 20_000, 5_000):
        funded(loan, amount, now=now)
    pending(loan, 5_000, now=now)
    settle_loans([loan.pk])
    shared_out: Loan = fresh(loan)
    assert shared_out.status == "funded"
    return shared_out


@pytest.mark.parametrize("rule", RULES)
def test_a_funded_loan_shows_how_it_was_shared_out(anyone: Caller, new_loan: Callable[..., Loan], rule: str) -> None:
    loan = share_out(new_loan(settlement_rule=rule))
    answer = anyone.get(f"loans/{loan.reference}/allotment/")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["rule"], body["amount"], body["demand"], body["cover_ratio"]) == (rule, "100000.00", "120000.00", "1.20")
    assert (body["total"]["count"], body["total"]["settled"], body["total"]["unpaid"]) == (5, "100000.00", 1)
    assert list(body) == list(AllotmentSerializer().fields)
    assert list(body["bands"][0]) == list(SizeBandSerializer().fields)
    if rule == "lottery":
        assert body["lottery"]["seed"] == loan.lottery_seed
        tickets = {lottery_ticket(loan.lottery_seed, row.number) for row in loan.reservations.filter(state="settled")}
        assert body["lottery"]["last_ticket"] == max(tickets)


def test_fifo_names_the_last_place_and_nobody_is_named(anyone: Caller, new_loan: Callable[..., Loan]) -> None:
    loan = share_out(new_loan())
    answer = anyone.get(f"loans/{loan.reference}/allotment/")
    assert answer.json()["last_number"] == 3
    page = anyone.client.get(f"/loans/{loan.reference}/").content.decode()
    assert "How it was shared out" in page
    assert "Last number in the queue that was served" in page
    for text in (answer.content.decode(), page, anyone.client.get(f"/loans/{loan.reference}/allotment.csv").content.decode()):
        for reservation in loan.reservations.select_related("investor"):
            assert reservation.investor.name not in text
            assert str(reservation.pk) not in text


def test_the_csv_has_a_row_for_each_band_and_one_for_all(anyone: Caller, new_loan: Callable[..., Loan]) -> None:
    loan = share_out(new_loan())
    response = anyone.client.get(f"/loans/{loan.reference}/allotment.csv")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    *bands, total = csv.DictReader(response.content.decode().splitlines())
    body = anyone.get(f"loans/{loan.reference}/allotment/").json()
    as_text = [{name: "" if value is None else str(value) for name, value in band.items()} for band in (*body["bands"], body["total"])]
    for row, expected in zip((*bands, total), as_text, strict=True):
        assert {name: row[name] for name in row if "amount" not in name} == {name: expected[name] for name in row if "amount" not in name}


def test_a_loan_that_is_not_funded_has_not_been_shared_out(anyone: Caller, loan: Loan) -> None:
    assert problem(anyone.get(f"loans/{loan.reference}/allotment/")) == (404, "not_found")
    assert anyone.client.get(f"/loans/{loan.reference}/allotment.csv").status_code == 404
    assert "How it was shared out" not in anyone.client.get(f"/loans/{loan.reference}/").content.decode()


def test_a_loan_that_reopened_has_not_been_shared_out(anyone: Caller, loan: Loan) -> None:
    reservation = settled(loan, 100_000, now=timezone.now())
    assert anyone.get(f"loans/{loan.reference}/allotment/").json()["settled_ahead"] == {"count": 1, "amount": "100000.00"}
    money_fails(reservation, now=timezone.now())
    assert problem(anyone.get(f"loans/{loan.reference}/allotment/")) == (404, "not_found")
    settled(loan, 100_000, now=timezone.now(), investor=InvestorFactory())
    body = anyone.get(f"loans/{loan.reference}/allotment/").json()
    assert (body["total"]["count"], body["demand"]) == (1, "100000.00")


def test_a_loan_that_staff_closed_has_its_new_amount(anyone: Caller, loan: Loan) -> None:
    settled(loan, 40_000, now=timezone.now())
    close_loan_at_settled(reference=loan.reference, actor=STAFF, reason="a test", now=loan.closes_at)
    body = anyone.get(f"loans/{loan.reference}/allotment/").json()
    assert (Decimal(body["amount"]), body["cover_ratio"]) == (40_000, "1.00")
