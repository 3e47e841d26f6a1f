"""What do machines ask that watch us? /livez, /readyz and /metrics, by address and over plain HTTP as they know us.

They are answered before everything else, so no host name, redirect, session or log line stands between.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST

from peerloans.monitoring import health, metrics


class Probes:
    """Middleware, the outermost."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = {"/livez": livez, "/readyz": readyz, "/metrics": measured}.get(request.path)
        if probe is None or request.method not in {"GET", "HEAD"}:
            return self.get_response(request)
        response = probe(request)
        response.headers["Cache-Control"] = "no-store"
        return response


def livez(request: HttpRequest) -> HttpResponse:
    """Whether the process answers; one that does not is to be started anew."""
    return HttpResponse("alive\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """A line for each part. 503 where a needed one is down, so that requests go to another server."""
    parts = health.look()
    lines = [f"{name} {'up' if up else 'down'}\n" for name, up in parts.items()]
    ready = all(parts[name] for name in health.NEEDED)
    return HttpResponse("".join(lines), content_type="text/plain", status=200 if ready else 503)


def measured(request: HttpRequest) -> HttpResponse:
    """For whoever has METRICS_TOKEN; in debug, where there is none, for anyone."""
    expected = f"Bearer {settings.METRICS_TOKEN}" if settings.METRICS_TOKEN else ""
    if expected or not settings.DEBUG:
        if not expected:
            return HttpResponse("METRICS_TOKEN is not set.\n", content_type="text/plain", status=404)
        if not constant_time_compare(request.headers.get("Authorization", ""), expected):
            return HttpResponse("Ask with the bearer token METRICS_TOKEN.\n", status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
