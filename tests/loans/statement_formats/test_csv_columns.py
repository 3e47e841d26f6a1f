"""CSV files: columns by name, amounts and dates as banks write them, and ids."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from loans.domain.errors import StatementRefused
from loans.statement_formats.csv_columns import parse_csv_date, read_csv
from loans.statement_formats.lines import Unreadable, parse_amount


def amounts(text: str) -> list[Decimal]:
    statement = read_csv(text)
    assert statement.bad_lines == []
    return [line.amount for line in statement.lines]


@pytest.mark.parametrize(
    "text",
    [
        "date,amount\n2026-07-01,5.00\n2026-07-01,-2.00\n",
        "Amount;DATE\n5.00;2026-07-01\n(2.00);2026-07-01\n",
        "Account 123\nAs of today\n\nDate\tAmount\n2026-07-01\t$5.00\n2026-07-01\t-$2.00\n",
        "Posting Date,Credit,Debit\n07/01/2026,5.00,\n7/1/2026,,2.00\n",
        "Date,Deposits,Withdrawals\n2026-07-01,5.00,0.00\n2026-07-01,0.00,-2.00\n",
        "Details,Posting Date,Description,Amount,Type,Balance\nCREDIT,07/01/2026,x,5.00,ACH,1,\nDEBIT,07/01/2026,x,-2.00,ACH,1,\n",
        "date,amount,direction\n2026-07-01,5.00,credit\n2026-07-01,2.00,debit\n",
        'date,amount\n2026-07-01,"5.00"\n\n2026-07-01,-2.00\n,\n2026-07-01,0.00\n',
        "date|amount\n2026-07-01|5.00\n2026-07-01|-2.00",
    ],
)
def test_columns_by_name(text: str) -> None:
    assert amounts(text) == [Decimal("5.00"), Decimal("-2.00")]


def test_all_texts_are_searched_for_a_reference_and_the_first_line_of_a_row_is_named() -> None:
    text = 'date,amount,description,payer,reference\n2026-07-01,5,"two\nlines",Ada,T-1\n2026-07-01,x,,,\n'
    statement = read_csv(text)
    assert statement.lines[0].text == "Ada two lines T-1"
    assert [(bad.line, bad.reason) for bad in statement.bad_lines] == [(4, "'x' is not an amount such as -1234.56.")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2026-07-01,5.00,x,USD", "it has 4 columns in place of 5."),
        ("2026-07-01,5,000.00,x,1,USD", "it has more columns than the 5 that have names."),
        ("2026-07-01,,x,1,USD", "it has no amount."),
        (",5.00,x,1,USD", "'' is not a date"),
        ("2026-07-01,5.00,x,,USD", "it has no id."),
        ("2026-07-01,5.00,x,1,EUR", "the currency is 'EUR', not USD."),
        ("2026-07-01,-5.00,credit,1,USD", "it is a credit of -5.00."),
    ],
)
def test_a_bad_line_is_named(row: str, reason: str) -> None:
    statement = read_csv(f"date,amount,details,id,currency\n{row}\n")
    assert [bad.line for bad in statement.bad_lines] == [2]
    assert reason in statement.bad_lines[0].reason


def test_thousands_without_quotes_are_no_empty_column_at_the_end() -> None:
    statement = read_csv("date,amount,memo\n2026-07-01,5.00,x,\n2026-07-01,5,000.00,x,\n2026-07-01,5,000.00,\n")
    assert [bad.line for bad in statement.bad_lines] == [3]


@pytest.mark.parametrize(("credit", "debit"), [("5", "5"), ("-5", ""), ("", "")])
def test_a_line_is_either_a_credit_or_a_debit(credit: str, debit: str) -> None:
    assert read_csv(f"date,credit,debit\n2026-07-01,{credit},{debit}\n").bad_lines_count == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("when,how much\n1,2\n", "no row names the columns"),
        ("date,credit\n2026-07-01,5\n", "no row names the columns"),
        ("date,amount,amount\n2026-07-01,5,6\n", "Several columns have the name 'amount'."),
        ('date,amount\n2026-07-01,"5\n', "It cannot be read as CSV"),
        (f"date,amount\n2026-07-01,{'5' * 200_000}\n", "It cannot be read as CSV"),
        ("%PDF-1.7", "no row names the columns"),
    ],
)
def test_a_file_without_rows_is_refused(text: str, reason: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        read_csv(text)
    assert reason in refused.value.detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", "5.00"),
        (".5", "0.50"),
        ("5.", "5.00"),
        ("+5.00", "5.00"),
        ("1,234,567.89", "1234567.89"),
        ("5.1000", "5.10"),
        ("-$1,000.00", "-1000.00"),
        ("($3.00)", "-3.00"),
        (" 7 ", "7.00"),
        ("999999999999.99", "999999999999.99"),
    ],
)
def test_amounts(text: str, expected: str) -> None:
    assert str(parse_amount(text)) == expected


@pytest.mark.parametrize(
    "text", ["", ".", "-", "$", "1,23", "1.234,56", "12,34,567", "1e3", "inf", "٥", "5-", "--5", "(-5)", "5 USD", "0x5", "1000000000000"]
)
def test_no_amounts(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_amount(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01", (2026, 7, 2, 3, 59, 59)),
        ("2026-07-01 00:00:00", (2026, 7, 2, 3, 59, 59)),
        ("07/01/2026", (2026, 7, 2, 3, 59, 59)),
        ("2026-07-01T12:00:00Z", (2026, 7, 1, 12, 0, 0)),
        ("2026-07-01T12:00:00-04:00", (2026, 7, 1, 16, 0, 0)),
    ],
)
def test_dates(text: str, expected: tuple[int, ...]) -> None:
    assert parse_csv_date(text) == datetime(*expected, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("text", ["", "2026-02-31", "13/01/2026", "01/07/26", "2026-07-01 12:00:00", "9999-12-31"])
def test_no_dates(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_csv_date(text)


def test_a_row_is_known_again_by_its_id_or_by_everything_it_says() -> None:
    def event_ids(text: str) -> list[str]:
        return [line.event_id for line in read_csv(text).lines]

    assert event_ids("date,amount,id\n2026-07-01,5,a\n") == event_ids("id,memo,date,amount\na,new,2026-07-01,5.00\n")
    twice = event_ids("date,amount,memo\n2026-07-01,5,x\n2026-07-01,5.00,x\n")
    assert len(set(twice)) == 2, "two equal rows are two payments"
    assert event_ids("memo,amount,date\nx,5,07/01/2026\n") == twice[:1], "and another file that has one of them has the first"
    assert read_csv("date,amount,id\n2026-07-01,5,a\n2026-07-01,6,a\n").bad_lines_count == 1
