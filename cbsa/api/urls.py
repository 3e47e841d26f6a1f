"""Route the calls about ZIPs, with a trailing slash or without. The schema names the form without."""

from django.urls import path

from cbsa.api.views import ZipDetail, ZipList

app_name = "cbsa"
urlpatterns = [
    path("ziptocbsa", ZipList.as_view(), name="zip-list"),
    path("ziptocbsa/", ZipList.as_view(schema=None)),
    path("ziptocbsa/<str:zip_code>", ZipDetail.as_view(), name="zip-detail"),
    path("ziptocbsa/<str:zip_code>/", ZipDetail.as_view(schema=None)),
]
