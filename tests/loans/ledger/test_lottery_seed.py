"""The seed of a lottery: drawn at the opening, hidden until the loan is funded, and drawn anew when it reopens."""

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loans.audit.verify_history import verify_loan_history
from loans.domain.settlement_rules import lottery_commitment
from loans.models import Loan, Transition, User
from loans.services.loans import close_loan_at_settled
from loans.services.settlement import settle_loans
from tests.factories import NOON, STAFF, DraftFactory, LoanFactory, fresh, funded, money_fails, settled

pytestmark = pytest.mark.django_db


def facts_in_history(loan: Loan, event: str) -> dict[str, Any]:
    facts = Transition.objects.filter(loan=loan, event=event).latest("id").facts or {}
    return {name: value for name, value in facts.items() if name.startswith("lottery")}


def test_a_seed_is_drawn_when_the_loan_opens_and_history_records_only_its_commitment() -> None:
    draft = DraftFactory(settlement_rule="lottery")
    assert (draft.lottery_secret, draft.lottery_commitment, draft.lottery_seed) == ("", "", "")
    first, second = LoanFactory(settlement_rule="lottery"), LoanFactory(settlement_rule="lottery")
    assert len(first.lottery_secret) == 32
    assert first.lottery_secret != second.lottery_secret
    assert fresh(first).lottery_commitment == lottery_commitment(first.lottery_secret)
    assert facts_in_history(first, "opened") == {"lottery_commitment": first.lottery_commitment, "lottery_seed": ""}
    assert first.lottery_secret not in json.dumps(list(Transition.objects.values()), default=str)


def test_other_rules_have_no_seed() -> None:
    loan = LoanFactory()
    settled(loan, 100_000)
    loan = fresh(loan)
    assert (loan.status, loan.lottery_secret, loan.lottery_commitment, loan.lottery_seed) == ("funded", "", "", "")


def test_the_seed_is_shown_once_the_lottery_has_run_and_it_settled_in_the_order_of_its_tickets() -> None:
    loan = LoanFactory(settlement_rule="lottery")
    secret = loan.lottery_secret
    reservations = [funded(loan, 40_000) for _ in range(2)]
    settle_loans([loan.pk], now=NOON)
    assert fresh(loan).lottery_seed == "", "the money does not reach what remains, so nothing is drawn yet"
    reservations.append(funded(loan, 40_000))
    settle_loans([loan.pk], now=NOON)
    loan = fresh(loan)
    assert (loan.status, loan.lottery_secret, loan.lottery_seed) == ("funded", "", secret)
    assert facts_in_history(loan, "funded") == {"lottery_seed": secret}
    last = max((row.number for row in reservations), key=lambda number: lottery_commitment(f"{secret}:{number}"))
    assert {row.number: int(fresh(row).settled_amount) for row in reservations} == {
        number: 20_000 if number == last else 40_000 for number in (1, 2, 3)
    }


def test_closing_at_settled_shows_the_seed() -> None:
    loan = LoanFactory(settlement_rule="lottery")
    settled(loan, 40_000)
    close_loan_at_settled(reference=loan.reference, actor=STAFF, reason="a test", now=loan.closes_at)
    assert fresh(loan).lottery_seed == loan.lottery_secret


def test_a_loan_that_reopens_gets_a_new_seed() -> None:
    loan = LoanFactory(settlement_rule="lottery")
    reservation = settled(loan, 100_000)
    money_fails(reservation)
    reopened = fresh(loan)
    assert (reopened.status, reopened.lottery_seed) == ("open", "")
    assert reopened.lottery_secret not in {"", loan.lottery_secret}
    assert reopened.lottery_commitment == lottery_commitment(reopened.lottery_secret)
    assert list(verify_loan_history([loan.reference])) == [(loan.reference, [])]


def test_the_api_and_the_pages_show_the_commitment_and_never_the_secret(client: Client) -> None:
    loan = LoanFactory(settlement_rule="lottery", now=timezone.now())
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    paths = [
        f"/api/v1/loans/{loan.reference}/",
        f"/loans/{loan.reference}/",
        f"/admin/loans/loan/{loan.pk}/change/",
        "/admin/loans/loan/csv/",
        f"/admin/loans/transition/?q={loan.reference}",
    ]
    for path in paths:
        response = client.get(path)
        assert response.status_code == 200, path
        content = response.getvalue().decode()
        assert loan.lottery_secret not in content, path
        assert path == paths[-1] or loan.lottery_commitment in content, path
    assert client.get(paths[0]).json()["lottery"] == {"commitment": loan.lottery_commitment, "seed": None}
    settled(loan, 100_000, now=timezone.now())
    assert client.get(paths[0]).json()["lottery"] == {"commitment": loan.lottery_commitment, "seed": loan.lottery_secret}
    assert loan.lottery_secret in client.get(paths[1]).content.decode()


def test_staff_cannot_guess_the_secret_by_filters_in_the_address(client: Client) -> None:
    loan = LoanFactory(settlement_rule="lottery")
    client.force_login(User.objects.create(username="boss", is_staff=True, is_superuser=True))
    for path in ("loan/?lottery_secret__startswith=", "reservation/?loan__lottery_secret__startswith=", "loan/csv/?lottery_secret="):
        answers = {client.get(f"/admin/loans/{path}{guess}").status_code for guess in (loan.lottery_secret[:1], "x")}
        assert answers <= {302, 400}, path
