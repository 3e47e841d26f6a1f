"""OFX files: what is read, and what is refused because money could be lost in it."""

import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from loans.domain.errors import StatementRefused
from loans.statement_formats.lines import Unreadable
from loans.statement_formats.ofx import parse_ofx_date, read_ofx
from tests.loans.statement_formats.files import XML_HEADER, Payment, ofx

TWO = (Payment("5000.00", "T-D98F7445623D", "a1"), Payment("-12.5", "Fee", "a2", "2026-07-02"))


def test_lines_are_read_with_the_banks_ids() -> None:
    first, second = read_ofx(ofx(*TWO)).lines
    assert (first.account, first.bank_id, first.amount, first.text) == ("021000021 1234567", "a1", Decimal("5000.00"), "T-D98F7445623D")
    assert first.occurred_at == datetime(2026, 7, 2, 3, 59, 59, tzinfo=UTC), "a day alone ends in New York"
    assert (second.amount, second.line) == (Decimal("-12.50"), ofx(*TWO).rpartition("<STMTTRN>")[0].count("\n") + 1)


def test_elements_that_end_are_read_as_those_that_do_not() -> None:
    text = ofx(*TWO)
    ended = "\n".join(f"{line}</{line[1:].split('>')[0]}>" if ">" in line[:-1] else line for line in text.split("\n")[10:])
    assert read_ofx(XML_HEADER + ended).lines[0].event_id == read_ofx(text).lines[0].event_id
    assert len(read_ofx(XML_HEADER + ended.replace("\n", "")).lines) == 2, "all on one line"


@pytest.mark.parametrize(
    ("memo", "expected"),
    [
        ("A &amp; B &lt;c&gt;", "A & B <c>"),
        ("<![CDATA[A & B <c>]]>", "A & B <c>"),
        ("<![CDATA[one]]> <![CDATA[two]]>", "one two"),
        ("&#x54;-1", "T-1"),
        ("&bomb;", "&bomb;"),
    ],
)
def test_texts(memo: str, expected: str) -> None:
    assert read_ofx(ofx(Payment("1.00", memo))).lines[0].text == expected


def test_cdata_on_one_line_swallows_no_payment() -> None:
    text = ofx(Payment("1.00", "<![CDATA[a]]>"), Payment("2.00", "<![CDATA[b]]>"))
    assert [line.text for line in read_ofx(text.replace("\n", "")).lines] == ["a", "b"]


def test_names_of_the_payer_stand_before_the_memo() -> None:
    payee = "<PAYEE>\n<NAME>Ada\n<CITY>Rome\n</PAYEE>\n"
    assert read_ofx(ofx(Payment("1.00", "T-1"), extra=payee)).lines[0].text == "Ada T-1"


def test_the_same_id_in_two_statements_of_one_file_is_one_line_and_another_account_has_its_own() -> None:
    ids = [read_ofx(ofx(Payment("1.00", id="x"), account=account)).lines[0].event_id for account in ("1", "1", "2")]
    assert ids[0] == ids[1] != ids[2]
    assert len(read_ofx(ofx(Payment("1.00", id="x"), Payment("1.00", id="x"))).lines) == 1


@pytest.mark.parametrize(
    ("changed", "to", "reason"),
    [
        ("<FITID>a1", "", "its account (ACCTID) or its id (FITID) is absent."),
        ("<FITID>a1", f"<FITID>{'1' * 256}", "more than 255 characters"),
        ("<FITID>a2", "<FITID>a1", "it has the id a1 of line 39, but another amount or date."),
        ("<ACCTID>1234567", "<ACCTID>", "absent"),
        ("<TRNAMT>5000.00", "<TRNAMT>5,000.00", "is not an amount"),
        ("<TRNAMT>5000.00", "<TRNAMT>1e9", "is not an amount"),
        ("<TRNAMT>5000.00", "<TRNAMT>NaN", "is not an amount"),
        ("<TRNAMT>5000.00", "<TRNAMT>5000.001", "parts of a cent"),
        ("<TRNAMT>5000.00", "<TRNAMT>1000000000000", "is more than 999,999,999,999.99"),
        ("<TRNAMT>5000.00", f"<TRNAMT>{'9' * 5000}", "is not an amount"),
        ("<TRNAMT>5000.00", "", "is not an amount"),
        ("<TRNTYPE>OTHER", "<TRNTYPE>DEBIT", "its type is DEBIT, but its amount is 5000.00."),
        ("<DTPOSTED>20260701", "<DTPOSTED>20260231", "is not a date"),
        ("<DTPOSTED>20260701", "<DTPOSTED>99991231", "the year 9999"),
        ("<DTPOSTED>20260701", "", "is not a date"),
        ("<CURDEF>USD", "<CURDEF>EUR", "the currency is 'EUR', not USD."),
        ("<MEMO>T-D98F7445623D", "<CURRENCY><CURRATE>1.1<CURSYM>CAD</CURRENCY>", "the currency is 'CAD', not USD."),
        ("<MEMO>T-D98F7445623D", "<CORRECTFITID>a0", "it corrects another line."),
    ],
)
def test_a_bad_line_is_named(changed: str, to: str, reason: str) -> None:
    statement = read_ofx(ofx(*TWO).replace(changed, to, 1))
    assert statement.bad_lines_count >= 1
    assert reason in statement.bad_lines[0].reason
    assert statement.bad_lines[0].reason.startswith("transaction ")


@pytest.mark.parametrize(
    ("changed", "to", "reason"),
    [
        ("</OFX>", "", "It is cut off: its <OFX> does not end."),
        ("</STMTTRN>", "", "<STMTTRN> begins before the one before has ended."),
        ("</BANKTRANLIST>", "", "</STMTRS> stands where <BANKTRANLIST> is expected to end."),
        ("<MEMO>Fee", "<MEMO><![CDATA[Fee", "a CDATA section does not end"),
        ("<MEMO>Fee", "<MEMO>Fee < 3", "cannot be read"),
        ("<MEMO>Fee", '<MEMO x="1">Fee', "cannot be read"),
        ("</OFX>", "</OFX><OFX>", "does not end"),
        ("</STMTTRN>", "</STMTTRN>lost", "text after </STMTTRN>: 'lost'"),
        ("STMTRS>", "CCSTMTRS>", "It has no statement of a bank account (STMTRS)."),
    ],
)
def test_a_file_that_could_hide_a_payment_is_refused(changed: str, to: str, reason: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        read_ofx(ofx(*TWO).replace(changed, to))
    assert reason in refused.value.detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20260701", (2026, 7, 2, 3, 59, 59)),
        ("20260115", (2026, 1, 16, 4, 59, 59)),
        ("20260701000000", (2026, 7, 2, 3, 59, 59)),
        ("20260701000000.000[0:GMT]", (2026, 7, 1, 0, 0, 0)),
        ("20260701120000", (2026, 7, 1, 12, 0, 0)),
        ("202607011200", (2026, 7, 1, 12, 0, 0)),
        ("20260701120000.500[-5:EST]", (2026, 7, 1, 17, 0, 0)),
        ("20260701120000[+5.30:IST]", (2026, 7, 1, 6, 30, 0)),
        ("20260701120000[-3.30]", (2026, 7, 1, 15, 30, 0)),
    ],
)
def test_dates(text: str, expected: tuple[int, ...]) -> None:
    assert parse_ofx_date(text) == datetime(*expected, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("text", ["", "2026070", "20261301", "20260701250000", "20260701120060", "20260701120000[99]", "２０２６0701"])
def test_no_dates(text: str) -> None:
    with pytest.raises(Unreadable):
        parse_ofx_date(text)


@pytest.mark.parametrize("header", ["sgml", "xml"])
def test_ofxtools_reads_the_same(header: str) -> None:
    """A second opinion by a library that checks a file against the whole of OFX."""
    from ofxtools.Parser import OFXTree

    text = ofx(*TWO, extra="<NAME>Ada &amp; Co\n") if header == "sgml" else ofx(*TWO, header=XML_HEADER)
    tree = OFXTree()
    tree.parse(io.BytesIO(text.encode()))
    theirs = tree.convert().statements[0]
    ours = read_ofx(text).lines
    assert [(each.fitid, each.trnamt) for each in theirs.transactions] == [(line.bank_id, line.amount) for line in ours]
    assert {f"{theirs.account.bankid} {theirs.account.acctid}"} == {line.account for line in ours}
