"""Show staff the ZIP data, and let them request imports, bring datasets into use and delete old ones."""

import logging
from typing import Any

from celery import current_app
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from cbsa.errors import ImportRefused
from cbsa.forms import ActivateForm, ImportForm, PruneForm
from cbsa.imports import requests, service
from cbsa.imports.changes import compare, preview_consequences
from cbsa.imports.sources import without_secrets
from cbsa.models import Area, Dataset, ImportRequest, ImportRun, Zip, ZipShare
from cbsa.rules import Share, rank
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.base import ReadOnlyAdmin
from peerloans.admin.forms import ReasonForm
from peerloans.web.door import larger_bodies

logger = logging.getLogger(__name__)
REFRESH_SECONDS = 2
# Two files, and the rest of the form.
larger_bodies["admin:cbsa_importrequest_add"] = len(requests.KINDS) * requests.UPLOAD_BYTES + settings.DATA_UPLOAD_MAX_MEMORY_SIZE


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyAdmin):
    list_display = ["vintage", "active", "imported_at"]
    search_fields = ["vintage"]
    change_form_template = "admin/cbsa/dataset.html"
    change_list_template = "admin/cbsa/datasets.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("prune/", view(self.prune), name="cbsa_dataset_prune"),
            path("<int:pk>/activate/", view(self.activate), name="cbsa_dataset_activate"),
            *super().get_urls(),
        ]

    def activate(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show what would change, ask for a reason, and bring the dataset into use."""
        if not request.user.has_perm("cbsa.activate_dataset"):
            raise PermissionDenied
        dataset = get_object_or_404(Dataset, pk=pk)
        form = ActivateForm(request.POST.dict() or None)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            choices = {name: form.cleaned_data[name] for name in ("expected_in_use", "force")}
            try:
                service.activate(vintage=dataset.vintage, actor=str(request.user), reason=reason, **choices)
            except ImportRefused as refusal:
                remedy = " Tick the box if that is meant." if "lost" in refusal.data else ""
                form.add_error(None, refusal.detail + remedy)
            else:
                log_admin_action(request.user.pk, dataset, f"Brought into use: {reason}")
                self.message_user(request, f"{dataset} is in use.", messages.SUCCESS)
                return redirect("admin:cbsa_dataset_change", pk)
        changes = compare(dataset)
        shown = {"expected_in_use": changes.in_use.vintage if changes.in_use else ""}
        form.data, form.initial = {**form.data, **shown} if form.is_bound else {}, shown
        if not changes.doubtful:
            del form.fields["force"]
        return _page(
            self,
            request,
            f"Bring {dataset} into use",
            form,
            "Bring into use",
            changes=changes,
            consequences=preview_consequences(dataset),
        )

    def prune(self, request: HttpRequest) -> HttpResponse:
        """Ask for a reason and delete old datasets."""
        if not request.user.has_perm("cbsa.prune_dataset"):
            raise PermissionDenied
        form = PruneForm(request.POST or None)
        if form.is_valid():
            deleted = ", ".join(service.prune(keep=form.cleaned_data["keep"])) or "none"
            log_admin_action(request.user.pk, Dataset, f"Pruned {deleted}: {form.cleaned_data['reason']}")
            self.message_user(request, f"Deleted: {deleted}.", messages.SUCCESS)
            return redirect("admin:cbsa_dataset_changelist")
        return _page(self, request, "Prune datasets", form, "Delete old datasets")


@admin.register(ImportRequest)
class ImportRequestAdmin(ReadOnlyAdmin):
    list_display = ["requested_at", "vintage", "state", "actor", "finished_at"]
    list_filter = ["state"]
    search_fields = ["vintage", "actor"]
    csv_exclude = requests.KINDS
    change_form_template = "admin/cbsa/importrequest.html"
    fields = ["vintage", "hud_file", "census_file", "second_census_file", "actor", "requested_at", "finished_at", "attempts"]

    @admin.display(description="HUD's crosswalk")
    def hud_file(self, import_request: ImportRequest) -> str:
        return without_secrets(import_request.zips)

    @admin.display(description="census estimates")
    def census_file(self, import_request: ImportRequest) -> str:
        return without_secrets(import_request.metros)

    @admin.display(description="second census file")
    def second_census_file(self, import_request: ImportRequest) -> str:
        return without_secrets(import_request.more_metros)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("cbsa.add_importrequest")

    def get_urls(self) -> list[URLPattern]:
        cancel = path("<int:pk>/cancel/", self.admin_site.admin_view(self.cancel), name="cbsa_importrequest_cancel")
        return [cancel, *super().get_urls()]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        if form.is_valid():
            import_request = requests.create_request(
                vintage=form.cleaned_data["vintage"], sources=form.sources(), actor=str(request.user), send=_send
            )
            return redirect("admin:cbsa_importrequest_change", import_request.pk)
        return _page(self, request, "Import ZIP data", form, "Check and load")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        import_request = self.get_object(request, object_id)
        running = import_request is not None and import_request.state in requests.UNFINISHED
        context: dict[str, Any] = {"running": running, "may_cancel": False}
        if import_request:
            dataset = import_request.dataset
            loaded = import_request.state == ImportRequest.State.LOADED and dataset and not dataset.active
            context["may_cancel"] = self.has_add_permission(request) and (running or loaded)
            if loaded and dataset:
                context |= {"changes": compare(dataset), "consequences": preview_consequences(dataset)}
        response = super().change_view(request, object_id, form_url, (extra_context or {}) | context)
        if running:
            response["Refresh"] = str(REFRESH_SECONDS)
        return response

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask for a reason, end the import request and delete the dataset that it loaded."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        import_request = get_object_or_404(ImportRequest, pk=pk)
        form = ReasonForm(request.POST or None)
        if form.is_valid():
            try:
                requests.cancel_request(request_id=pk, actor=str(request.user), reason=form.cleaned_data["reason"])
            except ImportRefused as refusal:
                self.message_user(request, refusal.detail, messages.ERROR)
            else:
                log_admin_action(request.user.pk, import_request, f"Canceled: {form.cleaned_data['reason']}")
            return redirect("admin:cbsa_importrequest_change", pk)
        return _page(self, request, f"Cancel the import of {import_request.vintage}", form, "Cancel the import")


def _send(request_id: int) -> None:
    """Send the import request to the workers. Where the broker is away, the scheduled job sends it later."""
    try:
        current_app.send_task("cbsa.tasks.run_import_request", [request_id])
    except current_app.connection_for_write().connection_errors as error:
        logger.warning("Import request %s waits for the broker: %s", request_id, error)


def _page(page: admin.ModelAdmin, request: HttpRequest, title: str, form: Any, button: str, **more: Any) -> HttpResponse:
    context = {**page.admin_site.each_context(request), "title": title, "opts": page.opts, "form": form, "button": button, **more}
    return TemplateResponse(request, "admin/cbsa/form.html", context)


@admin.register(Zip)
class ZipAdmin(ReadOnlyAdmin):
    list_display = ["zip", "cbsa", "effective_cbsa", "area", "dataset"]
    list_select_related = ["area", "dataset"]
    list_filter = ["dataset__active", "dataset"]
    search_fields = ["zip__startswith", "cbsa__exact", "effective_cbsa__exact", "area__name"]
    search_help_text = "The first digits of a ZIP, a CBSA's code, or part of the name of its area"
    fields = ["dataset", "zip", "cbsa", "effective_cbsa", "area", "matches"]

    @admin.display(description="HUD's rows, the chosen one first")
    def matches(self, zip_: Zip) -> SafeString:
        rows = ZipShare.objects.filter(dataset=zip_.dataset_id, zip=zip_.zip).values_list(*Share._fields)
        shares = sorted((Share(*row) for row in rows), key=rank)
        return format_html_join("", "<div>{}: {} of all addresses, {} residential, {} business, {} other</div>", shares)


@admin.register(Area)
class AreaAdmin(ReadOnlyAdmin):
    list_display = ["name", "lsad", "cbsa", "mdiv", "stcou", "dataset"]
    list_select_related = ["dataset"]
    list_filter = ["dataset__active", "dataset", "lsad"]
    search_fields = ["name", "cbsa__exact", "mdiv__exact", "stcou__exact"]
    search_help_text = "Part of a name, or the code of a CBSA, a division or a county"


@admin.register(ImportRun)
class ImportRunAdmin(ReadOnlyAdmin):
    list_display = ["started_at", "vintage", "outcome", "actor", "zips", "rejected", "lacking"]
    list_filter = ["outcome"]
    search_fields = ["vintage", "actor"]
    date_hierarchy = "started_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ImportRun]:
        return super().get_queryset(request).select_related("dataset")

    @admin.display(description="ZIPs")
    def zips(self, run: ImportRun) -> int | None:
        zips: int | None = run.counts.get("zips")
        return zips

    @admin.display(description="bad rows")
    def rejected(self, run: ImportRun) -> int:
        return len(run.rejects)

    @admin.display(description="CBSAs lacking")
    def lacking(self, run: ImportRun) -> int:
        return len(run.absent)
