"""Allow a list of the admin to be filtered only by what its page names.

Django allows every lookup on every field of a list's model. Someone who sees the list could read a field that no page shows, character
by character, with `?secret__regex=`.
"""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

# What the links of Django's filters, and our own, append to the name of a field.
FILTER_LOOKUPS = ("", "__exact", "__isnull", "__isempty", "__gte", "__lte", "__lt", "__id__exact")
DATE_LOOKUPS = ("__year", "__month", "__day", "__gte", "__lt")


class NamedLookups(admin.ModelAdmin):
    """Allows the lookups of the filters in `list_filter`, and of `date_hierarchy`. No other one."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self._named_lookups(request)

    def _named_lookups(self, request: HttpRequest) -> set[str]:
        names = set()
        for each in self.get_list_filter(request):
            if isinstance(each, type) and issubclass(each, admin.SimpleListFilter):
                names.add(str(each.parameter_name))
            else:
                field: Any = each if isinstance(each, str) else each[0]  # type: ignore[index]
                names |= {field + lookup for lookup in FILTER_LOOKUPS}
        if self.date_hierarchy:
            names |= {self.date_hierarchy + lookup for lookup in DATE_LOOKUPS}
        return names


def with_named_lookups(page: type[admin.ModelAdmin]) -> type[admin.ModelAdmin]:
    """Return the page with NamedLookups before its own bases."""
    return page if issubclass(page, NamedLookups) else type(page.__name__, (NamedLookups, page), {"__module__": page.__module__})
