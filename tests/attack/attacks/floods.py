"""Send forged bank events, lists of ZIPs and questions for the OpenAPI document, faster than the throttle allows."""

import json
import time

from tests.attack.site import THROTTLE_PER_MINUTE, Result, Site

TITLE = "floods: forged bank events, lists of ZIPs, the OpenAPI document"
ZIPS = json.dumps({"zips": ["90266"] * 1_000}).encode()
MORE = 100
SECONDS = 15.0


def attack(site: Site) -> Result:
    result = Result(0)
    for number, (method, path, body) in enumerate(
        (("POST", "/api/v1/bank-events/", b"{}"), ("POST", "/ziptocbsa", ZIPS), ("GET", "/api/schema/", None))
    ):
        statuses: set[int] = set()
        deadline = time.monotonic() + SECONDS
        for _ in range(2 * THROTTLE_PER_MINUTE + MORE):  # a minute may end meanwhile
            result.times += 1
            status, _ = site.ask(method, path, body, X_Forwarded_For=f"203.0.113.{100 + number}")
            statuses.add(status)
            if status == 429:
                break
            if time.monotonic() > deadline:
                result.broken.append(f"{path} was not throttled within {SECONDS:.0f} s")
                break
        if statuses - {200, 400, 429}:
            result.broken.append(f"{path} was answered {sorted(statuses)}")
    return result
