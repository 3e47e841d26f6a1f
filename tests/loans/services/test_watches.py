"""An investor watches loans that everybody sees, at most 200, and repeats change nothing."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from loans.domain.errors import Invalid, NotFound
from loans.domain.watches import MOST_WATCHES
from loans.models import Investor, Loan, Watch
from loans.selectors.watches import is_watched, watches_of
from loans.services.loans import withdraw_loan
from loans.services.watches import note_that_seen, stop_watching, watch_loan
from tests.factories import HOURS_24, NOON, STAFF, DraftFactory, InvestorFactory, LoanFactory

pytestmark = pytest.mark.django_db


def many_watches(investor: Investor, number: int) -> None:
    """Let the investor watch so many other loans, all copies of one."""
    original = DraftFactory()
    values = {field.attname: getattr(original, field.attname) for field in Loan._meta.concrete_fields if not field.primary_key}
    opened = {"status": "open", "opens_at": NOON, "closes_at": NOON + HOURS_24}
    loans = [Loan(**values | opened | {"reference": f"COPY-{number}"}) for number in range(number)]
    Loan.objects.bulk_create(loans)
    Watch.objects.bulk_create([Watch(loan=loan, investor=investor, since=NOON, known_at=NOON) for loan in loans])


def test_a_repeat_changes_nothing_and_stopping_ends_it() -> None:
    loan, kim = LoanFactory(), InvestorFactory()
    assert not note_that_seen(investor_id=kim.pk, reference=loan.reference, now=NOON)
    for later in (0, 1):
        watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON + later * HOURS_24)
    watch = Watch.objects.get()
    assert (watch.since, watch.known_at) == (NOON, NOON + HOURS_24)
    stop_watching(investor_id=kim.pk, reference=loan.reference, now=NOON + HOURS_24)
    assert not is_watched(kim.pk, loan.reference)
    watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON + 2 * HOURS_24)
    watch.refresh_from_db()
    assert (watch.since, watch.ended_at) == (NOON + 2 * HOURS_24, None)


def test_nobody_watches_a_loan_that_only_staff_see() -> None:
    kim = InvestorFactory()
    for reference in (DraftFactory().reference, "LN-NONE"):
        with pytest.raises(NotFound):
            watch_loan(investor_id=kim.pk, reference=reference, now=NOON)
        with pytest.raises(NotFound):
            stop_watching(investor_id=kim.pk, reference=reference, now=NOON)
    assert not Watch.objects.exists()


def test_a_withdrawn_loan_drops_out() -> None:
    loan, kim = LoanFactory(), InvestorFactory()
    watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test", now=NOON)
    assert not watches_of(kim.pk).exists()
    with pytest.raises(NotFound):
        watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON)
    stop_watching(investor_id=kim.pk, reference=loan.reference, now=NOON)
    assert Watch.objects.get().ended_at == NOON


def test_one_more_than_the_most_is_refused_and_withdrawn_ones_do_not_count() -> None:
    loan, kim = LoanFactory(), InvestorFactory()
    many_watches(kim, MOST_WATCHES - 1)
    watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON)
    watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON)  # a repeat is not one more
    other = LoanFactory()
    with pytest.raises(Invalid, match="You watch 200 loans"):
        watch_loan(investor_id=kim.pk, reference=other.reference, now=NOON)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test", now=NOON)
    watch_loan(investor_id=kim.pk, reference=other.reference, now=NOON)
    assert watches_of(kim.pk).count() == MOST_WATCHES


def test_the_loan_is_held_before_the_investor() -> None:
    """As in every other transaction; otherwise two could wait for each other."""
    loan, kim = LoanFactory(), InvestorFactory()
    with CaptureQueriesContext(connection) as captured:
        watch_loan(investor_id=kim.pk, reference=loan.reference, now=NOON)
    locks = [query["sql"] for query in captured if re.search(r"FOR (KEY SHARE|NO KEY UPDATE)", query["sql"])]
    assert [re.findall(r"FROM (\w+)", sql) for sql in locks] == [["loans_loan"], ["loans_investor"]]
