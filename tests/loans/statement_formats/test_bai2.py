"""BAI2 files: records inside each other, continuations, control totals, type codes, and ids."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from bai2.bai2 import parse_from_string

from loans.domain.errors import StatementRefused
from loans.statement_formats.bai2 import read_bai2
from tests.loans.statement_formats.files import Payment, bai2, bai2_of

TWO = (Payment("5000.00", "PAYMENT T-D98F7445623D, JULY", "ref1"), Payment("-12.50", "FEE", "ref2"))


def transactions(*records: str) -> str:
    """Return a file with these records of transactions, whose amounts are 100 cents each."""
    total, count = 100 * len(records), len(records) + sum(record.count("\n") for record in records)
    inside = ["02,US,BANK,1,260701,,,2/", "03,1,USD,,,,/", *records, f"49,{total},{count + 2}/", f"98,{total},1,{count + 4}/"]
    return bai2_of(inside, total)


def test_lines_are_read_with_the_banks_references() -> None:
    first, second = read_bai2(bai2(*TWO)).lines
    assert (first.account, first.bank_id, first.amount, first.line) == ("1234567", "ref1", Decimal("5000.00"), 4)
    assert first.text == "ref1 PAYMENT T-D98F7445623D JULY"
    assert first.occurred_at == datetime(2026, 7, 2, 3, 59, 59, tzinfo=UTC)
    assert second.amount == Decimal("-12.50")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ("16,165,100,Z,A,B,TEXT", "A B TEXT"),
        ("16,165,100,Z,A,B,TEXT/", "A B TEXT"),
        ("16,165,100,Z,A,B,PAY/ROLL", "A B PAY/ROLL"),
        ("16,165,100,Z,A,B,T-D98F74\n88,45623D", "A B T-D98F74 45623D"),
        ("16,165,100,Z/\n88,A,B/\n88,TEXT", "A B TEXT"),
        ("16,165,100,S,1,2,3,A,B,TEXT", "A B TEXT"),
        ("16,165,100,V,260702,,A,B,TEXT", "A B TEXT"),
        ("16,165,100,D,2,0,50,1,50,A,B,TEXT", "A B TEXT"),
        ("16,165,100/", ""),
        ("16,165,100,Z,,,   ", ""),
    ],
)
def test_records(record: str, text: str) -> None:
    (line,) = read_bai2(transactions(record)).lines
    assert (line.text, line.amount) == (text, Decimal("1.00"))


@pytest.mark.parametrize("code", ["100", "399", "920", "959"])
def test_these_types_are_credits(code: str) -> None:
    assert [line.amount for line in read_bai2(transactions(f"16,{code},100,Z,A,,x")).lines] == [1]


@pytest.mark.parametrize("code", ["400", "699", "960", "999"])
def test_these_types_are_debits(code: str) -> None:
    assert [line.amount for line in read_bai2(transactions(f"16,{code},100,Z,A,,x")).lines] == [-1]


def test_what_is_no_money_is_left_out() -> None:
    assert read_bai2(transactions("16,890,100,Z,,,NOTE")).lines == []
    assert read_bai2(bai2(Payment("0.00"))).lines == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("16,700,100,Z,,,LOAN", "its type code '700' is neither a credit"),
        ("16,1x5,100,Z,,,", "its type code"),
        ("16,165,1.00,Z,,,", "'1.00' is not a whole number of cents."),
        ("16,165,-100,Z,,,", "its amount has a sign."),
        ("16,165,100,D,x,", "the number of its availability dates"),
        ("16,165,999999999999999,Z,,,", "is more than 999,999,999,999.99."),
        (f"16,165,{'9' * 5000},Z,,,", "is not a whole number of cents."),
    ],
)
def test_a_bad_line_is_named(record: str, reason: str) -> None:
    bad = read_bai2(transactions(record)).bad_lines[0]
    assert bad.line == 4
    assert reason in bad.reason


@pytest.mark.parametrize(
    ("changed", "to", "line", "reason"),
    [
        ("16,165,500000", "16,165,500001", 6, "the control total is 506250 cents, but the records since line 3 add up to 506251."),
        ("98,506250,1", "98,506250,2", 7, "it counts '2' parts since line 2, but there are 1."),
        ("02,US,BANK,1", "02,US,BANK,3", 2, "the group has status '3'; only 1 (update) is booked."),
        (",,,2/\n02", ",,,3/\n02", 1, "the file has version '3', not 2."),
        ("260701", "261301", 4, "its group has the date '261301', not one such as 260701."),
        ("260701", "700101", 4, "the year 1970"),
        ("USD,2/", "EUR,2/", 4, "the currency is 'EUR', not USD."),
        ("03,1234567", "03,", 4, "its account has no number."),
        ("010,5000", "010,50.00", 3, "is not a whole number of cents."),
    ],
)
def test_a_file_that_does_not_add_up_is_not_booked(changed: str, to: str, line: int, reason: str) -> None:
    bad_lines = read_bai2(bai2(*TWO).replace(changed, to, 1)).bad_lines
    assert (line, True) in [(bad.line, reason in bad.reason) for bad in bad_lines]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_file_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(StatementRefused):
        read_bai2("\n".join(bai2(*TWO).split("\n")[: cut - 9]))


@pytest.mark.parametrize("lost", range(7))
def test_a_file_that_lacks_a_record_is_not_booked(lost: int) -> None:
    lines = bai2(*TWO).split("\n")
    del lines[lost]
    try:
        statement = read_bai2("\n".join(lines))
    except StatementRefused:
        return
    assert statement.bad_lines


def test_equal_lines_of_one_file_are_payments_of_their_own_whatever_their_order() -> None:
    same = Payment("1.00", "x", "ref")
    first, other, second = (line.event_id for line in read_bai2(bai2(same, Payment("2.00"), same)).lines)
    assert len({first, second, other}) == 3
    assert {line.event_id for line in read_bai2(bai2(same, same, Payment("2.00"))).lines} == {first, second, other}


def test_a_line_with_a_reference_is_the_same_where_only_its_text_differs() -> None:
    def event_id(payment: Payment) -> str:
        return read_bai2(bai2(payment)).lines[0].event_id

    assert event_id(Payment("1.00", "PENDING", "ref")) == event_id(Payment("1.00", "POSTED", "ref"))
    assert event_id(Payment("1.00", "PENDING")) != event_id(Payment("1.00", "POSTED"))
    assert event_id(Payment("1.00", "ref")) != event_id(Payment("1.00", "", "ref"))


def test_the_library_bai2_reads_the_same() -> None:
    """A second opinion, which checks the number of records as well."""
    text = bai2(*TWO)
    (group,) = parse_from_string(text).children
    (account,) = group.children
    theirs = [(each.bank_reference, each.amount, each.type_code.transaction.value) for each in account.children]
    ours = [(line.bank_id, int(abs(line.amount) * 100), "credit" if line.amount > 0 else "debit") for line in read_bai2(text).lines]
    assert theirs == ours
