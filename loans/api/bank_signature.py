"""Check that the bank sent an event, by its Standard Webhooks signature."""

from collections.abc import Mapping

from django.conf import settings
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from loans.domain.errors import InvalidSignature


def verify_bank_signature(body: bytes, headers: Mapping[str, str]) -> None:
    """Return if one of BANK_WEBHOOK_SECRETS signed the body within five minutes of now.

    Without any secret every event is refused, except in debug, where every event is accepted.

    Raises: InvalidSignature.
    """
    secrets = settings.BANK_WEBHOOK_SECRETS
    if settings.DEBUG and not secrets:
        return
    if not any(_is_signed(secret, body, headers) for secret in secrets):
        raise InvalidSignature(
            "Sign the exact bytes of the body with the agreed secret and the present time, "
            "and send the headers webhook-id, webhook-timestamp and webhook-signature."
        )


def _is_signed(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the library raises ValueError for some malformed headers
        return False
    return True
