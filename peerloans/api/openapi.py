"""Serve the OpenAPI document. Each process makes it once for each media type: making it takes 0.14 seconds."""

from functools import cache
from typing import Any

from django.http import HttpResponse
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class OpenApiView(SpectacularAPIView):
    """The document as YAML or JSON, as the caller accepts it."""

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer = type(request.accepted_renderer)
        content_type = f"{renderer.media_type}; charset={renderer.charset}" if renderer.charset else renderer.media_type
        name = self._get_filename(request, None)
        return HttpResponse(document_as(renderer), content_type=content_type, headers={"Content-Disposition": f'inline; filename="{name}"'})


@cache
def document_as(renderer: type[BaseRenderer]) -> bytes:
    """Return the document as this renderer writes it."""
    document = OpenApiView.generator_class().get_schema(request=None, public=True)
    text: bytes = renderer().render(document, renderer.media_type, {})
    return text
