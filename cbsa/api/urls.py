"""Route the calls about ZIPs and areas, with a trailing slash or without. The schema names the form without."""

from collections.abc import Iterator

from django.urls import URLPattern, path
from rest_framework.views import APIView

from cbsa.api.area_views import AreaDetail, AreaSearch, AreaZipList
from cbsa.api.views import VintageList, ZipDetail, ZipHistory, ZipList, ZipTable


def both(route: str, view: type[APIView], name: str) -> Iterator[URLPattern]:
    """Yield a route without a trailing slash, and one with it that the schema leaves out."""
    yield path(route, view.as_view(), name=name)
    yield path(f"{route}/", view.as_view(schema=None))


app_name = "cbsa"
urlpatterns = [
    *both("ziptocbsa", ZipList, "zip-list"),
    path("ziptocbsa.csv", ZipTable.as_view(), name="zip-table"),
    *both("ziptocbsa/vintages", VintageList, "vintage-list"),
    *both("ziptocbsa/<str:zip_code>", ZipDetail, "zip-detail"),
    *both("ziptocbsa/<str:zip_code>/history", ZipHistory, "zip-history"),
    *both("cbsa", AreaSearch, "area-search"),
    *both("cbsa/<str:code>", AreaDetail, "area-detail"),
    *both("cbsa/<str:code>/zips", AreaZipList, "area-zip-list"),
]
