"""Serve the OpenAPI document. Each process makes it once for each media type: making it takes 0.14 seconds."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

_documents: dict[str, bytes] = {}


class OpenApiView(SpectacularAPIView):
    """The document as YAML or JSON, as the caller accepts it."""

    schema = None  # it does not describe itself

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer: BaseRenderer = request.accepted_renderer
        document = _documents.get(renderer.media_type)
        if document is None:
            document = _documents[renderer.media_type] = self._document(renderer)
        content_type = f"{renderer.media_type}; charset={renderer.charset}" if renderer.charset else renderer.media_type
        disposition = f'inline; filename="peerloans.{renderer.format}"'
        return HttpResponse(document, content_type=content_type, headers={"Content-Disposition": disposition})

    def _document(self, renderer: BaseRenderer) -> bytes:
        document = self.generator_class().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        text = renderer.render(document, renderer.media_type, {})
        return text.encode() if isinstance(text, str) else text
