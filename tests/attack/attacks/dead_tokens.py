"""Race log-ins with a new password, and go on with tokens after a new password, a deactivation and an activation."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.attack.site import PASSWORD, ROOT, Result, Site

TITLE = "log-ins that race with manage.py changepassword, tokens of deactivated users"
LOG_INS = 12
NEW_PASSWORD = "quite another good phrase"
MOST_SECONDS = 2.0  # that a token may live on in another process


def attack(site: Site) -> Result:
    from loans.models import User

    result = Result(0)
    tokens = [site.new_token("racer")]

    def is_valid(token: str) -> bool:
        result.times += 1
        return site.ask("GET", "/api/v1/portfolio/", Authorization=f"Bearer {token}")[0] == 200

    def log_in(number: int) -> str:
        result.times += 1
        body = json.dumps({"username": "racer", "password": PASSWORD}).encode()
        status, answer = site.ask("POST", "/api/v1/auth/token/", body, X_Forwarded_For=f"203.0.113.{220 + number}")
        return str(json.loads(answer)["token"]) if status == 200 else ""

    def change_password() -> None:
        subprocess.run(
            [sys.executable, "manage.py", "changepassword", "racer"],
            cwd=ROOT,
            env=site.environment,
            input=f"{NEW_PASSWORD}\n{NEW_PASSWORD}\n",
            text=True,
            capture_output=True,
            check=True,
            start_new_session=True,  # without a terminal it reads the password from its input
        )

    if not all(is_valid(tokens[0]) for _ in range(8)):  # so that each process remembers it
        result.broken.append("a token did not work while it should")
    with ThreadPoolExecutor(LOG_INS + 1) as crowd:
        changing = crowd.submit(change_password)
        tokens += [token for token in crowd.map(log_in, range(LOG_INS)) if token]
        changing.result()
    time.sleep(MOST_SECONDS)
    if alive := sum(any(is_valid(token) for _ in range(8)) for token in tokens):
        result.broken.append(f"{alive} of {len(tokens)} tokens outlived the password")

    token = site.new_token("leaver")
    leaver = User.objects.get(username="leaver")
    for _ in range(8):
        is_valid(token)
    for active in (False, True):
        leaver.is_active = active
        leaver.save()
        time.sleep(MOST_SECONDS)
        if any(is_valid(token) for _ in range(8)):
            result.broken.append(f"a token works after its user was {'activated again' if active else 'deactivated'}")
    return result
