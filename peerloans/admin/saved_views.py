"""Let staff keep the filters, search and order of a list under a name. Each sees their own views only."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.options import IS_POPUP_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

MOST_VIEWS = 20  # of one person on one list: they all stand above it
NAME_CHARACTERS = 60
QUERY_CHARACTERS = 1000
NOT_OF_A_VIEW = (PAGE_VAR, ALL_VAR, ERROR_FLAG, IS_POPUP_VAR)


class SavedViewsAdmin(admin.ModelAdmin):
    """A list whose views can be saved."""

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_views"
        return [path("views/", self.admin_site.admin_view(self.change_views), name=name), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        query = _query(request)
        views = list(self._views(request)[:MOST_VIEWS])
        context = {
            "saved_views": views,
            "present_view": next((view for view in views if view.query == query), None),
            "view_query": query,
            "views_url": f"{self.list_address('views')}?{query}",
        }
        return super().changelist_view(request, (extra_context or {}) | context)

    def change_views(self, request: HttpRequest) -> HttpResponse:
        """Save the filters in the address under the name that is posted, or remove the view of the name in `remove`."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if name := request.POST.get("remove"):
            self._views(request).filter(name=name).delete()
            messages.success(request, f"The view “{name}” is removed.")
        elif problem := self._problem(request):
            messages.error(request, problem)
        else:
            name = request.POST["name"].strip()
            self._views(request).update_or_create(
                name=name,
                defaults={"query": _query(request)},
                create_defaults={"user": request.user, "model": self.opts.label_lower, "query": _query(request)},
            )
            messages.success(request, f"The view “{name}” is saved. You find it above this list.")
        return HttpResponseRedirect(f"{self.list_address('changelist')}?{_query(request)}")

    def _problem(self, request: HttpRequest) -> str:
        """Return why the view cannot be saved; empty if it can."""
        name, query = request.POST.get("name", "").strip(), _query(request)
        if not (0 < len(name) <= NAME_CHARACTERS and name.isprintable()):
            return f"Give the view a name of at most {NAME_CHARACTERS} characters."
        if not query:
            return "Filter, search or sort the list first: that is what a view keeps."
        if len(query) > QUERY_CHARACTERS:
            return "These filters are too long to be saved."
        try:
            self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return "The list has no such filter, so the view is not saved."
        if self._views(request).exclude(name=name).count() >= MOST_VIEWS:
            return f"You have {MOST_VIEWS} views of this list, the most there may be. Remove one first."
        return ""

    def _views(self, request: HttpRequest) -> Any:
        return request.user.saved_views.filter(model=self.opts.label_lower)  # type: ignore[union-attr]

    def list_address(self, page: str) -> str:
        """Return the address of the list, or of a page of it, such as `csv`."""
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}")


def _query(request: HttpRequest) -> str:
    """Return the filters, search and order in the address, in one order of their names, so that equal views have equal texts."""
    query = request.GET.copy()
    for name in NOT_OF_A_VIEW:
        query.pop(name, None)
    return "&".join(sorted(filter(None, query.urlencode().split("&"))))
