"""Run requested imports of ZIP data in the background. Any worker runs them, also after another worker was killed."""

from celery import shared_task

from cbsa.imports import requests


@shared_task
def run_import_request(request_id: int) -> str:
    """Check and load one request."""
    return requests.run_request(request_id)


@shared_task
def dispatch_import_requests() -> str:
    """Send to the workers those requests that no worker holds, because a worker or the broker went away."""
    request_ids = requests.unleased_requests()
    for request_id in request_ids:
        run_import_request.delay(request_id)
    return f"{len(request_ids)} requests were dispatched."
