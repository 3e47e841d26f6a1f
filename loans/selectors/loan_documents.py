"""Read the documents of loans."""

from django.db.models import QuerySet

from loans.models import LoanDocument, LoanDocumentFile

LARGEST_ID = 2**63 - 1


def documents_of(loan_id: int) -> QuerySet[LoanDocument]:
    """Return the loan's documents in the order in which they were added, without those that were removed."""
    return LoanDocument.objects.filter(loan=loan_id, removed_at=None)


def document_of(loan_id: int, document_id: int) -> LoanDocument | None:
    """Return the loan's document; None where it has none of this id, or it was removed."""
    return documents_of(loan_id).filter(pk=document_id).first() if document_id <= LARGEST_ID else None


def content_of(document: LoanDocument) -> bytes:
    """Return the bytes of the document."""
    return bytes(LoanDocumentFile.objects.get(document=document).content)
