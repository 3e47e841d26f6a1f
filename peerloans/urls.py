"""Route the project's addresses."""

from csp.decorators import csp_update
from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularSwaggerSplitView

from peerloans.api import problem_details
from peerloans.api.openapi import OpenApiView

admin.autodiscover()

# Swagger UI's style sheet has icons as data: URLs.
docs = csp_update({"img-src": ["'self'", "data:"]})(SpectacularSwaggerSplitView.as_view(url_name="schema"))

urlpatterns = [
    # The API comes first, since a route is compared with all those above it.
    path("api/v1/", include("loans.api.urls")),
    path("", include("cbsa.api.urls")),
    path("", include("loans.web.urls")),
    path("admin/", admin.site.urls),
    path("api/schema/", OpenApiView.as_view(), name="schema"),
    path("api/docs/", docs, name="docs"),
    # Comes last. It answers an unknown address of the API with a problem document in debug, too.
    re_path(r"^(?:api|ziptocbsa|cbsa)/", csrf_exempt(problem_details.not_found)),
]

if settings.DEBUG:
    urlpatterns.insert(0, path("api/sandbox/", include("loans.api.sandbox_urls")))

handler400 = problem_details.bad_request
handler403 = problem_details.permission_denied
handler404 = problem_details.not_found
handler500 = problem_details.server_error
