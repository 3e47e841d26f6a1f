"""Any list can be downloaded as CSV: complete, filtered, streamed, and safe to open in a spreadsheet."""

import csv
import io
import re
from typing import Any

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from loans.models import Investor, Loan, WebhookEndpoint
from peerloans.admin import csv_export
from peerloans.admin.base import CsvExportAdmin
from peerloans.csv_cells import escape_formula
from tests.factories import InvestorFactory, LoanFactory, UserFactory, reserved

pytestmark = pytest.mark.django_db


@pytest.fixture
def auditor(client: Client) -> Client:
    user = UserFactory(is_staff=True)
    user.groups.add(Group.objects.get(name="Auditors"))
    client.force_login(user)
    return client


def download(client: Client, path: str) -> list[dict[str, str]]:
    answer: Any = client.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))


def test_the_csv_has_the_rows_of_the_filtered_list(auditor: Client) -> None:
    loan = LoanFactory()
    reservations = [reserved(loan, amount) for amount in (1_000, 2_000)]
    reserved(LoanFactory(), 3_000)
    rows = download(auditor, f"/admin/loans/reservation/csv/?q={loan.reference}&state__exact=reserved&p=0")
    assert {(row["id"], row["loan"], row["amount"]) for row in rows} == {
        (str(reservation.pk), loan.reference, f"{reservation.amount:.2f}") for reservation in reservations
    }
    assert LogEntry.objects.get().change_message.startswith("Downloaded the list as CSV: q=LN-")


def test_the_list_links_to_its_csv(auditor: Client) -> None:
    page = auditor.get("/admin/loans/loan/?status__exact=open").content.decode()
    assert 'href="/admin/loans/loan/csv/?status__exact=open"' in page


def test_every_list_can_be_downloaded() -> None:
    ours = {model for model in site._registry if model._meta.app_label in {"loans", "cbsa", "knox"}}
    assert [model for model in ours if not isinstance(site._registry[model], CsvExportAdmin)] == []


def test_downloading_needs_the_permission_to_view(client: Client) -> None:
    client.force_login(UserFactory(is_staff=True))
    assert client.get("/admin/loans/loan/csv/").status_code == 403
    assert not LogEntry.objects.exists()


def test_secrets_are_left_out(auditor: Client) -> None:
    WebhookEndpoint.objects.create(investor=InvestorFactory(), url="https://example.org/")
    (row,) = download(auditor, "/admin/loans/webhookendpoint/csv/")
    assert "secret" not in row
    assert all("password" not in row for row in download(auditor, "/admin/loans/user/csv/"))


def test_a_text_that_looks_like_a_formula_is_escaped(auditor: Client) -> None:
    names = ['=HYPERLINK("http://evil")', "+1", "-1", "@SUM(A1)", " =1", "＝1", "O'Hara & Söhne"]
    for name in names:
        InvestorFactory(name=name)
    downloaded = {row["name"] for row in download(auditor, "/admin/loans/investor/csv/")}
    assert downloaded == {f"'{name}" for name in names[:-1]} | {names[-1]}


FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


@given(st.text(max_size=20) | st.text(alphabet=';=-+@ \t\r\n"a', max_size=20))
def test_no_escaped_text_starts_a_formula(text: str) -> None:
    escaped = escape_formula(text)
    assert not any(cell.strip(' "\t').startswith(FORMULA_STARTS) for cell in re.split(r"[;\t\r\n]", escaped))
    assert escaped.replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a;=1+1", "a;'=1+1"),
        ('a; "@SUM(A1)', "a;' \"@SUM(A1)"),
        ("a\n-1", "a\n'-1"),
        ("\t=1", "'\t'=1"),
        ("a; b - c", "a; b - c"),
        ("x=1", "x=1"),
        ("loans@example.org", "loans@example.org"),
    ],
)
def test_a_cell_that_starts_after_a_semicolon_or_a_new_line_is_harmless(text: str, escaped: str) -> None:
    assert escape_formula(text) == escaped


def test_negative_numbers_are_not_escaped() -> None:
    loan = Loan(amount=-5)
    assert csv_export._cell(Loan._meta.get_field("amount"), loan) == "-5"


def test_batches_skip_and_repeat_no_row_and_take_one_query_each(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(7):
        InvestorFactory()
    monkeypatch.setattr(csv_export, "BATCH_ROWS", 3)
    with CaptureQueriesContext(connection) as queries:
        lines = "".join(csv_export.csv_lines(Investor.objects.all())).splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(pk) for pk in Investor.objects.order_by("pk").values_list("pk", flat=True)]
    assert len(queries) == 4  # the last returns no rows


def test_a_wrong_filter_redirects_to_the_list(auditor: Client) -> None:
    answer = auditor.get("/admin/loans/loan/csv/?closes_at__gte=zzz")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/loans/loan/?e=1")
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("query", ["nonsense=1", "id__exact=abc"])
def test_a_filter_that_the_list_does_not_name_is_refused(auditor: Client, query: str) -> None:
    assert auditor.get(f"/admin/loans/loan/csv/?{query}").status_code == 400
    assert not LogEntry.objects.exists()
