"""Guess passwords under forged addresses, written with underscores or on several lines, and ask for hosts that are not ours."""

from tests.attack.site import ADDRESS, Result, Site

TITLE = "wrong passwords under forged addresses, wrong hosts"
GUESSES = 40
BODY = b'{"username": "investor", "password": "a guess"}'
HEAD = (
    "POST /api/v1/auth/token/ HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n"
)


def attack(site: Site) -> Result:
    result = Result(0)
    # What a stranger sends comes first; the proxy appends a line of its own.
    for name in ("X_Forwarded_For", "X-Forwarded-For", "x_forwarded-for"):
        statuses = []
        for number in range(GUESSES):
            result.times += 1
            lines = f"{name}: 198.51.100.{number}\r\nX-Forwarded-For: {ADDRESS}\r\n"
            statuses.append(site.raw(HEAD.format("127.0.0.1", len(BODY), lines).encode() + BODY)[9:12])
        if b"429" not in statuses:
            result.broken.append(f"{GUESSES} guesses with {name} were not stopped")
    before = site.log.stat().st_size
    for host in ("evil.example", "a b", "x" * 300):
        for _ in range(20):
            result.times += 1
            if site.raw(HEAD.format(host, len(BODY), "").encode() + BODY)[9:12] != b"400":
                result.broken.append(f"the host {host[:20]} was not refused")
    with site.log.open("rb") as log:
        log.seek(before)
        if b"Traceback" in log.read():
            result.broken.append("a wrong host wrote a traceback")
    return result
