"""Let staff add documents to a loan, and remove them. Its page lists them (templates/admin/loans/documents.html)."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse

from loans.domain.loan_documents import MOST_BYTES, MOST_DOCUMENTS
from loans.models import Loan
from loans.selectors.loan_documents import document_of
from loans.services.loan_documents import add_document, remove_document
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.forms import ReasonForm
from peerloans.errors import Problem
from peerloans.web.door import larger_bodies

PERMISSION = "loans.add_loandocument"
larger_bodies["admin:loans_loan_document_add"] = MOST_BYTES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE


class DocumentForm(forms.Form):
    file = forms.FileField(
        label="PDF", max_length=200, help_text=f"At most {MOST_BYTES // 2**20} MiB. A loan has at most {MOST_DOCUMENTS}."
    )
    title = forms.CharField(max_length=100, help_text="As investors read it, such as Appraisal, June 2026.")

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MOST_BYTES:
            raise ValidationError(f"A document has at most {MOST_BYTES // 2**20} MiB.")
        return file

    def clean_title(self) -> str:
        title: str = self.cleaned_data["title"]
        if not title.isprintable():
            raise ValidationError("The title has characters that cannot be shown.")
        return title


def add_page(request: HttpRequest, model_admin: Any, loan_id: int) -> HttpResponse:
    """Ask for a PDF and its title, and add it to the loan."""
    loan = _loan(request, loan_id)
    form = DocumentForm(request.POST, request.FILES) if request.method == "POST" else DocumentForm()
    if form.is_valid():
        assert request.user.pk  # noqa: S101 - for mypy: they have a permission
        title, content = form.cleaned_data["title"], form.cleaned_data["file"].read()
        try:
            document, is_new = add_document(loan_id=loan.pk, title=title, content=content, user_id=request.user.pk)
        except Problem as refusal:
            form.add_error("file", refusal.detail)
        else:
            if is_new:
                log_admin_action(request.user.pk, loan, f"Added the document {document.title}, SHA-256 {document.sha256}")
                messages.success(request, f"{document.title} is added.")
            else:
                messages.warning(request, f"The loan has this file already, as {document.title}. Nothing was added.")
            return redirect("admin:loans_loan_change", loan.pk)
    return _form_page(request, model_admin, f"Add a document to {loan}", form, "Add")


def remove_page(request: HttpRequest, model_admin: Any, loan_id: int, document_id: int) -> HttpResponse:
    """Ask for a reason, and take the document off the loan's page."""
    loan = _loan(request, loan_id)
    document = document_of(loan.pk, document_id)
    if document is None:
        raise Http404("There is no such document.")
    form = ReasonForm(request.POST) if request.method == "POST" else ReasonForm()
    if form.is_valid():
        remove_document(loan_id=loan.pk, document_id=document.pk)
        log_admin_action(request.user.pk, loan, f"Removed the document {document.title}: {form.cleaned_data['reason']}")
        messages.success(request, f"{document.title} is removed.")
        return redirect("admin:loans_loan_change", loan.pk)
    return _form_page(request, model_admin, f"Remove {document.title} from {loan}", form, "Remove")


def _loan(request: HttpRequest, loan_id: int) -> Loan:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    return get_object_or_404(Loan, pk=loan_id)


def _form_page(request: HttpRequest, model_admin: Any, title: str, form: forms.Form, button: str) -> HttpResponse:
    context = {**model_admin.admin_site.each_context(request), "title": title, "opts": model_admin.opts, "form": form, "button": button}
    return TemplateResponse(request, "admin/form_page.html", context)
