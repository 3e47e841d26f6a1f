"""How does a message reach an investor's own system? Signed as Standard Webhooks prescribes, and only to a public address.

`peerloans/safe_http.py` sees to the address. Redirects are not followed.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import SplitResult

from django.conf import settings
from standardwebhooks import Webhook

from peerloans import safe_http
from peerloans.safe_http import Failed, Reach, TooSlow

MOST_SECONDS = 10.0  # for the whole of one attempt, however slowly the other side lets its answer drip


def send(*, url: str, secret: str, message_id: str, body: str, most_seconds: float = MOST_SECONDS) -> None:
    """Deliver the JSON `body` to `url`, or raise Refused or Failed. The same `message_id` tells a repeat.

    Any status from 200 to 299 counts as taken; what else the answer holds is not read.
    """
    at = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(message_id, at, body),
    }
    reach = Reach(_allowed(), time.monotonic() + most_seconds)
    try:
        with safe_http.call("POST", checked(url), reach, headers, body.encode()) as response:
            status = response.status
    except TooSlow:
        raise Failed(f"There was no answer within {most_seconds:g} seconds.") from None
    if not 200 <= status < 300:
        raise Failed(f"The answer was {status}.")


def checked(url: str) -> SplitResult:
    """The parts of an address in a form that we call; Refused otherwise. Its host is not looked up here."""
    return safe_http.parts(url, ["https", "http"] if settings.DEBUG else ["https"])


def addresses_of(host: str, port: int) -> list[str]:
    """The host's addresses, all of them such as we call; Refused where one is not, Failed where there is none."""
    return safe_http.addresses_of(host, port, _allowed())


def _allowed() -> Callable[[str], bool]:
    return safe_http.anywhere if settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS else safe_http.is_public
