"""Call the command as staff and programs do."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.factories import DraftFactory, LoanFactory, funded, reserved, settled

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> str:
    call_command("overbooking", *arguments, stdout=(printed := StringIO()))
    return printed.getvalue()


def test_it_prints_the_open_loans_in_words_and_figures():
    loan = LoanFactory(now=timezone.now())
    DraftFactory()
    reserved(loan, 5_000, now=timezone.now())
    printed = run()
    assert printed.startswith(f"{loan.reference}: If you keep 20 %: fewer than 1 of 100 such loans turn somebody away who has paid, by $")
    assert "1 live reservations; typical $5,000.00" in printed
    assert "as reserved 50.0% lapse: 0 of its 0 did (90 % interval 0% to 100%), 0 of 0 of all loans" in printed
    assert printed.count("If you keep") == 1


def test_json_has_a_line_for_each_loan():
    loan, draft = LoanFactory(now=timezone.now()), DraftFactory()
    first, second = map(json.loads, run(loan.reference, draft.reference, "--json").splitlines())
    assert {first["loan"], second["loan"]} == {loan.reference, draft.reference}
    assert first["reserved"] == {
        "lapse_share": 0.5,
        "interval": [0.0, 1.0],
        "own": {"lapsed": 0, "kept": 0},
        "all_loans": {"lapsed": 0, "kept": 0},
    }
    assert first["now"]["expected_unfilled"] == 100_000


def test_a_larger_risk_recommends_a_larger_rate():
    loan = LoanFactory(now=timezone.now())
    for _ in range(20):
        funded(loan, 1_000, now=timezone.now())
    rates = [json.loads(run(loan.reference, "--risk", risk, "--json"))["recommended_rate"] for risk in ("0.01", "0.05", "0.40")]
    assert rates == sorted(rates)
    assert len(set(rates)) > 1


def test_without_an_open_loan_it_says_so():
    assert run() == "No loan is open.\n"
    assert run("--json") == ""


@pytest.mark.parametrize("risk", ["0", "1", "NaN", "many"])
def test_a_risk_is_between_0_and_1(risk):
    with pytest.raises(CommandError, match="between 0 and 1"):
        run("--risk", risk)


def test_a_loan_that_is_neither_draft_nor_open_is_named():
    settled(loan := LoanFactory(), 100_000)
    with pytest.raises(CommandError, match=f"no draft or open loan {loan.reference}") as raised:
        run(loan.reference)
    assert raised.value.returncode == 2
