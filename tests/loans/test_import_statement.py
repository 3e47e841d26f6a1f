"""The command: its options, what it prints, and its exit status."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from loans.domain.errors import Busy
from loans.management.commands import import_statement
from loans.models import BankEvent, StatementImport
from loans.services import statements
from tests.factories import LoanFactory, inbound, pending
from tests.loans.statement_formats.files import Payment, bai2, csv

pytestmark = pytest.mark.django_db
Write = Callable[[str], str]


def command(*arguments: str) -> tuple[int, str, str]:
    """Return the exit status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("import_statement", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}"
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(text: str) -> str:
        path = tmp_path / "july.csv"
        path.write_text(text)
        return str(path)

    return write_file


@pytest.fixture
def payments() -> list[Payment]:
    now = timezone.now()
    reference = inbound(pending(LoanFactory(now=now), 5_000, now=now)).reference
    return [Payment("5000.00", reference, "1"), Payment("-3.00", "Monthly fee", "2")]


def test_a_statement_is_booked_and_what_needs_a_person_is_printed(payments: list[Payment], write: Write) -> None:
    status, out, err = command(write(csv(*payments)))
    assert (status, err) == (0, "")
    assert out == (
        "                       lines         dollars in        dollars out\n"
        "funded                     1           5,000.00               0.00\n"
        "unknown reference          1               0.00               3.00\n"
        "line 3, unknown_reference: 2026-07-01 -3.00 Monthly fee\n"
        "july.csv is booked.\n"
    )
    recorded = StatementImport.objects.get()
    assert (recorded.state, recorded.format, len(recorded.sha256)) == ("booked", "csv", 64)
    assert "already known              2           5,000.00               3.00" in command(write(csv(*payments)))[1]


def test_a_dry_run_prints_what_the_lines_are_about_and_books_nothing(payments: list[Payment], write: Write) -> None:
    status, out, _ = command("--dry-run", write(csv(*payments)))
    assert status == 0
    assert "matched                    1           5,000.00               0.00" in out
    assert "line 3, unmatched: 2026-07-01 -3.00 Monthly fee" in out
    assert out.endswith("july.csv is checked. Nothing was booked.\n")
    assert not BankEvent.objects.exists()
    assert not StatementImport.objects.exists()


def test_json_has_every_line(payments: list[Payment], write: Write) -> None:
    document = json.loads(command("--json", "--dry-run", write(csv(*payments)))[1])
    assert document["outcome"] == "checked"
    assert [line["line"] for group in document["results"] for line in group["lines"]] == [3, 2]


def test_bad_lines_are_printed_one_a_line_and_nothing_is_booked(payments: list[Payment], write: Write) -> None:
    path = write(csv(*payments) + "2026-07-01,x,y,3\n")
    status, out, err = command(path)
    assert (status, out) == (1, "")
    assert err == ("july.csv:4: 'x' is not an amount such as -1234.56.\njuly.csv: 1 line cannot be read, so nothing was booked.")
    assert not BankEvent.objects.exists()
    document = json.loads(command("--json", path)[1])
    assert (document["outcome"], document["bad_lines"][0]["line"]) == ("refused", 4)


@pytest.mark.parametrize("path", ["/nowhere/x.ofx", "/"])
def test_a_file_that_cannot_be_read_is_refused(path: str) -> None:
    status, _, err = command(path)
    assert status == 1
    assert err.startswith(path)


def test_a_statement_comes_from_standard_input(payments: list[Payment], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bai2(*payments).encode())))
    status, out, _ = command("-")
    assert (status, out.splitlines()[-1]) == (0, "standard input is booked.")


def test_a_line_whose_loan_stays_locked_is_printed_and_the_status_is_3(
    payments: list[Payment], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> str:
        raise Busy("Another request is changing this loan.")

    monkeypatch.setattr(statements, "record_bank_event", busy)
    status, out, err = command(write(csv(*payments)))
    assert status == import_statement.INCOMPLETE
    assert "line 2, busy: 2026-07-01 5,000.00" in out
    assert err.startswith("2 lines were not booked.")
    monkeypatch.undo()
    assert command(write(csv(*payments)))[0] == 0


def test_a_doubtful_statement_is_booked_only_where_that_is_accepted(payments: list[Payment], write: Write) -> None:
    command(write(csv(*payments)))
    path = write(bai2(*payments))
    assert command(path)[0] == 1
    assert command("--accept-doubtful", path)[0] == 0


def test_help_explains_kinds_columns_and_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_statement.Command().create_parser("manage.py", "import_statement").parse_args(["--help"])
    text = capsys.readouterr().out
    for word in (*statements.KINDS, *statements.NOTICE_TYPES.values(), "--dry-run", "OFX", "BAI2", "Exit status"):
        assert word in text
