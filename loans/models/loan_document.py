"""Store the documents of loans, which staff add and everybody reads who may see the loan's page."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from loans.domain.loan_documents import MOST_BYTES
from loans.models.loan import Loan


class LoanDocument(models.Model):
    """A PDF about a loan. One that was removed is kept, and only its page is gone."""

    id = models.BigAutoField(primary_key=True)
    loan = models.ForeignKey(Loan, models.PROTECT, related_name="documents", db_index=False)
    title = models.CharField(max_length=100)
    size = models.PositiveIntegerField(help_text="Bytes.")
    sha256 = models.CharField("SHA-256", max_length=64)
    added_at = models.DateTimeField()
    added_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    removed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["added_at", "id"]
        default_permissions = ()
        permissions = [("add_loandocument", "Can add and remove documents of a loan")]
        constraints = [
            # The same file again is no second document.
            models.UniqueConstraint(fields=["loan", "sha256"], condition=Q(removed_at=None), name="loan_document_once"),
            models.CheckConstraint(name="loan_document_size_sane", condition=Q(size__gt=0, size__lte=MOST_BYTES)),
        ]

    def __str__(self) -> str:
        return f"{self.loan}: {self.title}"


class LoanDocumentFile(models.Model):
    """The bytes of a document, apart from what lists read."""

    document = models.OneToOneField(LoanDocument, models.PROTECT, primary_key=True, related_name="file")
    content = models.BinaryField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.document)
