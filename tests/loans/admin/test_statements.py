"""Statements in the admin, over HTTP. The tests call the worker's function themselves."""

from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from loans.models import BankEvent, StatementImport, User
from loans.services import statement_imports
from loans.statement_formats.detection import MOST_BYTES
from tests.factories import LoanFactory, fresh, inbound, pending
from tests.loans.statement_formats.files import Payment, bai2, csv

pytestmark = pytest.mark.django_db
ADD = "/admin/loans/statementimport/add/"
REASON = "The bank's file of July"


@pytest.fixture
def operations(client: Client) -> Client:
    user = User.objects.create_user("olga", is_staff=True)
    user.groups.add(Group.objects.get(name="Operations"))
    client.force_login(user)
    return client


@pytest.fixture
def payments() -> list[Payment]:
    now = timezone.now()
    reference = inbound(pending(LoanFactory(now=now), 5_000, now=now)).reference
    return [Payment("5000.00", reference, "1"), Payment("-3.00", "Monthly fee <b>", "2")]


def upload(client: Client, text: str | bytes, name: str = "july.csv") -> StatementImport:
    content = text.encode() if isinstance(text, str) else text
    response = client.post(ADD, {"file": SimpleUploadedFile(name, content)})
    assert response.status_code == 302, response.context["form"].errors
    return StatementImport.objects.latest("pk")


def page(client: Client, statement_import: StatementImport) -> str:
    response = client.get(f"/admin/loans/statementimport/{statement_import.pk}/change/")
    assert response.status_code == 200
    return unescape(response.content.decode())


def test_a_statement_is_uploaded_checked_read_and_booked(operations: Client, payments: list[Payment]) -> None:
    statement_import = upload(operations, csv(*payments))
    address = f"/admin/loans/statementimport/{statement_import.pk}/"
    assert operations.get(f"{address}change/")["Refresh"]
    statement_imports.run_import(statement_import.pk)
    shown = page(operations, statement_import)
    for expected in ("Nothing is booked yet", "Matched", "Unmatched", "5,000.00", "Monthly fee <b>"):
        assert expected in shown
    assert "Refresh" not in operations.get(f"{address}change/")
    assert not BankEvent.objects.exists()
    assert operations.post(f"{address}book/", {"reason": "short"}).context["form"].errors
    assert operations.post(f"{address}book/", {"reason": REASON}).status_code == 302
    statement_imports.run_import(statement_import.pk)
    shown = page(operations, statement_import)
    assert "Funded" in shown
    assert "Unknown reference" in shown
    for event in BankEvent.objects.all():
        assert f"/admin/loans/bankevent/{event.pk}/change/" in shown
    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == [
        "Uploaded the statement.",
        f"Booked: {REASON}",
    ]


def test_bad_lines_are_listed_by_the_files_name(operations: Client) -> None:
    statement_import = upload(operations, "date,amount\n2026-07-01,<x>\n")
    statement_imports.run_import(statement_import.pk)
    shown = page(operations, statement_import)
    assert "july.csv: 1 line cannot be read, so nothing was booked." in shown
    assert "'<x>' is not an amount" in shown
    assert operations.post(f"/admin/loans/statementimport/{statement_import.pk}/book/", {"reason": REASON}).status_code == 302
    assert fresh(statement_import).state == "refused"


def test_doubtful_lines_need_a_tick(operations: Client, payments: list[Payment]) -> None:
    for text in (csv(*payments), bai2(*payments)):
        statement_import = upload(operations, text)
        statement_imports.run_import(statement_import.pk)
        address = f"/admin/loans/statementimport/{statement_import.pk}/book/"
        response = operations.post(address, {"reason": REASON})
        statement_imports.run_import(statement_import.pk)
    assert "Tick the box" in response.content.decode()
    assert operations.post(address, {"reason": REASON, "accept_doubtful": "on"}).status_code == 302
    statement_imports.run_import(statement_import.pk)
    assert fresh(statement_import).state == "booked"


def test_an_import_is_canceled_with_a_reason(operations: Client, payments: list[Payment]) -> None:
    statement_import = upload(operations, csv(*payments))
    operations.post(f"/admin/loans/statementimport/{statement_import.pk}/cancel/", {"reason": REASON})
    assert fresh(statement_import).state == "canceled"
    assert f"Canceled by olga: {REASON}" in page(operations, statement_import)


@pytest.mark.parametrize(
    "file",
    [None, SimpleUploadedFile("x.csv", b""), SimpleUploadedFile("x" * 101, b"x"), SimpleUploadedFile("x.csv", b"x" * (MOST_BYTES + 1))],
)
def test_a_file_is_asked_for(operations: Client, file: SimpleUploadedFile | None) -> None:
    response = operations.post(ADD, {"file": file} if file else {})
    assert response.status_code == 200
    assert response.context["form"].errors["file"]
    assert not StatementImport.objects.exists()


def test_the_list_takes_the_same_queries_however_long_and_its_csv_leaves_out_the_lines(
    operations: Client, payments: list[Payment], django_assert_max_num_queries: object
) -> None:
    for _ in range(5):
        upload(operations, csv(*payments))
    operations.get("/admin/")  # notes the session's use
    with django_assert_max_num_queries(9):  # type: ignore[operator]
        assert operations.get("/admin/loans/statementimport/").status_code == 200
    text = b"".join(operations.get("/admin/loans/statementimport/csv/").streaming_content).decode()  # type: ignore[attr-defined]
    assert text.count("july.csv") == 5
    assert "preview" not in text
