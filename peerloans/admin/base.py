"""Define what the project's admin pages share: saved views and a CSV export of each list, no deleting, and read-only pages."""

from functools import cache
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils import timezone

from peerloans.admin import csv_export
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.long_lists import LongList, LongListPaginator
from peerloans.admin.saved_views import SavedViewsAdmin
from peerloans.web.wording_filters import deadline, instant

DEADLINES = {"expires_at", "closes_at", "deadline"}


@cache
def instant_column(name: str) -> Any:
    """Return a column of a list that shows the instant of this name as all pages write it."""
    write = deadline if name in DEADLINES else instant

    @admin.display(description=name.replace("_", " "), ordering=name)
    def column(row: Any) -> str:
        return write(getattr(row, name))

    column.__name__ = name
    return column


class CsvExportAdmin(SavedViewsAdmin):
    """A list that everyone who may view it can download as CSV, with the filters that are set."""

    change_list_template = "admin/list.html"
    csv_exclude: tuple[str, ...] = ()
    """Names of secret fields, which are left out of the CSV."""

    show_full_result_count = False
    list_per_page = 50
    paginator = LongListPaginator

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[LongList]:
        return LongList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        instants = {field.name for field in self.opts.fields if isinstance(field, models.DateTimeField)}
        return [instant_column(name) if name in instants else name for name in super().get_list_display(request)]

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.csv_view), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        filters = request.GET.copy()
        filters.pop("p", None)  # the page number: the CSV has all pages
        return super().changelist_view(request, (extra_context or {}) | {"csv_url": f"{self.list_address('csv')}?{filters.urlencode()}"})

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """Stream the filtered list as CSV, and record the download in the admin's log."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            queryset = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:  # the list page explains it
            return HttpResponseRedirect(f"{self.list_address('changelist')}?{ERROR_FLAG}=1")
        log_admin_action(request.user.pk, self.model, f"Downloaded the list as CSV: {request.GET.urlencode() or 'all rows'}")
        name = f"{self.opts.model_name}-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
        return StreamingHttpResponse(
            csv_export.csv_lines(queryset, self.csv_exclude),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )


class NoDeleteAdmin(CsvExportAdmin):
    """A model whose rows are never deleted."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(NoDeleteAdmin):
    """A model whose rows are never added, changed or deleted in a form."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
