"""Tell secrets that can be guessed from random ones."""

import base64

KEY_CHARACTERS = 50
TOKEN_CHARACTERS = 20
WEBHOOK_SECRET_BYTES = 24
# Of the libraries of Standard Webhooks, and of our own docs/api.md.
PUBLISHED_WEBHOOK_SECRETS = {"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def weakness_of_key(key: str) -> str | None:
    """Return what is wrong with a key that signs sessions, or None."""
    if len(key) < KEY_CHARACTERS or has_little_variety(key.encode()):
        return f"can be guessed: use {KEY_CHARACTERS} random characters or more, for instance from `openssl rand -base64 48`."
    return None


def weakness_of_token(token: str) -> str | None:
    """Return what is wrong with a token that another program sends, or None."""
    if len(token) < TOKEN_CHARACTERS or has_little_variety(token.encode()):
        return f"can be guessed: use {TOKEN_CHARACTERS} random characters or more, for instance from `openssl rand -hex 24`."
    return None


def weakness_of_webhook_secret(secret: str) -> str | None:
    """Return what is wrong with a signing secret of Standard Webhooks, or None."""
    if secret in PUBLISHED_WEBHOOK_SECRETS:
        return "holds the example of our documentation, which everybody knows."
    try:
        data = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        data = b""
    if len(data) < WEBHOOK_SECRET_BYTES or has_little_variety(data):
        return f"must each be whsec_ and at least {WEBHOOK_SECRET_BYTES} random bytes in base64."
    return None


def has_little_variety(data: bytes) -> bool:
    """Return whether so few different bytes, or groups of three, occur that the data are no random text.

    Of 64 random hexadecimal digits 15 to 16 differ, of 20 about 11; nearly all of their groups of three differ.
    """
    groups = [data[start : start + 3] for start in range(len(data) - 2)]
    return len(set(data)) < min(10, len(data) // 4) or len(set(groups)) < 0.8 * len(groups)
