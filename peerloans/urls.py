"""Which address leads where?"""

from csp.decorators import csp_update
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from loans import pages
from peerloans import problems

admin.autodiscover()

# Swagger UI's style sheet draws its icons from data: addresses.
docs = csp_update({"img-src": ["'self'", "data:"]})(SpectacularSwaggerSplitView.as_view(url_name="schema"))

urlpatterns = [
    # First, since each address is compared with all that stand above it.
    path("api/v1/", include("loans.urls")),
    path("", include("cbsa.urls")),
    path("", pages.market, name="market"),
    path("loans/<slug:reference>/", pages.loan, name="loan-page"),
    path("loans/<slug:reference>", pages.loan),
    path("zip/", pages.zip_box, name="zip-box"),
    path("zip/<str:asked>/", pages.zip_code, name="zip-page"),
    path("zip/<str:asked>", pages.zip_code),
    path("admin/", admin.site.urls),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", docs, name="docs"),
    # Last: an unknown address of the API is a problem document in debug, too.
    re_path(r"^(?:api|ziptocbsa)/", csrf_exempt(problems.not_found)),
]

handler400 = problems.bad_request
handler403 = problems.permission_denied
handler404 = problems.not_found
handler500 = problems.server_error
