"""Random secrets are accepted, and those that can be guessed are refused with a reason."""

import base64
from random import Random

import pytest

from peerloans.secret_strength import weakness_of_key, weakness_of_token, weakness_of_webhook_secret


def webhook_secret(data: bytes) -> str:
    return "whsec_" + base64.b64encode(data).decode()


@pytest.mark.parametrize("seed", range(200))
def test_random_secrets_are_accepted(seed: int) -> None:
    """Of the shortest tokens that are accepted, about one in 200,000 is refused: so these are always the same ones."""
    random = Random(seed)
    assert weakness_of_key(random.randbytes(25).hex()) is None
    assert weakness_of_key(base64.b64encode(random.randbytes(38)).decode()) is None
    assert weakness_of_token(random.randbytes(10).hex()) is None
    assert weakness_of_webhook_secret(webhook_secret(random.randbytes(24))) is None


@pytest.mark.parametrize("key", ["", "k" * 60, "changeme" * 8, "0123456789" * 5 + "x", "9f86d081884c7d659a2feaa0c55ad015"])
def test_a_key_that_can_be_guessed(key: str) -> None:
    assert "SECRET" not in str(weakness_of_key(key))
    assert "can be guessed" in str(weakness_of_key(key))


@pytest.mark.parametrize("token", ["", "secret", "x" * 20, "token" * 5])
def test_a_token_that_can_be_guessed(token: str) -> None:
    assert "can be guessed" in str(weakness_of_token(token))


@pytest.mark.parametrize("secret", ["", "secret", "whsec_c2hvcnQ=", webhook_secret(bytes(24)), webhook_secret(b"bank" * 6)])
def test_a_webhook_secret_that_can_be_guessed(secret: str) -> None:
    assert "random bytes" in str(weakness_of_webhook_secret(secret))


def test_the_secret_of_the_documentation_is_refused() -> None:
    assert "everybody knows" in str(weakness_of_webhook_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
