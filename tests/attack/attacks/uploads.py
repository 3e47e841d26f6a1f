"""Send large bodies to every kind of page, with a length and without, and to the import page without a log-in."""

import contextlib

from tests.attack.site import Result, Site

TITLE = "bodies of 50 MB to pages, the API and the import page"
PATHS = ("/", "/admin/login/", "/api/v1/auth/token/", "/ziptocbsa", "/admin/cbsa/importrequest/add/", "/nowhere")
ROUNDS = 10
SENT_BYTES = 4 * 2**20  # of 50 MB, more than the buffers of both sockets hold
HEAD = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n{}\r\n\r\n"


def attack(site: Site) -> Result:
    result = Result(0)
    for _ in range(ROUNDS):
        for path in PATHS:
            for length in (f"Content-Length: {50 * 2**20}", "Transfer-Encoding: chunked"):
                result.times += 1
                status = _send(site, HEAD.format(path, length).encode(), chunked=length.startswith("T"))
                if status != b"413":
                    result.broken.append(f"{path} with {length} was answered {status!r}")
    return result


def _send(site: Site, head: bytes, *, chunked: bool) -> bytes:
    """Return the status of the answer."""
    data = b"x" * 65_536
    part = b"10000\r\n" + data + b"\r\n" if chunked else data
    with site.connect(head) as connection, contextlib.suppress(ConnectionError):
        if not chunked:
            return connection.recv(16)[9:12]  # before any of it was sent
        for _ in range(SENT_BYTES // len(part)):
            connection.sendall(part)
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                return connection.recv(16)[9:12]
        return b"everything was read"
    return b"413"  # the site closed the connection while it was being sent to
