"""Send thousands of unknown or repeated names in one request, also under an Idempotency-Key, which keeps the refusal."""

import json

from django.db.models import Max
from django.db.models.functions import Length

from tests.attack.site import REFERENCE, Result, Site

TITLE = "thousands of unknown fields in one body"
ROUNDS = 20
NAMES = 5_500  # in 64 kB
MOST_BYTES = 4_096
OWN_ADDRESS = "203.0.113.67"  # the log-ins of the other attacks are throttled by their address


def attack(site: Site) -> Result:
    from loans.models import IdempotencyKey

    unknown = json.dumps({f"{number:x}": 1 for number in range(NAMES)}).encode()
    repeated = ("{" + ",".join(f'"{number:x}":1' for number in [*range(NAMES), NAMES - 1]) + "}").encode()
    huge = json.dumps(dict.fromkeys(map(str, range(220_000)), 1)).encode()
    reserve = f"/api/v1/loans/{REFERENCE}/reservations/"
    result = Result(0)
    for number in range(ROUNDS):
        for path in ("/ziptocbsa", "/api/v1/auth/token/", reserve):
            for body, expected in ((unknown, 400), (repeated, 400), (huge, 413)):
                result.times += 1
                headers = (
                    {"Authorization": f"Bearer {site.token}", "Idempotency_Key": f"unknown-{number}-{len(body)}"} if path == reserve else {}
                )
                try:
                    status, answer = site.ask("POST", path, body, X_Forwarded_For=OWN_ADDRESS, **headers)
                except ConnectionError:  # refused while it was being sent
                    continue
                if status != expected or len(answer) > MOST_BYTES:
                    result.broken.append(f"{path}: {status} with {len(answer):,} bytes")
    longest = IdempotencyKey.objects.aggregate(longest=Max(Length("body")))["longest"] or 0
    if longest > MOST_BYTES:
        result.broken.append(f"a refusal of {longest:,} characters was kept")
    return result
