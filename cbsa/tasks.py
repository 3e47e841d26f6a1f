"""Which imports of ZIP data run in the background? Those that staff asked for; any worker takes them up, also after another was killed."""

from celery import shared_task

from cbsa.imports import requests


@shared_task
def carry_out(request_id: int) -> str:
    """Check and load one request at once."""
    return requests.carry_out(request_id)


@shared_task
def take_up() -> str:
    """Hand out again the requests that nobody works on, because a worker or the broker went away."""
    found = requests.due()
    for request_id in found:
        carry_out.delay(request_id)
    return f"{len(found)} requests were handed out."
