"""Check that a webhook comes from peerloans, and read it."""

import json
from collections.abc import Iterable, Mapping

from peerloans_client.models import Message
from standardwebhooks.webhooks import Webhook, WebhookVerificationError


def read_webhook(body: bytes, headers: Mapping[str, str], secrets: Iterable[str]) -> Message:
    """Return the message, if one of the endpoint's secrets signed it within five minutes from now.

    Two secrets are valid for a day after a rotation. A message may come again: its `webhook-id` header stays the same.

    Raises:
        WebhookVerificationError: no secret signed it, or not lately.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    for secret in secrets:
        try:
            Webhook(secret).verify(body, lower)
        except WebhookVerificationError:
            continue
        return Message.from_dict(json.loads(body))
    raise WebhookVerificationError("No secret of this endpoint signed the message.")
