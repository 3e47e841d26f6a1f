import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cbsa.imports import service
from cbsa.models import ImportRun
from tests.cbsa.publishers import METROS, ZIPS

Import = Callable[..., ImportRun]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Write a file, text in Latin-1, and give its path."""

    def _write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("latin-1"))
        return str(path)

    return _write


@pytest.fixture
def run(write: Callable[[str, str | bytes], str]) -> Import:
    """Import the small pair; `zips` and `metros` replace the text of a file, everything else goes to the import."""

    def _run(zips: str = ZIPS, metros: str = METROS, vintage: str = "2015", **options: object) -> ImportRun:
        paths = {"zips": write("zips.csv", zips), "metros": write("metros.csv", metros)}
        return service.run(**paths, vintage=vintage, actor="tester", **options)

    return _run


@pytest.fixture
def publisher() -> Iterator[tuple[str, dict[str, bytes]]]:  # noqa: C901  one branch a habit
    """A web server's address and what it serves. It has bad habits, named by their paths."""
    files: dict[str, bytes] = {}
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/silent":
                over.wait()
            elif path == "/halfway":
                self.answer(b"ZIP,CBSA", length=1_000)
            elif path == "/halfway-in-chunks":
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"8\r\nZIP,CBSA\r\nff\r\n")
            elif path == "/trickle":
                self.answer(b"", length=1_000)
                while not over.wait(0.02):
                    with contextlib.suppress(OSError):
                        self.wfile.write(b"x")
            elif to := {"/to": query, "/to-a-file": "file:///etc/passwd", "/round-and-round": path}.get(path):
                self.send_response(302)
                self.send_header("Location", to)
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path in files:
                self.answer(files[path], length=len(files[path]))
            else:
                self.send_error(404)

        def answer(self, content: bytes, length: int) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", files
    over.set()
    server.shutdown()
    server.server_close()
    thread.join()
