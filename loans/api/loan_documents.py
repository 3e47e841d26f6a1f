"""Show the documents of a loan, each with the address of its PDF."""

from typing import Any

from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from loans.models import Loan
from loans.selectors.loan_documents import listed_documents


class LoanDocumentSerializer(serializers.Serializer[Any]):
    """A PDF about a loan."""

    title = serializers.CharField()
    url = serializers.URLField(help_text="Where to get the PDF. No token is needed.")
    size = serializers.IntegerField(help_text="Bytes.")
    added_at = serializers.DateTimeField()


def loan_documents(request: Request, loan: Loan) -> list[dict[str, Any]]:
    """Return the fields of the loan's documents."""
    return [
        {
            "title": document.title,
            "url": request.build_absolute_uri(reverse("loans:loan-document", args=[loan.reference, document.pk])),
            "size": document.size,
            "added_at": document.added_at,
        }
        for document in listed_documents(loan.pk)
    ]
