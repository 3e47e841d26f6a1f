"""Check that a webhook comes from peerloans, and read it."""

import json
from collections.abc import Iterable, Mapping

from peerloans_client.models import Message, TestMessage
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

TEST_TYPE = "webhook.test"


def read_webhook(body: bytes, headers: Mapping[str, str], secrets: Iterable[str]) -> Message | TestMessage:
    """Return the message, if one of the endpoint's secrets signed it within five minutes from now.

    Two secrets are valid for a day after a rotation. A message may come again: its `webhook-id` header stays the same.
    A TestMessage only tries out the endpoint.

    Raises:
        WebhookVerificationError: no secret signed it, or not lately.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    for secret in secrets:
        try:
            Webhook(secret).verify(body, lower)
        except WebhookVerificationError:
            continue
        content = json.loads(body)
        return TestMessage.from_dict(content) if content["type"] == TEST_TYPE else Message.from_dict(content)
    raise WebhookVerificationError("No secret of this endpoint signed the message.")
