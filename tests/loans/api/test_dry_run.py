"""A dry run answers what the real request would, and leaves nothing behind."""

from decimal import Decimal
from typing import Any

from django.apps import apps
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loans.models import Loan, Reservation
from tests.factories import LoanFactory, reserved
from tests.loans.api.conftest import Caller, problem

INSTANTS = ("created_at", "expires_at")
amounts = st.one_of(st.integers(0, 120_000), st.decimals("999", "101000", places=2)).map(str)


def rows() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in apps.get_app_config("loans").get_models()}


def without_names(body: dict[str, Any]) -> dict[str, Any]:
    transfer = body.get("transfer")
    kept = {name: value for name, value in body.items() if name not in {"id", "dry_run", *INSTANTS}}
    return kept | {"transfer": transfer and transfer | {"reference": None}} if "transfer" in body else kept


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(amount=amounts, at_least=st.none() | amounts, free=st.integers(0, 30_000))
def test_a_dry_run_of_a_reservation_gives_the_real_answer(investor: Caller, amount: str, at_least: str | None, free: int) -> None:
    loan = LoanFactory(now=timezone.now(), amount=100_000, overbooking_rate=0, minimum=1_000)
    reserved(loan, Decimal(100_000 - free), now=timezone.now())
    body = {"amount": amount} | ({"at_least": at_least} if at_least is not None else {})
    path, before = f"loans/{loan.reference}/reservations/", rows()
    dry = investor.post(path, body | {"dry_run": True})
    assert rows() == before
    real = investor.post(path, body)
    if real.status_code == 201:
        assert (dry.status_code, dry.json()["id"], dry.json()["dry_run"]) == (200, None, True)
        assert without_names(dry.json()) == without_names(real.json())
    else:
        assert (problem(dry), dry.json()) == (problem(real), real.json())


def test_a_dry_run_starts_no_transfer(investor: Caller, loan: Loan) -> None:
    reservation = reserved(loan, investor=investor.investor, now=timezone.now())
    path, before = f"reservations/{reservation.pk}/transfer/", rows()
    dry = investor.post(path, {"method": "ach", "dry_run": True}).json()
    assert (rows(), Reservation.objects.get(pk=reservation.pk).state) == (before, "reserved")
    assert (dry["id"], dry["state"], dry["transfer"]) == (
        str(reservation.pk),
        "pending",
        {"reference": None, "method": "ach", "status": "initiated"},
    )
    real = investor.post(path, {"method": "ach"}).json()
    assert without_names(dry) == without_names(real)
    assert investor.post(path, {"method": "ach", "dry_run": True}).json()["transfer"]["reference"] is None


def test_a_key_is_not_used_up_by_a_dry_run(investor: Caller, loan: Loan) -> None:
    path = f"loans/{loan.reference}/reservations/"
    assert investor.post(path, {"amount": 1000, "dry_run": True}, key="dry").status_code == 200
    assert investor.post(path, {"amount": 1000}, key="dry").status_code == 201
    assert problem(investor.post(path, {"amount": 1000, "dry_run": "perhaps"})) == (400, "invalid")
