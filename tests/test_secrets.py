"""Search every file that git tracks for text that looks like a key, a token or a password."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The example in the documentation of Standard Webhooks' libraries.
PUBLISHED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\b(?:gh[opsur]_|github_pat_)\w{22,}"
    r"|\bxox[abeprs]-[\w-]{10,}"  # Slack
    r"|\bsk_live_\w{16,}"  # Stripe
    rf"|\b(?!{PUBLISHED})whsec_[\w+/-]{{32,}}"
)
# A password in a URL, but for the word "password" and variables of the environment. Tests may hold made-up ones.
PASSWORD = re.compile(r"://[^\s/:@]+:(?!password@|\$\{)[^\s/:@]+@")
NAMES = re.compile(r"(?:^|/)(?:\.env(?:\..+)?|id_(?:rsa|ed25519|ecdsa)|.+\.(?:pem|key|p12|pfx))$")


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "RSA PRIVATE KEY-----",
        "-----BEGIN " + "PRIVATE KEY-----",
        "key = 'AKIA" + "IOSFODNN7EXAMPLE'",
        "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
        "BANK_WEBHOOK_SECRETS=whsec_" + "a25vd24tdG8tdGhlLXRlc3RzLWFsb25l",
        "DATABASE_URL: postgresql://peerloans:hunter2@database/peerloans",
    ],
)
def test_secrets_are_recognized(text: str) -> None:
    assert SECRET.search(text) or PASSWORD.search(text)


def test_no_file_holds_a_secret() -> None:
    files = tracked()
    assert len(files) > 100
    texts = {str(path.relative_to(ROOT)): path.read_bytes().decode("latin-1") for path in files}
    assert [name for name in texts if NAMES.search(name)] == []
    assert [(name, found[0][:12]) for name, text in texts.items() if (found := SECRET.search(text))] == []
    assert [name for name, text in texts.items() if not name.startswith("tests/") and PASSWORD.search(text)] == []
