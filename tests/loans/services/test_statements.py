"""Preview and book statements: what a line is about, what follows from it, and that nothing is booked twice."""

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from loans.domain.errors import StatementRefused
from loans.domain.states import Direction, ReservationState
from loans.models import BankEvent, Reservation, ReviewItem, Transfer, Transition
from loans.services.bank_events import record_bank_event
from loans.services.staff_overrides import cancel_by_staff
from loans.services.statements import NOTICE_TYPES, ReportedLine, book_statement, check_statement, grouped, notice_of, preview_statement
from tests.factories import NOON, STAFF, LoanFactory, fresh, funded, inbound, notice, pending, refund_goes_out
from tests.loans.statement_formats.files import WRITERS, Payment, csv

pytestmark = pytest.mark.django_db
LATER = NOON + timedelta(days=3)


def book(text: str, **options: bool) -> list[str]:
    statement = check_statement(text.encode(), "july", LATER)
    return [each.result for each in book_statement(statement, file_name="july", now=LATER, **options)]


def preview(text: str) -> list[ReportedLine]:
    return preview_statement(check_statement(text.encode(), "july", LATER))


def kinds(text: str) -> list[str]:
    return [each.result for each in preview(text)]


def due_refund(amount: int = 5_000) -> Transfer:
    """Return the refund of a reservation that staff canceled after its money had been received."""
    reservation = funded(LoanFactory(), amount)
    cancel_by_staff(reservation_id=reservation.pk, actor=STAFF, reason="a test", now=NOON)
    return reservation.transfers.get(direction=Direction.REFUND)


def tables() -> tuple[object, ...]:
    """Return what a second run must not change."""
    return (
        list(Transfer.objects.order_by("pk").values()),
        list(Reservation.objects.order_by("pk").values()),
        list(BankEvent.objects.order_by("pk").values()),
        Transition.objects.count(),
        ReviewItem.objects.count(),
    )


@pytest.mark.parametrize("name", WRITERS)
def test_a_credit_clears_a_transfer_and_a_debit_pays_a_refund(name: str) -> None:
    reservation, refund = pending(LoanFactory(), 5_000), due_refund(7_000)
    reference = inbound(reservation).reference
    text = WRITERS[name](Payment("5000.00", f"from Ada {reference.lower()} thanks", "1"), Payment("-7000.00", refund.reference, "2"))
    assert kinds(text) == ["matched", "matched"]
    assert book(text) == ["funded", "paid"]
    assert (fresh(reservation).received, fresh(refund).status) == (Decimal(5_000), "paid")
    assert kinds(text) == ["known", "known"]
    before = tables()
    assert book(text) == ["already_known", "already_known"]
    assert tables() == before


def test_a_debit_returns_a_payment() -> None:
    reservation = funded(LoanFactory(), 5_000)
    assert book(csv(Payment("-5000.00", inbound(reservation).reference, "1"))) == ["returned"]
    assert fresh(reservation).state == ReservationState.CANCELED


def test_a_line_becomes_a_notice_by_its_reference_and_its_direction() -> None:
    payments = [Payment(f"{sign}7.00", f"{letter}-D98F7445623D", f"{letter}{sign}") for letter in "TR" for sign in ("", "-")]
    lines = check_statement(csv(*payments).encode(), "july", LATER).lines
    assert [notice_of(line).type for line in lines] == [NOTICE_TYPES[key] for key in (("T", True), ("T", False), ("R", True), ("R", False))]
    assert {notice_of(line).amount for line in lines} == {Decimal("7.00")}


def test_lines_are_booked_in_the_order_of_time_whatever_that_of_the_file() -> None:
    reservation = pending(LoanFactory(), 5_000)
    reference = inbound(reservation).reference
    newest_first = csv(Payment("-5000.00", reference, "2", "2026-07-02"), Payment("5000.00", reference, "1", "2026-07-01"))
    assert book(newest_first) == ["returned", "funded"]


def test_history_names_the_statement_and_the_line() -> None:
    reservation = pending(LoanFactory(), 5_000)
    book(csv(Payment("5000.00", inbound(reservation).reference, "1")))
    transition = reservation.transitions.filter(event="funded").get()
    assert (transition.actor, transition.reason) == ("bank", "Statement july, line 2")


def test_statements_that_overlap_book_each_line_once() -> None:
    reservations = [pending(LoanFactory(), 5_000) for _ in range(3)]
    payments = [Payment("5000.00", inbound(reservation).reference, str(number)) for number, reservation in enumerate(reservations)]
    assert book(csv(*payments[:2])) == ["funded", "funded"]
    assert book(csv(*payments[1:])) == ["already_known", "funded"]
    assert [fresh(reservation).received for reservation in reservations] == [5_000] * 3


def test_a_line_without_a_reference_of_ours_is_listed_with_its_text() -> None:
    text = csv(Payment("5000.00", "Ada Lovelace wire", "1"), Payment("-3.00", "Fee", "2"), Payment("1.00", "T-000000000000", "3"))
    assert kinds(text) == ["unmatched"] * 3
    assert book(text) == ["unknown_reference"] * 3
    items = ReviewItem.objects.filter(kind="unknown_reference")
    assert items.count() == 3
    assert items.filter(detail__contains="Ada Lovelace wire", resolved_at=None).exists()
    before = tables()
    assert book(text) == ["already_known"] * 3
    assert tables() == before


def test_a_text_with_two_references_is_listed() -> None:
    references = " ".join(inbound(pending(LoanFactory(), 5_000)).reference for _ in range(2))
    assert book(csv(Payment("5000.00", references, "1"))) == ["unknown_reference"]


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        (["5000.00"], ["matched"]),
        (["4999.99"], ["differing"]),
        (["3000.00", "2000.00"], ["differing", "matched"]),
        (["5000.00", "5000.00"], ["matched", "differing"]),
        (["5000.00", "-5000.00"], ["matched", "matched"]),
        (["-5000.00", "5000.00"], ["matched", "matched"]),
        (["5000.00", "-4000.00"], ["matched", "matched"]),  # a part is returned
        (["5000.00", "-5000.01"], ["matched", "differing"]),
        (["-5000.00"], ["matched"]),
    ],
)
def test_the_preview_of_the_lines_of_one_transfer(amounts: list[str], expected: list[str]) -> None:
    reference = inbound(pending(LoanFactory(), 5_000)).reference
    before = tables()
    assert kinds(csv(*(Payment(amount, reference, str(number)) for number, amount in enumerate(amounts)))) == expected
    assert tables() == before


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [
        (["-5000.00"], ["matched"]),
        (["-4000.00"], ["differing"]),
        (["5000.00"], ["differing"]),
        (["-5000.00", "5000.00"], ["matched", "matched"]),
    ],
)
def test_the_preview_of_the_lines_of_one_refund(amounts: list[str], expected: list[str]) -> None:
    refund = due_refund()
    assert kinds(csv(*(Payment(amount, refund.reference, str(number)) for number, amount in enumerate(amounts)))) == expected


def test_the_preview_says_why_a_line_differs() -> None:
    refund = due_refund()
    refund_goes_out(refund)
    lines = preview(csv(Payment("-5000.00", refund.reference, "1"), Payment("1.00", inbound(pending(LoanFactory(), 5_000)).reference, "2")))
    assert [each.note for each in lines][1] == "$5,000.00 is expected."


def test_the_same_id_with_another_amount_differs_and_changes_nothing_but_a_review_item() -> None:
    reservation = pending(LoanFactory(), 5_000)
    reference = inbound(reservation).reference
    book(csv(Payment("5000.00", reference, "1")))
    assert kinds(csv(Payment("6000.00", reference, "1"))) == ["differing"]
    assert book(csv(Payment("6000.00", reference, "1"))) == ["funded"]
    assert fresh(reservation).received == 5_000
    assert ReviewItem.objects.filter(kind="event_differs").count() == 1


def test_the_preview_knows_an_event_about_the_same_money_once() -> None:
    reservation = pending(LoanFactory(), 5_000)
    reference = inbound(reservation).reference
    record_bank_event(notice("transfer.cleared", reference, 5_000, event="evt-1"), now=NOON)
    once, twice = Payment("5000.00", reference, "1"), Payment("5000.00", reference, "2")
    assert [(each.result, each.note) for each in preview(csv(once))] == [("known", "from the bank's event evt-1")]
    assert kinds(csv(once, twice)) == ["known", "differing"]
    assert kinds(csv(Payment("4000.00", reference, "1"))) == ["differing"]
    assert kinds(csv(once._replace(day="2026-06-16"))) == ["known"], "ten banking days: Juneteenth is none"
    assert kinds(csv(once._replace(day="2026-06-15"))) == ["differing"]


@pytest.mark.parametrize("event_first", [True, False])
def test_a_line_and_an_event_about_the_same_money_are_booked_once(event_first: bool) -> None:
    reservation = pending(LoanFactory(), 5_000)
    reference = inbound(reservation).reference
    event, text = notice("transfer.cleared", reference, 5_000), csv(Payment("5000.00", reference, "1"))
    for _ in range(2):
        for step in (lambda: record_bank_event(event, now=LATER), lambda: book(text))[:: 1 if event_first else -1]:
            step()
    assert (fresh(reservation).received, fresh(reservation).refunded) == (5_000, 0)


def test_a_credit_bounces_a_refund() -> None:
    refund = due_refund()
    book(csv(Payment("-5000.00", refund.reference, "1"), Payment("5000.00", refund.reference, "2")))
    assert fresh(refund).status == "due"


def test_the_same_statement_in_another_format_is_not_booked_unless_staff_accept_it() -> None:
    reservation = pending(LoanFactory(), 5_000)
    payment = Payment("5000.00", inbound(reservation).reference, "1")
    book(csv(payment))
    other = WRITERS["ofx"](payment)
    assert kinds(other) == ["doubtful"]
    with pytest.raises(StatementRefused, match="1 line seems to be booked already"):
        book(other)
    assert fresh(reservation).refunded == 0
    assert book(other, accept_doubtful=True) == ["possible_duplicate"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("date,amount\n2026-07-01,x\n2026-07-06,5\n", "july: 2 lines cannot be read, so nothing was booked."),
        ("date,amount\n", "july: it has no line with money."),
        ("hello", "july: It is neither OFX nor BAI2"),
    ],
)
def test_a_statement_is_checked_whole(text: str, reason: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        check_statement(text.encode(), "july", LATER)
    assert refused.value.detail.startswith(reason)


def test_bad_lines_name_the_file_the_line_and_the_reason() -> None:
    with pytest.raises(StatementRefused) as refused:
        check_statement(b"date,amount\n2026-07-07,5\n2026-07-01,x\n", "july", LATER)
    assert refused.value.data["bad_lines"] == [
        {"file": "july", "line": 2, "reason": "its day, 2026-07-07, lies in the future."},
        {"file": "july", "line": 3, "reason": "'x' is not an amount such as -1234.56."},
    ]


def test_a_line_that_is_too_large_to_be_recorded_is_left_out_and_the_others_are_booked() -> None:
    first, second = (inbound(pending(LoanFactory(), 5_000)).reference for _ in range(2))
    text = csv(*(Payment(f"999999999999.9{number}", first, str(number)) for number in range(2)), Payment("5000.00", second, "3"))
    results = Counter(book(text))
    assert (results["refused"], results["funded"]) == (1, 2)


def test_the_preview_takes_the_same_queries_however_long() -> None:
    references = [inbound(pending(LoanFactory(), 5_000)).reference for _ in range(5)]
    payments = [Payment("5000.00", reference, str(number)) for number, reference in enumerate(references)]
    counts = []
    for some in (payments[:1], payments):
        statement = check_statement(csv(*some).encode(), "july", LATER)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            preview_statement(statement)
        counts.append(len(queries))
        assert "FOR" not in " ".join(query["sql"].replace("FORCE", "") for query in queries).split(), "it locks nothing"
    assert counts == [3, 3]


def test_a_report_adds_up_the_dollars_of_each_group() -> None:
    reference = inbound(pending(LoanFactory(), 5_000)).reference
    groups = grouped(preview(csv(Payment("5000.00", reference, "1"), Payment("7.00", "x", "2"), Payment("-3.00", "y", "3"))), most_lines=1)
    assert [(group["result"], group["count"], group["dollars_in"], group["dollars_out"]) for group in groups] == [
        ("unmatched", 2, "7.00", "3.00"),
        ("matched", 1, "5000.00", "0.00"),
    ]
    assert [len(group["lines"]) for group in groups] == [1, 1]  # type: ignore[arg-type]
