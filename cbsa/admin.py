"""What can staff see of the ZIP data? Everything, and change nothing; `manage.py import_cbsa` is the only writer."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from cbsa.models import Area, Dataset, ImportRun, Zip, ZipShare
from cbsa.rule import Share, rank
from peerloans.admin import ReadOnlyAdmin


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyAdmin):
    list_display = ["vintage", "active", "imported_at"]
    search_fields = ["vintage"]


@admin.register(Zip)
class ZipAdmin(ReadOnlyAdmin):
    list_display = ["zip", "cbsa", "effective_cbsa", "msa", "dataset"]
    list_select_related = ["msa", "dataset"]
    list_filter = ["dataset__active", "dataset"]
    search_fields = ["zip__startswith", "cbsa__exact", "effective_cbsa__exact", "msa__name"]
    search_help_text = "The first digits of a ZIP, a CBSA's code, or part of an MSA's name"
    fields = ["dataset", "zip", "cbsa", "effective_cbsa", "msa", "matches"]

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
