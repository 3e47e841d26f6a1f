"""Documents of loans: who adds, removes and reads them, what is refused, and how they are served."""

from concurrent.futures import ThreadPoolExecutor
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.utils import timezone

from loans.domain.errors import Invalid, NotFound
from loans.domain.loan_documents import MOST_BYTES, MOST_DOCUMENTS
from loans.models import Loan, LoanDocument, LoanDocumentFile, User
from loans.services import loan_documents
from loans.services.loan_documents import add_document, remove_document
from loans.services.loans import withdraw_loan
from peerloans.web.door import larger_bodies
from tests.factories import STAFF, DraftFactory, InvestorFactory, LoanFactory, UserFactory
from tests.races.conftest import outcome

pytestmark = pytest.mark.django_db
PDF = b"%PDF-1.7\nOne page.\n%%EOF\n"
REASON = "The wrong file was added"


def member(group: str) -> Client:
    client, user = Client(), UserFactory(is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client.force_login(user)
    return client


@pytest.fixture
def operations() -> Client:
    return member("Operations")


@pytest.fixture
def loan() -> Loan:
    return LoanFactory(reference="PL-0001", now=timezone.now())


def add_address(loan: Loan) -> str:
    return f"/admin/loans/loan/{loan.pk}/documents/add/"


def upload(client: Client, loan: Loan, content: bytes = PDF, title: str = "Appraisal <b>", name: str = "a.pdf") -> Any:
    file = SimpleUploadedFile(name, content, content_type="text/html")
    return client.post(add_address(loan), {"file": file, "title": title}, follow=True)


def document(loan: Loan, content: bytes = PDF, title: str = "Appraisal") -> LoanDocument:
    return add_document(loan_id=loan.pk, title=title, content=content, user_id=UserFactory().pk)[0]


def text(response: Any) -> str:
    return " ".join(unescape(response.content.decode()).split())


def test_a_document_is_added_listed_downloaded_and_removed(operations: Client, loan: Loan, client: Client) -> None:
    added = upload(operations, loan)
    assert added.redirect_chain == [(f"/admin/loans/loan/{loan.pk}/change/", 302)]
    assert "Appraisal <b> is added." in text(added)
    kept = LoanDocument.objects.get()
    page = client.get("/loans/PL-0001/")
    address = f"/loans/PL-0001/documents/{kept.pk}/"
    assert f'<a href="{address}">Appraisal &lt;b&gt;</a> <span class="fine">PDF, 25\xa0bytes, {kept.added_at:%b}' in page.content.decode()
    answer = client.get(address)
    assert (answer.status_code, answer.content) == (200, PDF)
    assert {name: answer.headers[name] for name in ("Content-Type", "Content-Disposition", "X-Content-Type-Options")} == {
        "Content-Type": "application/pdf",
        "Content-Disposition": f'attachment; filename="PL-0001-{kept.pk}.pdf"',
        "X-Content-Type-Options": "nosniff",
    }
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["Cache-Control"] == "public, no-cache"
    assert client.get(address, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304
    removed = operations.post(f"/admin/loans/loan/{loan.pk}/documents/{kept.pk}/remove/", {"reason": REASON}, follow=True)
    assert "Appraisal <b> is removed." in text(removed)
    assert client.get(address, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 404
    assert "Documents" not in text(client.get("/loans/PL-0001/"))
    log = list(LogEntry.objects.order_by("pk").values_list("object_id", "change_message"))
    assert log == [
        (str(loan.pk), f"Added the document Appraisal <b>, SHA-256 {kept.sha256}"),
        (str(loan.pk), f"Removed the document Appraisal <b>: {REASON}"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html><script>alert(1)</script>%PDF-1.7", "This file is not a PDF"),
        (b" %PDF-1.7", "This file is not a PDF"),
        (b"%PDF", "This file is not a PDF"),
        (b"", "The submitted file is empty."),
        (PDF.ljust(MOST_BYTES + 1), "A document has at most 10 MiB."),
    ],
)
def test_what_is_not_a_pdf_of_this_size_is_refused(operations: Client, loan: Loan, content: bytes, said: str) -> None:
    assert said in text(upload(operations, loan, content))
    assert not LoanDocument.objects.exists()
    assert not LoanDocumentFile.objects.exists()


def test_the_largest_document_is_taken(operations: Client, loan: Loan) -> None:
    assert "is added" in text(upload(operations, loan, PDF.ljust(MOST_BYTES)))
    assert larger_bodies["admin:loans_loan_document_add"] > MOST_BYTES


@pytest.mark.parametrize("title", ["", "x" * 101, "A\x07", "\u202efdp.exe"])
def test_a_title_is_short_and_can_be_shown(operations: Client, loan: Loan, title: str) -> None:
    upload(operations, loan, title=title)
    assert not LoanDocument.objects.exists()


def test_the_same_file_again_adds_nothing(operations: Client, loan: Loan) -> None:
    upload(operations, loan)
    assert "The loan has this file already, as Appraisal <b>. Nothing was added." in text(upload(operations, loan, title="Again"))
    assert LoanDocument.objects.count() == 1
    document(LoanFactory(), title="Of another loan")
    kept = LoanDocument.objects.get(loan=loan)
    for _ in range(2):
        remove_document(loan_id=loan.pk, document_id=kept.pk)
    assert "is added" in text(upload(operations, loan))


def test_a_loan_has_at_most_so_many(operations: Client, loan: Loan) -> None:
    for number in range(MOST_DOCUMENTS):
        document(loan, PDF + bytes([number]))
    assert "A loan has at most 20 documents. Remove one first." in text(upload(operations, loan))
    assert LoanDocument.objects.count() == LoanDocumentFile.objects.count() == MOST_DOCUMENTS
    remove_document(loan_id=loan.pk, document_id=LoanDocument.objects.earliest("pk").pk)
    assert "is added" in text(upload(operations, loan))


@pytest.mark.parametrize("group", ["Support", "Auditors"])
def test_others_of_the_staff_read_and_change_nothing(loan: Loan, group: str) -> None:
    kept, other = document(loan), member(group)
    assert upload(other, loan, PDF + b"2").status_code == 403
    assert other.get(add_address(loan)).status_code == 403, "so the door takes no large body either"
    remove = f"/admin/loans/loan/{loan.pk}/documents/{kept.pk}/remove/"
    assert other.post(remove, {"reason": REASON}).status_code == 403
    page = text(other.get(f"/admin/loans/loan/{loan.pk}/change/"))
    assert f"/admin/loans/loan/{loan.pk}/documents/{kept.pk}/" in page
    assert "documents/add/" not in page
    assert remove not in page
    assert LoanDocument.objects.get().removed_at is None


def test_only_staff_read_the_document_of_a_draft(operations: Client, client: Client) -> None:
    draft = DraftFactory(reference="PL-0002")
    kept = document(draft)
    public, of_staff = f"/loans/PL-0002/documents/{kept.pk}/", f"/admin/loans/loan/{draft.pk}/documents/{kept.pk}/"
    assert f'href="{of_staff}"' in text(operations.get(f"/admin/loans/loan/{draft.pk}/public-page/"))
    read = operations.get(of_staff)
    assert (read.status_code, read.content) == (200, PDF)
    assert "no-store" in read.headers["Cache-Control"]
    assert read.headers["Content-Security-Policy"] == "sandbox"
    assert operations.get(public).status_code == 404
    for user in (None, InvestorFactory().user):
        if user:
            client.force_login(user)
        assert client.get(public).status_code == 404
        assert client.get(of_staff).status_code == 302
    staff_without_permission = User.objects.create_user("new", is_staff=True)
    client.force_login(staff_without_permission)
    assert client.get(of_staff).status_code == 403


def test_documents_of_other_and_of_withdrawn_loans_are_not_found(operations: Client, loan: Loan, client: Client) -> None:
    kept, other = document(loan), LoanFactory(reference="PL-0003", now=timezone.now())
    assert client.get(f"/loans/PL-0003/documents/{kept.pk}/").status_code == 404
    assert client.get(f"/loans/PL-0001/documents/{2**70}/").status_code == 404
    assert operations.get(f"/admin/loans/loan/{2**70}/documents/{kept.pk}/").status_code == 404
    assert operations.get(f"/admin/loans/loan/{other.pk}/documents/{kept.pk}/remove/").status_code == 404
    with pytest.raises(NotFound):
        remove_document(loan_id=other.pk, document_id=kept.pk)
    withdraw_loan(reference=loan.reference, actor=STAFF, reason="a test")
    assert client.get(f"/loans/PL-0001/documents/{kept.pk}/").status_code == 404
    assert "withdrawn" in text(upload(operations, loan, PDF + b"2"))
    with pytest.raises(NotFound):
        document(Loan(pk=0))


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("locked", [True, False], ids=["locked", "twin"])
def test_two_who_add_the_last_one_at_once(locked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loan_documents, "MOST_DOCUMENTS", 1)
    loan = LoanFactory()
    if not locked:
        monkeypatch.setattr(loan_documents, "lock_loans", lambda loan_ids: ([loan], None))
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic():
            document(loan)
            other = thread.submit(outcome, lambda: document(loan, PDF + b"2"))
            if locked:
                with pytest.raises(TimeoutError):
                    other.result(0.3)
            else:
                other.result()
        assert isinstance(other.result(), Invalid) == locked
    assert LoanDocument.objects.count() == (1 if locked else 2)
