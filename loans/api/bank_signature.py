"""Did the bank send this? Signatures as Standard Webhooks prescribes, under any of the secrets in use."""

from collections.abc import Mapping

from django.conf import settings
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from loans.domain.errors import InvalidSignature


def verify_bank_signature(body: bytes, headers: Mapping[str, str]) -> None:
    """Raises InvalidSignature unless one of BANK_WEBHOOK_SECRETS signed the body within five minutes of now.

    Where no secret is set, everything is refused; on a machine of one's own (DEBUG) everything is taken then.
    """
    secrets = settings.BANK_WEBHOOK_SECRETS
    if settings.DEBUG and not secrets:
        return
    if not any(_signed(secret, body, headers) for secret in secrets):
        raise InvalidSignature("Sign the body with the secret agreed on: webhook-id, webhook-timestamp, webhook-signature.")


def _signed(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the library lets some malformed headers out as ValueError
        return False
    return True
