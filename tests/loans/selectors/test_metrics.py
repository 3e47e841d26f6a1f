"""The figures that operators watch."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from loans.models import Loan, ReviewItem
from loans.selectors.metrics import market_figures
from loans.services.bank_events import Notice, record_bank_event
from tests import factories
from tests.factories import NOON, LoanFactory
from tests.loans.notifications.conftest import open_transaction

pytestmark = pytest.mark.django_db(transaction=True)


def figures() -> dict[str, Mapping[str, float]]:
    return {figure.name: figure.values for figure in market_figures()}


def test_every_kind_of_review_item_has_its_number_and_age_before_the_first() -> None:
    zeros = dict.fromkeys(ReviewItem.KINDS, 0)
    assert (figures()["review_items_open"], figures()["review_item_age_seconds"]) == (zeros, zeros)
    ReviewItem.objects.create(kind="drift", detail="It differs.", opened_at=timezone.now() - timedelta(hours=1))
    ReviewItem.objects.create(kind="drift", detail="It differs now.", opened_at=timezone.now())
    ReviewItem.objects.create(kind="breach", detail="Done.", opened_at=NOON, resolved_at=NOON)
    assert figures()["review_items_open"] == zeros | {"drift": 2}
    assert figures()["review_item_age_seconds"] == zeros | {"drift": pytest.approx(3600, abs=10)}


def test_money_that_names_no_transfer_of_ours_is_counted_until_staff_have_decided() -> None:
    reservation = factories.pending(LoanFactory(), 2_000)
    factories.money_comes(reservation)
    notice = Notice(id="unknown-1", type="transfer.cleared", reference="T-0", amount=Decimal("1234.56"), occurred_at=NOON)
    record_bank_event(notice, now=NOON)
    assert figures()["unmatched_dollars"] == {"": 1234.56}
    ReviewItem.objects.update(resolved_at=NOON)
    assert figures()["unmatched_dollars"] == {"": 0}


def test_a_transaction_that_holds_a_loans_lock_shows_its_age() -> None:
    loan = LoanFactory()
    with open_transaction(lambda: Loan.objects.count()):
        assert figures()["loan_lock_age_seconds"] == {"": 0}  # reading locks nothing
    with open_transaction(lambda: Loan.objects.select_for_update().get(pk=loan.pk)):
        assert figures()["loan_lock_age_seconds"][""] > 0
    assert figures()["loan_lock_age_seconds"] == {"": 0}
