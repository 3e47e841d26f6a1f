"""Send a message to an investor's webhook endpoint, signed as Standard Webhooks prescribes.

Only public addresses are called (`peerloans/safe_http.py`), and redirects are not followed.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import SplitResult

from django.conf import settings
from standardwebhooks import Webhook

from peerloans import safe_http
from peerloans.safe_http import CallLimits, Failed, TooSlow

ATTEMPT_SECONDS = 10.0  # for the whole attempt, even if the other side answers byte by byte


def send(*, url: str, secrets: Sequence[str], message_id: str, body: str, seconds: float = ATTEMPT_SECONDS) -> None:
    """Post the JSON `body` to `url` within `seconds`, signed with each secret. A receiver recognizes a repeat by its `message_id`.

    Any status from 200 to 299 means that the receiver took the message. The rest of its answer is not read.

    Raises:
        Refused: we do not call this address.
        Failed: the receiver did not take the message.
    """
    at = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message_id, at, body) for secret in secrets),
    }
    limits = CallLimits(_address_rule(), deadline=time.monotonic() + seconds)
    try:
        with safe_http.call("POST", _parse(url), limits, headers, body.encode()) as response:
            status = response.status
    except TooSlow:
        raise Failed(f"There was no answer within {seconds:g} seconds.") from None
    if not 200 <= status < 300:
        raise Failed(f"The answer was {status}.")


def check_url(url: str) -> None:
    """Check an endpoint's address before it is registered. A host that is not found passes: it may be found later.

    Raises:
        Refused: nothing could ever be delivered to the address.
    """
    address = _parse(url)
    with contextlib.suppress(Failed):
        safe_http.addresses_of(address.hostname or "", address.port or 443, _address_rule())


def _parse(url: str) -> SplitResult:
    return safe_http.parse_url(url, ["https", "http"] if settings.DEBUG else ["https"])


def _address_rule() -> Callable[[str], bool]:
    return safe_http.any_address if settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS else safe_http.is_public
