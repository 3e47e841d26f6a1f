"""Read the whole body of a request before a thread takes the request, and refuse a body that is too large or too slow.

`Door` is the ASGI application that the web server calls, around Django's WSGI application. Each web process has only a few
threads, and each thread keeps a database connection. A request that is still being sent, or an answer that is read slowly, waits
in the event loop and occupies no thread.

What the server passes on has one meaning: headers with an underscore in their name are dropped, since WSGI could not tell
X_Forwarded_For from X-Forwarded-For; headers of the same name are joined, so that each of their lines counts.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from django.conf import settings
from django.urls import Resolver404, resolve

# The bytes that a page may be sent in place of DATA_UPLOAD_MAX_MEMORY_SIZE, by the name of its view.
larger_bodies: dict[str, int] = {}

# A guess at a password costs the hash of it, 0.2 seconds of a core. Each process checks one at a time, so that the others keep its threads.
LOG_IN_PATHS = {"/admin/login/", "/account/log-in/", "/api/v1/auth/token/"}

BODY_SECONDS = 20  # 64 kB take 13 s over a line of 40 kbit/s
SLOWEST_BYTES_PER_SECOND = 50_000  # of a larger body, which then has more time
PART_SECONDS = 60  # until the server has taken a part of an answer that is read slowly
PART_BYTES = 128 * 1024  # of a streamed answer, for each turn of a thread

REFUSED = "peerloans.refused"
"""The key in `request.META` under which the middleware finds the code of the refusal: `too_large` or `too_slow`."""
RAW_PATH = "peerloans.raw_path"
"""The key of the path as it was sent, with its percent signs."""

_CONSTANT = {
    "SCRIPT_NAME": "",
    "wsgi.version": (1, 0),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
_WITHOUT_PREFIX = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}

Environ = dict[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")


class Refused(Exception):
    """The body is not taken. `code` says why, as in peerloans/api/error_statuses.py."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Gone(Exception):
    """The client closed the connection before its request was complete."""


@dataclass
class Answer:
    """What Django answers: its first part, and whether its chunks have more."""

    status: int
    headers: list[tuple[bytes, bytes]]
    part: bytes
    has_more: bool
    chunks: Iterator[bytes]
    close: Callable[[], object]


class Door:
    """Serve `application`, a WSGI application, with so many threads in each process."""

    def __init__(self, application: Callable[..., Any], threads: int) -> None:
        self._application = application
        self._threads = ThreadPoolExecutor(threads, "request")
        self._log_in = asyncio.Lock()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        environ = environ_of(scope)
        body = b""
        try:
            if "CONTENT_LENGTH" in environ or environ.pop("HTTP_TRANSFER_ENCODING", None):
                body = await self._read(environ, receive)
        except Refused as refusal:
            environ[REFUSED] = refusal.code
        except Gone:
            return
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        if environ["PATH_INFO"] in LOG_IN_PATHS and environ["REQUEST_METHOD"] == "POST":
            async with self._log_in:
                answer = await self._in_thread(self._answer, environ)
        else:
            answer = await self._in_thread(self._answer, environ)
        await self._send(answer, send)

    async def _read(self, environ: Environ, receive: Receive) -> bytes:
        """Return the body.

        Raises: Refused, Gone.
        """
        length = environ.get("CONTENT_LENGTH", "")
        announced = int(length) if length.isdecimal() else 0  # a body without a length is counted as it arrives
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if announced > limit and await self._in_thread(self._may_send, announced, environ):
            limit = announced
        if announced > limit:
            raise Refused("too_large")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS + announced / SLOWEST_BYTES_PER_SECOND):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise Refused("too_large")
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Refused("too_slow") from None

    def _may_send(self, announced: int, environ: Environ) -> bool:
        """Return whether the page takes so many bytes, from this caller: one who would be shown the page, with its form."""
        try:
            view_name = resolve(environ["PATH_INFO"]).view_name  # this loads the views, which enter their larger_bodies
        except Resolver404:
            return False
        if announced > larger_bodies.get(view_name, 0):
            return False
        answer = self._answer({**environ, "REQUEST_METHOD": "GET", "CONTENT_LENGTH": "0", "wsgi.input": BytesIO()})
        if answer.has_more:
            answer.close()
        return answer.status == 200

    def _answer(self, environ: Environ) -> Answer:
        """Let Django answer. An answer that is complete is closed."""
        started: list[Any] = []
        response = self._application(environ, lambda *status_and_headers: started.extend(status_and_headers))
        chunks = iter(response)
        try:
            part, has_more = next_part(chunks)
        except BaseException:
            response.close()
            raise
        if not has_more:
            response.close()
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in started[1]]
        return Answer(int(started[0][:3]), headers, part, has_more, chunks, response.close)

    async def _send(self, answer: Answer, send: Send) -> None:
        part, has_more = answer.part, answer.has_more
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        if not has_more:
            await send({"type": "http.response.body", "body": part})
            return
        try:
            # An answer that is not read to its end is cut off there: the server closes the connection.
            while has_more:
                async with asyncio.timeout(PART_SECONDS):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                part, has_more = await self._in_thread(next_part, answer.chunks)
            await send({"type": "http.response.body", "body": part})
        except TimeoutError:
            return
        finally:
            await self._in_thread(answer.close)

    def _in_thread(self, function: Callable[..., T], *arguments: Any) -> "asyncio.Future[T]":
        """Call the function in one of the threads. asyncio's own way to do it takes a tenth of a ZIP's answer."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001  it is raised where the result is awaited
                loop.call_soon_threadsafe(_settle, future, None, error)
            else:
                loop.call_soon_threadsafe(_settle, future, result, None)

        self._threads.submit(call)
        return future


def environ_of(scope: dict[str, Any]) -> Environ:
    """Return the request's environ, as WSGI has it, without its body."""
    raw_path: bytes = scope["raw_path"]
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    environ = {
        **_CONSTANT,
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": path.decode("latin-1"),
        RAW_PATH: raw_path.decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "wsgi.url_scheme": scope["scheme"],
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue
        key = _WITHOUT_PREFIX.get(name) or "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        if key in environ:
            text = f"{environ[key]}{'; ' if name == b'cookie' else ','}{text}"
        environ[key] = text
    return environ


def next_part(chunks: Iterator[bytes]) -> tuple[bytes, bool]:
    """Return the next bytes of an answer, at least PART_BYTES unless it ends, and whether there may be more."""
    part = bytearray()
    for chunk in chunks:
        part += chunk
        if len(part) >= PART_BYTES:
            return bytes(part), True
    return bytes(part), False


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    """Give the future its result. One whose request was given up is done already."""
    if future.done():
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)
