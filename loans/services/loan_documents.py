"""Let staff add documents to a loan, and remove them."""

import hashlib
from datetime import datetime

from loans.domain.errors import Invalid, NotFound
from loans.domain.loan_documents import MOST_DOCUMENTS, fault_of_document
from loans.domain.states import LoanStatus
from loans.ledger.locks import lock_loans, short_transaction
from loans.models import LoanDocument, LoanDocumentFile
from loans.selectors.loan_documents import documents_of
from peerloans.database.clock import database_now


def add_document(*, loan_id: int, title: str, content: bytes, user_id: int, now: datetime | None = None) -> tuple[LoanDocument, bool]:
    """Add a PDF to the loan. Return the document, and whether it is new: the same file again adds nothing.

    Raises:
        Invalid: it is no PDF or too large, or the loan has 20 documents, or is withdrawn.
        NotFound, Busy.
    """
    if fault := fault_of_document(content):
        raise Invalid(fault)
    sha256 = hashlib.sha256(content).hexdigest()
    with short_transaction():
        # The bytes are stored before the lock, so that no reservation waits for them. A refusal undoes the whole transaction.
        document, is_new = LoanDocument.objects.get_or_create(
            loan_id=loan_id,
            sha256=sha256,
            removed_at=None,
            defaults={"title": title, "size": len(content), "added_at": database_now(now), "added_by_id": user_id},
        )
        if not is_new:
            return document, False
        LoanDocumentFile.objects.create(document=document, content=content)
        (loan,), _ = lock_loans(loan_ids=[loan_id])
        if loan.status == LoanStatus.WITHDRAWN:
            raise Invalid(f"{loan.reference} is withdrawn, so nobody would see its documents.")
        if documents_of(loan_id).count() > MOST_DOCUMENTS:  # with the new one
            raise Invalid(f"A loan has at most {MOST_DOCUMENTS} documents. Remove one first.")
    return document, True


def remove_document(*, loan_id: int, document_id: int, now: datetime | None = None) -> None:
    """Take a document off the loan's page. A repeat changes nothing.

    Raises:
        NotFound: the loan never had it.
    """
    own = LoanDocument.objects.filter(loan=loan_id, pk=document_id)
    if not own.exists():
        raise NotFound("The loan has no such document.")
    own.filter(removed_at=None).update(removed_at=database_now(now))
