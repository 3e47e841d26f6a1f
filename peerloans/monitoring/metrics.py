"""Collect what Prometheus reads: requests from each web process, everything else from the database at each scrape."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator

from django.db import Error
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from peerloans import job_runs
from peerloans.monitoring import figures, health

SHARED_FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

_process_registry = CollectorRegistry()
REQUESTS = Counter(
    "peerloans_requests",
    "Requests answered; the outcome is the problem's code.",
    ["view", "method", "status", "outcome"],
    registry=_process_registry,
)
SECONDS = Histogram("peerloans_request_seconds", "Time to answer a request.", ["view"], registry=_process_registry)


class RequestMetricsMiddleware:
    """Count each request, and measure how long it took."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started_at = time.monotonic()
        response = self.get_response(request)
        view = (request.resolver_match and request.resolver_match.view_name) or "none"
        method = request.method if request.method in METHODS else "other"
        data = getattr(response, "data", None)
        outcome = data.get("code", "") if response.status_code >= 400 and isinstance(data, dict) else ""
        REQUESTS.labels(view, method, response.status_code, outcome).inc()
        SECONDS.labels(view).observe(time.monotonic() - started_at)
        return response


class _CurrentValues:
    """Read at each scrape what the database holds. While it is down its figures are left out; peerloans_up shows it."""

    def collect(self) -> Iterator[Metric]:
        yield _gauge("peerloans_up", "Whether a part is up.", "part", health.check_parts().items())
        with contextlib.suppress(Error):
            for read_figures in figures.sources:
                for figure in read_figures():
                    yield _gauge(f"peerloans_{figure.name}", figure.help, figure.label, figure.values.items())
            yield from _job_metrics()
            yield _gauge(
                "peerloans_beat_late_seconds", "How late beat is with the job due longest.", "", [("", job_runs.beat_lag_seconds())]
            )


def _job_metrics() -> Iterator[Metric]:
    results = job_runs.results()
    lags_seconds = job_runs.lags_seconds(results)
    # Of a series that begins at 1, Prometheus sees no increase. So each scheduled task begins with zeros.
    runs = CounterMetricFamily("peerloans_job_runs", "Runs of a task by how they ended.", labels=["task", "state"])
    for task in sorted(results.keys() | lags_seconds.keys()):
        result = results.get(task, job_runs.NEVER_RUN)
        runs.add_metric([task, "success"], result.successes)
        runs.add_metric([task, "failure"], result.failures)
    yield runs
    yield _gauge("peerloans_job_lag_seconds", "How long ago a scheduled task should have succeeded again.", "task", lags_seconds.items())


def _gauge(name: str, help_text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    gauge = GaugeMetricFamily(name, help_text, labels=[label] if label else [])
    for key, value in values:
        gauge.add_metric([key] if label else [], float(value))
    return gauge


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format, added up over all processes that share PROMETHEUS_MULTIPROC_DIR."""
    requests = _process_registry
    if SHARED_FOLDER:
        requests = CollectorRegistry()
        multiprocess.MultiProcessCollector(requests)  # type: ignore[no-untyped-call]
    current = CollectorRegistry()
    current.register(_CurrentValues())
    return generate_latest(requests) + generate_latest(current)
