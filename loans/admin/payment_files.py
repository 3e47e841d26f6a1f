"""Send refunds to the bank: show those that are due, write them into a payment file, and offer each file for download."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from loans.admin.tables import dollars_column
from loans.domain.actors import Actor
from loans.models import PaymentFile
from loans.selectors.transfers import refunds_to_send
from loans.services.payment_files import MOST_SENT_AT_ONCE, send_refunds
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.base import ReadOnlyAdmin
from peerloans.admin.forms import ReasonForm
from peerloans.errors import Problem


class SendRefundsForm(ReasonForm):
    """The refunds that the page showed when it was sent, and the reason."""

    refunds = forms.TypedMultipleChoiceField(coerce=UUID, widget=forms.MultipleHiddenInput)


@admin.register(PaymentFile)
class PaymentFileAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "created_at", "created_by", "refund_count", dollars_column("total")]
    list_select_related = ["created_by"]
    fields = ["created_at", "created_by", "refund_count", "total"]
    csv_exclude = ("content",)
    change_form_template = "admin/loans/payment_file.html"
    change_list_template = "admin/loans/payment_files.html"

    def get_urls(self) -> list[URLPattern]:
        download = path("<int:pk>/download/", self.admin_site.admin_view(self.download), name="loans_paymentfile_download")
        return [download, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("loans.send_refund")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the refunds that are due, ask for a reason, and send exactly those that were shown."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        due = refunds_to_send()[:MOST_SENT_AT_ONCE]
        ids = [str(refund.pk) for refund in due]
        form = SendRefundsForm(request.POST if request.method == "POST" else None, initial={"refunds": ids})
        form.fields["refunds"].choices = [(key, key) for key in {*ids, *request.POST.getlist("refunds")}]  # type: ignore[attr-defined]
        if form.is_valid():
            try:
                file = send_refunds(
                    refund_ids=form.cleaned_data["refunds"], actor=Actor("staff", request.user.pk), reason=form.cleaned_data["reason"]
                )
            except Problem as problem:
                messages.error(request, f"Nothing was sent: {problem.detail}")
                return redirect("admin:loans_paymentfile_add")
            log_admin_action(request.user.pk, file, f"Sent {file.refund_count} refunds, {file.total} dollars")
            messages.success(request, f"{file.refund_count} refunds are marked as sent. Download the file and hand it to the bank.")
            return redirect("admin:loans_paymentfile_change", file.pk)
        context = {
            **self.admin_site.each_context(request),
            "title": "Send refunds",
            "opts": self.opts,
            "form": form,
            "refunds": due,
            "total": sum(refund.outstanding for refund in due),
        }
        return TemplateResponse(request, "admin/loans/send_refunds.html", context)

    def download(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Answer with the file, and record the download in the admin's log."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        file = get_object_or_404(PaymentFile, pk=pk)
        log_admin_action(request.user.pk, file, "Downloaded the payment file")
        headers = {"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"}
        return HttpResponse(file.content, content_type="text/csv; charset=utf-8", headers=headers)
