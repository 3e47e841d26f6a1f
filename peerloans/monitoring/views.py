"""Answer /livez, /readyz and /metrics for the machines that watch this server.

These call us by IP address and over plain HTTP. So they are answered before all other middleware: no check of the host name,
no redirect to HTTPS, no session and no log line.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from prometheus_client import CONTENT_TYPE_LATEST

from peerloans import __version__, job_runs
from peerloans.monitoring import health, metrics
from peerloans.web import door


class MonitoringMiddleware:
    """Answer the paths of monitoring, and pass every other request on. It must be the outermost middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # The path as it was sent: a proxy that keeps /readyz to itself lets /%72eadyz pass.
        path = request.META.get(door.RAW_PATH, request.path)
        view = {"/livez": livez, "/readyz": readyz, "/metrics": metrics_page}.get(path)
        if view is None or request.method not in {"GET", "HEAD"}:
            return self.get_response(request)
        response = view(request)
        response.headers["Cache-Control"] = "no-store"
        return response


def livez(request: HttpRequest) -> HttpResponse:
    """Answer at all. A process that does not should be restarted."""
    return HttpResponse("alive\n", content_type="text/plain")


def readyz(request: HttpRequest) -> HttpResponse:
    """List the release, each part as up or down, the jobs that beat did not send, and those that no worker completed.

    The status is 503 where a needed part is down, so that requests go to another server.
    """
    parts = health.check_parts()
    lines = [f"release {__version__}\n", *(f"{name} {'up' if up else 'down'}\n" for name, up in parts.items())]
    if parts["database"] and not parts["beat"]:
        lines += [f"late {task}\n" for task in health.late_jobs()]
    if parts["database"] and not parts["workers"]:
        lines += [f"waiting {task}\n" for task in job_runs.tasks_not_taken()]
    ready = all(parts[name] for name in health.NEEDED)
    return HttpResponse("".join(lines), content_type="text/plain", status=200 if ready else 503)


def metrics_page(request: HttpRequest) -> HttpResponse:
    """Return the metrics to callers that send METRICS_TOKEN; in debug, where no token is set, to every caller."""
    expected = f"Bearer {settings.METRICS_TOKEN}" if settings.METRICS_TOKEN else ""
    if expected or not settings.DEBUG:
        if not expected:
            return HttpResponse("METRICS_TOKEN is not set.\n", content_type="text/plain", status=404)
        if not constant_time_compare(request.headers.get("Authorization", ""), expected):
            return HttpResponse("Send METRICS_TOKEN as the bearer token.\n", status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
