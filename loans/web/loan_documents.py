"""Serve the documents of loans to those who may see the loan's page."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe

from loans.domain.states import PUBLIC_STATUSES
from loans.models import Loan, LoanDocument
from loans.selectors.loan_documents import LARGEST_ID, content_of, document_of
from peerloans.web.downloads import limited_download


@require_safe
@limited_download
def loan_document(request: HttpRequest, reference: str, document_id: int) -> HttpResponse:
    """Answer with a document of a public loan. Caches may keep it if they ask each time whether it is still there."""
    loan = Loan.objects.filter(reference=reference, status__in=PUBLIC_STATUSES).first()
    document = document_of(loan.pk, document_id) if loan else None
    if document is None:
        raise Http404("There is no such document.")
    etag = f'"{document.sha256}"'
    response = get_conditional_response(request, etag) or document_response(document)
    response.headers["ETag"], response.headers["Cache-Control"] = etag, "public, no-cache"
    return response


def loan_document_preview(request: HttpRequest, loan_id: int, document_id: int) -> HttpResponse:
    """Answer with a document of any loan to staff who may view loans. The route lets only staff in."""
    if not request.user.has_perm("loans.view_loan"):
        raise PermissionDenied
    document = document_of(loan_id, document_id) if loan_id <= LARGEST_ID else None
    if document is None:
        raise Http404("There is no such document.")
    return document_response(document)


def document_response(document: LoanDocument) -> HttpResponse:
    """Return the document as a file to keep, which no browser runs or shows as a page of this site."""
    headers = {
        "Content-Disposition": f'attachment; filename="{document.loan.reference}-{document.pk}.pdf"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }
    return HttpResponse(content_of(document), content_type="application/pdf", headers=headers)
