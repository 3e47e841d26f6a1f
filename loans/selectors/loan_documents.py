"""Read the documents of loans."""

from datetime import datetime
from typing import NamedTuple

from django.db import connection
from django.db.models import QuerySet

from loans.models import LoanDocument, LoanDocumentFile
from peerloans.database.prepared import Prepared

LARGEST_ID = 2**63 - 1


class DocumentRow(NamedTuple):
    """The columns of a document that a loan's page and the API show."""

    pk: int
    title: str
    size: int
    added_at: datetime


# The ORM would double the time of an answer of the API about a loan.
_LISTED = Prepared(
    """
    SELECT id, title, size, added_at FROM loans_loandocument
    WHERE loan_id = %s AND removed_at IS NULL ORDER BY added_at, id
    """
)


def listed_documents(loan_id: int) -> list[DocumentRow]:
    """Return the loan's documents as `documents_of` does, only to be shown."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTED, [loan_id])
        return [DocumentRow._make(row) for row in cursor.fetchall()]


def documents_of(loan_id: int) -> QuerySet[LoanDocument]:
    """Return the loan's documents in the order in which they were added, without those that were removed."""
    return LoanDocument.objects.filter(loan=loan_id, removed_at=None)


def document_of(loan_id: int, document_id: int) -> LoanDocument | None:
    """Return the loan's document; None where it has none of this id, or it was removed."""
    return documents_of(loan_id).filter(pk=document_id).first() if document_id <= LARGEST_ID else None


def content_of(document: LoanDocument) -> bytes:
    """Return the bytes of the document."""
    return bytes(LoanDocumentFile.objects.get(document=document).content)
