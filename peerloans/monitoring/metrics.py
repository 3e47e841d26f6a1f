"""Which figures does Prometheus get? Requests from each web process, everything else from the database and Redis."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from django.db import Error
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from redis.exceptions import RedisError

from peerloans import jobs
from peerloans.monitoring import figures, health

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

_own = CollectorRegistry()
REQUESTS = Counter(
    "peerloans_requests", "Answers; the outcome is a problem's code.", ["view", "method", "status", "outcome"], registry=_own
)
SECONDS = Histogram("peerloans_request_seconds", "Time to answer.", ["view"], registry=_own)


class CountedRequests:
    """Middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = time.monotonic()
        response = self.get_response(request)
        view = (request.resolver_match and request.resolver_match.view_name) or "none"
        method = request.method if request.method in METHODS else "other"
        data = getattr(response, "data", None)
        outcome = data.get("code", "") if response.status_code >= 400 and isinstance(data, dict) else ""
        REQUESTS.labels(view, method, response.status_code, outcome).inc()
        SECONDS.labels(view).observe(time.monotonic() - began)
        return response


class _Present:
    """What is asked for at each scrape. A part that is down leaves its figures out, and says so in peerloans_up."""

    def collect(self) -> Iterator[Metric]:
        yield _gauge("peerloans_up", "Whether a part is up.", "part", health.look().items())
        with contextlib.suppress(Error):
            for figure in chain.from_iterable(read() for read in figures.sources):
                yield _gauge(f"peerloans_{figure.name}", figure.help, figure.label, figure.values.items())
            with contextlib.suppress(RedisError):
                results = jobs.results()
                counted = CounterMetricFamily("peerloans_job_runs", "Runs of a task by how they ended.", labels=["job", "state"])
                for name, result in results.items():
                    for state, count in result.runs.items():
                        counted.add_metric([name, state], count)
                yield counted
                says = "For how long a scheduled task should have succeeded again."
                yield _gauge("peerloans_job_lag_seconds", says, "job", jobs.lags_seconds(results).items())
            yield _gauge("peerloans_beat_late_seconds", "For how long beat owes a job.", "", [("", jobs.beat_lag_seconds())])


def _gauge(name: str, says: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    gauge = GaugeMetricFamily(name, says, labels=[label] if label else [])
    for of, value in values:
        gauge.add_metric([of] if label else [], float(value))
    return gauge


def exposition() -> bytes:
    """All figures in Prometheus' text format, of all processes that share PROMETHEUS_MULTIPROC_DIR."""
    requests = _own
    if FOLDER:
        requests = CollectorRegistry()
        multiprocess.MultiProcessCollector(requests)  # type: ignore[no-untyped-call]
    present = CollectorRegistry()
    present.register(_Present())
    return generate_latest(requests) + generate_latest(present)
