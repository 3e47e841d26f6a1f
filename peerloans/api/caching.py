"""Set what caches may keep (Cache-Control, ETag) and which web pages may read an answer (CORS)."""

import hashlib
import re
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe
from rest_framework.request import Request
from rest_framework.views import APIView

from peerloans.api.strict_fields import refuse_unknown_parameters

# The value of every field whose name ends in _as_of. A pattern that begins with a literal is found fast.
AS_OF_VALUE = re.compile(rb'_as_of":"[^"]*"')


def etag_of(body: bytes) -> str:
    """Return the ETag of a JSON body: a hash without its `…_as_of` instants.

    It is weak, since bodies that differ only in those instants share it.
    """
    return f'W/"{hashlib.sha256(AS_OF_VALUE.sub(b"", body)).hexdigest()[:32]}"'


def public_page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Make a view of a web page answer GET and HEAD only, and let caches keep the page if they revalidate it each time.

    A page that says itself what caches may do, since it is one visitor's own, is left as it is.
    """

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.has_header("Cache-Control"):
            return response
        if response.status_code != 200:
            response.headers["Cache-Control"] = "no-store"
            return response
        response.headers["Cache-Control"] = "public, no-cache"
        response.headers["ETag"] = etag_of(response.content)
        return get_conditional_response(request, response.headers["ETag"], None, response) or response

    return require_safe(answer)


class ConditionalView(APIView):
    """A view whose reads a client may keep if it revalidates them each time. No other answer is kept."""

    cacheability = "private"
    filter_backends: Any = ()  # a list's own refuse its unknown parameters
    known_parameters: Collection[str] = ()
    """The parameters that a view without filters reads. Others are refused."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not self.filter_backends:
            refuse_unknown_parameters(request, self.known_parameters)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if request.method not in {"GET", "HEAD"} or response.status_code != 200:
            response.headers["Cache-Control"] = "no-store"
            return response
        response.headers["Cache-Control"] = f"{self.cacheability}, no-cache"
        response.headers["ETag"] = etag_of(response.render().content)
        return get_conditional_response(request, response.headers["ETag"], None, response)


def allow_any_origin(response: Any) -> Any:
    """Let the scripts of all web pages read the response."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Access-Control-Expose-Headers"] = "ETag"
    return response


class CrossOriginView(APIView):
    """A view without authentication that the scripts of all web pages may call."""

    authentication_classes = ()
    permission_classes = ()

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return allow_any_origin(super().finalize_response(request, response, *args, **kwargs))

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Answer a browser's preflight request."""
        headers = {
            "Allow": ", ".join(self.allowed_methods),
            "Access-Control-Allow-Methods": ", ".join(self.allowed_methods),
            "Access-Control-Allow-Headers": "Content-Type, If-None-Match",
            "Access-Control-Max-Age": "86400",
        }
        return HttpResponse(status=204, headers=headers)


class PublicView(CrossOriginView, ConditionalView):
    """A view without authentication whose reads shared caches may keep, too."""

    cacheability = "public"
