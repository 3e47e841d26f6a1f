"""Read and move the clock of a sandbox, which no system in production has."""

from datetime import datetime

from peerloans_client.client import AuthenticatedClient
from peerloans_client.connection import Refused
from peerloans_client.models import Problem

CLOCK = "/api/sandbox/clock/"
MOST_SECONDS = 120  # for all jobs that fell due


def now(client: AuthenticatedClient) -> datetime:
    """Return the sandbox's time."""
    return datetime.fromisoformat(client.get_httpx_client().get(CLOCK).raise_for_status().json()["at"])


def move_clock(client: AuthenticatedClient, to: datetime) -> datetime:
    """Let time pass until `to`, do what fell due, and return the sandbox's time. A repeat, and a time that has passed, move nothing.

    Raises:
        Refused: the API refused the request.
    """
    if (at := now(client)) >= to:
        return at
    answer = client.get_httpx_client().post(CLOCK, json={"at": to.isoformat()}, timeout=MOST_SECONDS)
    if answer.is_error and (at := now(client)) < to:
        raise Refused(Problem.from_dict(answer.json()))
    return at if answer.is_error else datetime.fromisoformat(answer.json()["at"])
