"""Two previews of staff actions whose rows lie on the same loans, in opposite orders; and as a twin, locked row by row."""

from contextlib import suppress
from dataclasses import replace
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.utils import timezone

from loans.admin.action_previews import preview
from loans.admin.actions import ACTIONS
from loans.ledger import locks
from loans.models import Reservation
from loans.services.staff_overrides import cancel_by_staff
from tests.factories import STAFF, LoanFactory, reserved
from tests.races.conftest import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("at_once", [True, False])
def test_two_previews_do_not_wait_for_each_other(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has done its first row when the other has. The preview that locks all its loans at once has the other wait before that."""
    now, both_are_here = timezone.now(), Barrier(2)
    first, second = (reserved(LoanFactory(now=now), 5_000, now=now) for _ in range(2))
    lock_loans = locks.lock_loans

    def lock_row_by_row(**which: Any) -> locks.LockedLoans:
        return locks.LockedLoans([], now) if len(which.get("loan_ids") or ()) > 1 else lock_loans(**which)

    def cancel_when_both_are_here(**arguments: Any) -> Reservation:
        with suppress(BrokenBarrierError):
            both_are_here.wait(0.5)
        return cancel_by_staff(**arguments)

    if not at_once:
        monkeypatch.setattr(locks, "lock_loans", lock_row_by_row)
    cancel = next(action for action in ACTIONS if (action.model, action.name) == (Reservation, "cancel"))
    action = replace(cancel, service=cancel_when_both_are_here)
    previews = together(
        lambda: preview(action, [first, second], {}, actor=STAFF),
        lambda: preview(action, [second, first], {}, actor=STAFF),
    )
    refusals = {each.refusal for rows in previews for each in rows} - {""}
    assert refusals == (set() if at_once else {"Another request is changing the same loan or investor. Try again in a moment."})
    assert set(Reservation.objects.values_list("state", flat=True)) == {"reserved"}
