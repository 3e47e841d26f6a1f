"""What may staff look at, take out, and never touch? Pages of the admin that change nothing, whoever asks."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from peerloans.admin import csv_export
from peerloans.admin.audit_log import keep_trail


class TakenOut(admin.ModelAdmin):
    """The list as CSV, as it is filtered, for whoever may see it."""

    change_list_template = "admin/list.html"
    not_taken_out: tuple[str, ...] = ()
    """Columns that are nobody's to take away."""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", self.admin_site.admin_view(self.csv), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_csv")
        query = request.GET.copy()
        query.pop("p", None)
        return super().changelist_view(request, (extra_context or {}) | {"csv_address": f"{address}?{query.urlencode()}"})

    def csv(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:  # which the list explains
            return HttpResponseRedirect(f"{reverse(f'admin:{self.opts.app_label}_{self.opts.model_name}_changelist')}?{ERROR_FLAG}=1")
        keep_trail(request.user.pk, self.model, f"Took out the list as CSV: {request.GET.urlencode() or 'all of it'}")
        name = f"{self.opts.model_name}-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
        return StreamingHttpResponse(
            csv_export.rows(found, self.not_taken_out),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
        )


class KeptAdmin(TakenOut):
    """Nothing is ever deleted."""

    show_full_result_count = False
    list_per_page = 50

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(KeptAdmin):
    """Nothing is added or changed either."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
