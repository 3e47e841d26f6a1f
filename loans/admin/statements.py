"""Let staff upload a bank's statement, read what its lines are about, and have them booked."""

import logging
from typing import Any

from celery import current_app
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from loans.models import BankEvent, StatementImport
from loans.services import statement_imports
from loans.services.statements import KINDS
from loans.statement_formats.detection import MOST_BYTES
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.base import ReadOnlyAdmin
from peerloans.admin.forms import ReasonForm
from peerloans.errors import Problem
from peerloans.web.door import larger_bodies

larger_bodies["admin:loans_statementimport_add"] = MOST_BYTES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE

logger = logging.getLogger(__name__)
IMPORT_TASK = "loans.tasks.run_statement_import"
REFRESH_SECONDS = 2
DOUBTFUL_HELP = "Lines that seem to be booked already from a statement in another format are booked again. Staff decide on each of them."


class StatementForm(forms.Form):
    file = forms.FileField(label="Statement", max_length=100, help_text=f"OFX, BAI2 or CSV, at most {MOST_BYTES // 2**20} MiB.")

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MOST_BYTES:
            raise ValidationError(f"A statement has at most {MOST_BYTES // 2**20} MiB. Split it by days.")
        if not (file.name or "").isprintable():
            raise ValidationError("The name of the file has characters that cannot be shown.")
        return file


class BookForm(ReasonForm):
    """Why the statement is booked, and whether its doubtful lines are, too."""

    accept_doubtful = forms.BooleanField(label="Book the doubtful lines, too", required=False, help_text=DOUBTFUL_HELP)


@admin.register(StatementImport)
class StatementImportAdmin(ReadOnlyAdmin):
    list_display = ["requested_at", "file_name", "format", "state", "requested_by", "booked_by", "finished_at"]
    list_filter = ["state", "format"]
    search_fields = ["file_name", "requested_by", "sha256__exact"]
    change_form_template = "admin/loans/statementimport.html"
    csv_exclude = ("preview", "outcomes", "bad_lines")
    fields = [
        *("file_name", "sha256", "format", "requested_by", "requested_at"),
        *("booked_by", "reason", "accept_doubtful", "finished_at", "attempts"),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("loans.import_statement")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/book/", view(self.book), name="loans_statementimport_book"),
            path("<int:pk>/cancel/", view(self.cancel), name="loans_statementimport_cancel"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self._require_permission(request)
        form = StatementForm(request.POST, request.FILES) if request.method == "POST" else StatementForm()
        if form.is_valid():
            file = form.cleaned_data["file"]
            statement_import = statement_imports.request_import(
                file_name=file.name, content=file.read(), requested_by=str(request.user), send=_send
            )
            log_admin_action(request.user.pk, statement_import, "Uploaded the statement.")
            return redirect("admin:loans_statementimport_change", statement_import.pk)
        return self._form_page(request, "Import a bank statement", form, "Check")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        statement_import = self.get_object(request, object_id)
        running = statement_import is not None and statement_import.state in statement_imports.RUNNING
        context: dict[str, Any] = {"running": running}
        if statement_import:
            state, may_import = statement_import.state, self.has_add_permission(request)
            context["may_book"] = may_import and state == StatementImport.State.CHECKED
            context["may_cancel"] = may_import and state in statement_imports.CANCELABLE
            context |= {name: _labeled(getattr(statement_import, name)) for name in ("preview", "outcomes")}
            context["may_view_events"] = request.user.has_perm("loans.view_bankevent")
            context["booked_events"] = _booked_events(statement_import)
        response = super().change_view(request, object_id, form_url, (extra_context or {}) | context)
        if running:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    def book(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for a reason, and have a worker book the lines."""
        self._require_permission(request)
        statement_import = get_object_or_404(StatementImport, pk=pk)
        form = BookForm(request.POST) if request.method == "POST" else BookForm()
        is_doubtful = any(group["result"] == "doubtful" for group in statement_import.preview)
        if not is_doubtful:
            del form.fields["accept_doubtful"]
        if form.is_valid():
            accept_doubtful = bool(form.cleaned_data.get("accept_doubtful"))
            if is_doubtful and not accept_doubtful:
                form.add_error("accept_doubtful", "Tick the box if that is meant, or cancel the import.")
            else:
                return self._request_booking(request, statement_import, form.cleaned_data["reason"], accept_doubtful)
        return self._form_page(request, f"Book {statement_import}", form, "Book")

    def _request_booking(self, request: HttpRequest, statement_import: StatementImport, reason: str, accept_doubtful: bool) -> HttpResponse:
        try:
            statement_imports.request_booking(
                import_id=statement_import.pk, booked_by=str(request.user), reason=reason, accept_doubtful=accept_doubtful, send=_send
            )
        except Problem as refusal:
            self.message_user(request, refusal.detail, messages.ERROR)
        else:
            log_admin_action(request.user.pk, statement_import, f"Booked: {reason}")
        return redirect("admin:loans_statementimport_change", statement_import.pk)

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for a reason, and end the import."""
        self._require_permission(request)
        statement_import = get_object_or_404(StatementImport, pk=pk)
        form = ReasonForm(request.POST) if request.method == "POST" else ReasonForm()
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            try:
                statement_imports.cancel_import(import_id=pk, canceled_by=str(request.user), reason=reason)
            except Problem as refusal:
                self.message_user(request, refusal.detail, messages.ERROR)
            else:
                log_admin_action(request.user.pk, statement_import, f"Canceled: {reason}")
            return redirect("admin:loans_statementimport_change", pk)
        return self._form_page(request, f"Cancel the import of {statement_import}", form, "Cancel the import")

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_add_permission(request):
            raise PermissionDenied

    def _form_page(self, request: HttpRequest, title: str, form: forms.Form, button: str) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, "form": form, "button": button}
        return TemplateResponse(request, "admin/form_page.html", context)


def _labeled(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups of a report with the words that the page shows."""
    return [group | {"label": group["result"].replace("_", " ").capitalize(), "help": KINDS.get(group["result"], "")} for group in groups]


def _booked_events(statement_import: StatementImport) -> set[str]:
    """Return which of the lines that the page shows are bank events by now."""
    groups = statement_import.outcomes or statement_import.preview
    shown = [line["event"] for group in groups for line in group["lines"]]
    return set(BankEvent.objects.filter(pk__in=shown).values_list("pk", flat=True))


def _send(import_id: int) -> None:
    """Send the import to the workers. Where the broker is away, the scheduled job sends it later."""
    try:
        current_app.send_task(IMPORT_TASK, [import_id])
    except current_app.connection_for_write().connection_errors as error:
        logger.warning("Statement import %s waits for the broker: %s", import_id, error)
