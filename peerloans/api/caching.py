"""What does an answer tell caches and browsers? Whether it may be kept, and whether it still holds."""

import hashlib
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe
from rest_framework.request import Request
from rest_framework.views import APIView

from peerloans.api.strict_fields import refuse_unknown_parameters

AS_OF = re.compile(rb'_as_of":"[^"]*"')  # begins with what is to be found fast


def etag(body: bytes) -> str:
    """A hash of the JSON without its `…_as_of` instants; weak, since bodies that differ only in those share it."""
    return f'W/"{hashlib.sha256(AS_OF.sub(b"", body)).hexdigest()[:32]}"'


def page_for_anyone(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A web page that anyone may see, and that caches may keep, asking each time whether it still holds."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code != 200:
            response.headers["Cache-Control"] = "no-store"
            return response
        response.headers["Cache-Control"] = "public, no-cache"
        response.headers["ETag"] = etag(response.content)
        return get_conditional_response(request, response.headers["ETag"], None, response) or response

    return require_safe(answer)


class Revalidated(APIView):
    """Reads that a client may keep, asking each time whether they still hold; everything else is not stored."""

    cached_by = "private"
    filter_backends: Any = ()  # which say what parameters a list reads

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not self.filter_backends:
            refuse_unknown_parameters(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if request.method not in {"GET", "HEAD"} or response.status_code != 200:
            response.headers["Cache-Control"] = "no-store"
            return response
        response.headers["Cache-Control"] = f"{self.cached_by}, no-cache"
        response.headers["ETag"] = etag(response.render().content)
        return get_conditional_response(request, response.headers["ETag"], None, response)


def open_to_any_page(response: Any) -> Any:
    """Lets the script of any web page read it."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "ETag"
    return response


class FromAnyPage(APIView):
    """Asked without a log-in, by the script of any web page."""

    authentication_classes = ()
    permission_classes = ()

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return open_to_any_page(super().finalize_response(request, response, *args, **kwargs))

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """A web page's question what it may send here."""
        headers = {
            "Allow": ", ".join(self.allowed_methods),
            "Access-Control-Allow-Methods": ", ".join(self.allowed_methods),
            "Access-Control-Allow-Headers": "Content-Type, If-None-Match",
            "Access-Control-Max-Age": "86400",
        }
        return HttpResponse(status=204, headers=headers)


class ForAnyone(FromAnyPage, Revalidated):
    """Reads without a log-in, from any web page."""

    cached_by = "public"
