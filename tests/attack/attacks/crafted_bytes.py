"""Send what is no UTF-8, no HTTP/1.1, and a probe's path in disguise."""

from tests.attack.site import Result, Site

TITLE = "bytes that are no UTF-8, HTTP/2 on the plain port, disguised probes"
ROUNDS = 20
BODIES = (b'{"\xed\xa0\x80": 1}', b'{"username": "\xff"}', b"\xff\xfe{\x00}\x00", b'{"a": ' + b"9" * 5_000 + b"}", b"[" * 60_000)
PROBES = ("/%72eadyz", "/%6Civez", "/%6detrics", "/./readyz", "//readyz", "/readyz/")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
UPGRADE = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"


def attack(site: Site) -> Result:
    result = Result(0)
    for number in range(ROUNDS):
        for path in ("/ziptocbsa", "/api/v1/auth/token/", "/api/v1/bank-events/"):
            for body in BODIES:
                result.times += 1
                status, _ = site.ask("POST", path, body, X_Forwarded_For=f"203.0.113.{number}")
                if status != 400:
                    result.broken.append(f"{path}: {body[:12]!r} was answered {status}")
        for path in PROBES:
            result.times += 1
            status, _ = site.ask("GET", path)
            if status != 404:
                result.broken.append(f"{path} was answered {status}")
    result.times += 2
    if site.raw(PREFACE):
        result.broken.append("HTTP/2 was answered")
    if not site.raw(UPGRADE).startswith(b"HTTP/1.1 200"):
        result.broken.append("an upgrade to HTTP/2 was not ignored")
    return result
