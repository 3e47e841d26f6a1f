"""Where are ZIPs asked about? With a trailing slash or without; the schema names the form without."""

from django.urls import path

from cbsa.views import OneZip, SeveralZips

urlpatterns = [
    path("ziptocbsa", SeveralZips.as_view(), name="ziptocbsa"),
    path("ziptocbsa/", SeveralZips.as_view(schema=None)),
    path("ziptocbsa/<str:zip_code>", OneZip.as_view(), name="ziptocbsa-one"),
    path("ziptocbsa/<str:zip_code>/", OneZip.as_view(schema=None)),
]
