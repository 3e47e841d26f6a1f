"""Answers have exactly the fields that the schema declares, in the same order."""

from collections.abc import Callable
from decimal import Decimal

from rest_framework.serializers import Serializer

from loans.api import serializers
from loans.models import Loan, Transfer
from loans.services.bank_events import Notice, record_bank_event
from loans.services.loan_documents import add_document
from tests.factories import UserFactory
from tests.loans.api.conftest import Caller


def names(serializer_class: type[Serializer]) -> list[str]:
    return list(serializer_class().fields)


def test_loans(anyone: Caller, loan: Loan) -> None:
    Loan.objects.update(market_cbsa="31080", market_msa="Los Angeles-Long Beach-Anaheim, CA")
    add_document(loan_id=loan.pk, title="Appraisal", content=b"%PDF-1.7", user_id=UserFactory().pk)
    (row,) = anyone.get("loans/").json()["results"]
    assert list(row) == names(serializers.LoanSerializer)
    detail = anyone.get(f"loans/{loan.reference}/").json()
    assert list(detail) == names(serializers.LoanDetailSerializer)
    assert list(detail["documents"][0]) == names(serializers.LoanDocumentSerializer)
    assert list(row["property"]) == names(serializers.PropertySerializer)
    assert list(row["market"]) == names(serializers.MarketSerializer)


def test_reservations(investor: Caller, loan: Loan) -> None:
    made = investor.post(f"loans/{loan.reference}/reservations/", {"amount": 5000}).json()
    path = f"reservations/{made['id']}/"
    investor.post(path + "transfer/", {"method": "ach"})
    transfer = Transfer.objects.get()
    record_bank_event(Notice("evt-1", "transfer.cleared", transfer.reference, transfer.amount, transfer.created_at))
    record_bank_event(Notice("evt-2", "transfer.cleared", transfer.reference, Decimal(1), transfer.created_at))
    one = investor.get(path).json()
    assert list(made) == names(serializers.ReservationSerializer)
    assert list(one) == names(serializers.ReservationDetailSerializer)
    assert list(one["transfer"]) == names(serializers.TransferSerializer)
    assert list(one["refund"]) == names(serializers.RefundSerializer)
    assert list(investor.get(path + "history/").json()["results"][0]) == names(serializers.TransitionSerializer)
    portfolio = investor.get("portfolio/").json()
    assert list(portfolio) == names(serializers.PortfolioSerializer)
    assert list(portfolio["by_state"][0]) == names(serializers.StateTotalSerializer)
    assert list(portfolio["by_loan"][0]) == names(serializers.LoanTotalSerializer)
    assert list(portfolio["by_market"][0]) == names(serializers.MarketTotalSerializer)


def test_tokens(new_investor: Callable[..., Caller]) -> None:
    caller = new_investor()
    assert caller.user
    token = caller.post("auth/token/", {"username": caller.user.username, "password": "demo"}).json()
    assert list(token) == names(serializers.TokenSerializer)
    made = caller.post("tokens/", {"name": "Portfolio bot", "scopes": ["read"]}).json()
    assert list(made) == names(serializers.NewTokenSerializer)
    assert list(caller.get("tokens/").json()) == names(serializers.NamedTokenListSerializer)
    assert list(caller.get("tokens/").json()["results"][0]) == names(serializers.NamedTokenSerializer)


def test_webhook_endpoints(new_investor: Callable[..., Caller]) -> None:
    caller = new_investor()
    made = caller.post("webhook-endpoints/", {"url": "https://hooks.example.org/"}).json()
    assert list(made) == names(serializers.NewWebhookEndpointSerializer)
    assert list(caller.get("webhook-endpoints/").json()["results"][0]) == names(serializers.WebhookEndpointSerializer)
    tested = caller.post(f"webhook-endpoints/{made['id']}/test/").json()
    assert list(tested) == names(serializers.WebhookTestSerializer)
