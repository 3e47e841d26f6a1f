"""Any bytes at all are read or refused, and never end in a fault."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.dollars import MAX_DOLLARS
from loans.domain.errors import StatementRefused
from loans.statement_formats import lines
from loans.statement_formats.detection import MOST_BYTES, read_statement
from tests.loans.statement_formats.files import WRITERS, XML_HEADER, Payment, ofx

TWO = (Payment("5000.00", "Zoë T-D98F7445623D", "a1"), Payment("-12.50", "Fee", "a2"))
FILES = {name: write(*TWO) for name, write in WRITERS.items()} | {"xml": ofx(*TWO, header=XML_HEADER)}
PIECES = ["\n", "\r", ",", "/", '"', ";", "<", ">", "</", "&", "<STMTTRN>", "</STMTTRN>", "<![CDATA[", "]]>", "<!ENTITY", "-", "9" * 20]
PIECES += ["16,", "88,", "49,", "\x00", "\x85", "\u2028", "é", "٥", "inf", "1e9", "D,99,", "date,amount\n", "<OFX>", "01,"]
damage = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 30), st.sampled_from(PIECES)), max_size=5)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_file_is_read_whatever_its_encoding(name: str, encoding: str, line_end: str) -> None:
    statement = read_statement(FILES[name].replace("\n", line_end).encode(encoding))
    assert statement.format == name.replace("xml", "ofx")
    assert statement.bad_lines == []
    assert [str(line.amount) for line in statement.lines] == ["5000.00", "-12.50"]
    assert "Zoë T-D98F7445623D" in statement.lines[0].text
    assert statement == read_statement(FILES[name].encode())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "It is empty."),
        (b"\xef\xbb\xbf \r\n", "It is empty."),
        (FILES["csv"].encode("utf-16-le"), "It is not a text file."),
        (b"PK\x03\x04\x00\x00", "It is not a text file."),
        (b"\xff\xfe\x00", "It is not a text file."),
        (b" " * (MOST_BYTES + 1), "It has more than 8 MiB."),
        (b"hello", "It is neither OFX nor BAI2"),
    ],
)
def test_other_files_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(StatementRefused) as refused:
        read_statement(content)
    assert reason in refused.value.detail


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_has_a_bounded_number_of_lines(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_LINES", 3)
    read_statement(WRITERS[name](*[Payment(f"{number}.00", id=str(number)) for number in range(1, 4)]).encode())
    with pytest.raises(StatementRefused, match="Split it by days"):
        read_statement(WRITERS[name](*[Payment(f"{number}.00", id=str(number)) for number in range(1, 5)]).encode())


def test_only_the_first_bad_lines_are_kept() -> None:
    statement = read_statement(("date,amount\n" + "x,y\n" * 5000).encode())
    assert (len(statement.bad_lines), statement.bad_lines_count) == (200, 5000)


def read_or_refuse(content: bytes) -> None:
    try:
        statement = read_statement(content)
    except StatementRefused:
        return
    assert len({line.event_id for line in statement.lines}) == len(statement.lines)
    for line in statement.lines:
        assert 0 < abs(line.amount) <= MAX_DOLLARS
        assert line.text.isprintable()
        assert 2000 <= line.occurred_at.year <= 2200


@given(st.sampled_from(sorted(FILES)), damage)
def test_a_damaged_file_is_read_or_refused(name: str, edits: list[tuple[int, int, str]]) -> None:
    text = FILES[name]
    for position, length, piece in edits:
        start = position % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    read_or_refuse(text.encode())


@given(st.binary(max_size=300), st.sampled_from([b"", b"<OFX>", b"01,", b"date,amount\n", b"\xff\xfe"]))
def test_any_bytes_are_read_or_refused(content: bytes, start: bytes) -> None:
    read_or_refuse(start + content)


@given(st.sampled_from(sorted(FILES)), st.integers(0, 5000))
def test_a_file_that_is_cut_off_says_no_more_than_the_whole(name: str, length: int) -> None:
    """OFX and BAI2 say where they end. A CSV does not, so there the last line may be lost or changed."""
    content = FILES[name].encode()
    try:
        cut = read_statement(content[:length])
    except StatementRefused:
        return
    whole = read_statement(content)
    if name != "csv" and not cut.bad_lines:
        assert cut == whole


@pytest.mark.parametrize(
    "content",
    [
        "<?xml" + " " * MOST_BYTES,
        "<OFX>" + "<A><![CDATA[" * 500_000,
        "<OFX>" + "<STMTTRN " * 500_000,
        "<OFX>" + "<A>" * 2_000_000,
        "<OFX>" + "&amp;" * 1_500_000 + "</OFX>",
        "01,\n" + "88," * 2_000_000,
        "01,\n" + "88,a\n" * 1_000_000,
        "date,amount\n" + "," * 8_000_000,
        "date,amount\n" + '"' * 8_000_000,
        "\n" * 8_000_000,
    ],
    ids=range(10),
)
def test_a_crafted_file_ends(content: str) -> None:
    """A reader that goes back for each tag or blank would take hours for these."""
    read_or_refuse(content.encode()[:MOST_BYTES])
