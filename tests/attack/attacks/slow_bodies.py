"""Announce bodies and send nothing; send heads that never end; keep connections idle; read nothing of a long answer."""

import time

from tests.attack.site import Result, Site

TITLE = "400 connections: slow bodies, slow heads, idle, unread answers"
EACH = 100
SECONDS = 5.0
OPENINGS = (
    b"POST /api/v1/auth/token/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
    b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)


def attack(site: Site) -> Result:
    connections = [site.connect(opening, unread_bytes=4_096) for opening in OPENINGS for _ in range(EACH)]
    time.sleep(SECONDS)
    for connection in connections:
        connection.close()
    return Result(len(connections))
