"""Start the system with settings that would fail open: without each required one, and with secrets that can be guessed."""

import subprocess
import sys

from tests import production
from tests.attack.site import ROOT, Result, Site

TITLE = "starts with missing and guessable settings"
WEAK = [
    {"SECRET_KEY": "0123456789" * 6},
    {"BANK_WEBHOOK_SECRETS": "whsec_" + "A" * 32},
    {"BANK_WEBHOOK_SECRETS": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
    {"METRICS_TOKEN": "prometheus"},
    {"ALLOWED_HOSTS": "*"},
]


def attack(site: Site) -> Result:
    result = Result(0)
    missing = [{name: ""} for name in production.ENVIRONMENT if name != "PATH"]
    for wrong in [*missing, *WEAK]:
        result.times += 1
        command = [sys.executable, "-c", "import peerloans.settings"]
        done = subprocess.run(command, cwd=ROOT, env=production.ENVIRONMENT | wrong, capture_output=True, text=True, check=False)
        (name,) = wrong
        if done.returncode == 0 or name not in done.stderr.splitlines()[-1]:
            result.broken.append(f"it started with {wrong}")
    return result
