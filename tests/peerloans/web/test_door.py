"""The door takes a request's whole body before a thread takes the request, and passes on headers that have one meaning."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from peerloans.web import door
from peerloans.web.door import Door

LIMIT = 64 * 1024
IMPORT_PAGE = "/admin/cbsa/importrequest/add/"

Message = dict[str, Any]


class Application:
    """A WSGI application that records the requests it gets, and answers them all alike."""

    def __init__(self, status: str = "200 OK", chunks: tuple[bytes, ...] = (b"answer",)) -> None:
        self.status, self.chunks = status, chunks
        self.requests: list[dict[str, Any]] = []
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> "Application":
        self.requests.append({**environ, "body": environ["wsgi.input"].read()})
        start_response(self.status, [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        self.closed += 1


def scope(path: str = "/", *headers: tuple[str, str], method: str = "POST") -> Message:
    raw = [(name.encode(), value.encode()) for name, value in headers]
    return {
        "type": "http", "method": method, "raw_path": path.encode(), "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": raw, "client": ("192.0.2.1", 5), "server": ("127.0.0.1", 8000),
    }  # fmt: skip


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


async def exchange(served: Door, request: Message, *messages: Message) -> tuple[list[Message], int]:
    """Return what the door sends, and how many of the messages it received. After the last message nothing arrives any more."""
    sent: list[Message] = []
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0) if left else await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message)

    await served(request, receive, send)
    return sent, len(messages) - len(left)


def passed_on(request: Message, *messages: Message, **answers: Any) -> tuple[dict[str, Any], int]:
    """Return the request that reached the application last, and how many messages were received for it."""
    application = Application(**answers)
    _, received = asyncio.run(exchange(Door(application, 1), request, *messages))
    return application.requests[-1], received


def test_a_body_arrives_whole() -> None:
    request, _ = passed_on(scope("/a%2Fb", ("content-length", "6")), body(b"abc", more=True), body(b"def"))
    assert (request["body"], request["CONTENT_LENGTH"], request["PATH_INFO"]) == (b"abcdef", "6", "/a/b")


def test_a_body_without_a_length_arrives_too() -> None:
    request, _ = passed_on(scope("/", ("transfer-encoding", "chunked")), body(b"abc", more=True), body(b"def"))
    assert (request["body"], request["CONTENT_LENGTH"]) == (b"abcdef", "6")
    assert "HTTP_TRANSFER_ENCODING" not in request


def test_a_request_whose_body_does_not_arrive_occupies_no_thread() -> None:
    application = Application()

    async def run() -> None:
        served = Door(application, 1)
        slow = [asyncio.create_task(exchange(served, scope("/slow", ("content-length", "9")), body(b"a", more=True))) for _ in range(100)]
        await asyncio.sleep(0)
        sent, _ = await asyncio.wait_for(exchange(served, scope("/quick", method="GET")), 5)
        assert sent[0]["status"] == 200
        for each in slow:
            each.cancel()

    asyncio.run(run())
    assert [request["PATH_INFO"] for request in application.requests] == ["/quick"]


def test_log_ins_occupy_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    checked, application = threading.Event(), Application()

    def check_slowly(environ: dict[str, Any], start_response: Callable[..., object]) -> Application:
        if environ["PATH_INFO"] in door.LOG_IN_PATHS:
            assert checked.wait(30)
        return application(environ, start_response)

    async def run() -> None:
        served = Door(check_slowly, 2)
        guesses = [asyncio.create_task(exchange(served, scope(path))) for path in sorted(door.LOG_IN_PATHS) * 3]
        await asyncio.sleep(0)
        sent, _ = await asyncio.wait_for(exchange(served, scope("/quick", method="GET")), 5)
        assert sent[0]["status"] == 200
        checked.set()
        assert [(await guess)[0][0]["status"] for guess in guesses] == [200] * 9

    asyncio.run(run())
    assert application.requests[0]["PATH_INFO"] == "/quick"


def test_every_log_in_is_one_of_these_paths() -> None:
    assert {reverse(name) for name in ("admin:login", "loans:log-in", "api:token-create")} == door.LOG_IN_PATHS


@pytest.mark.parametrize("path", ["/", "/api/v1/auth/token/", "/admin/login/", "/nowhere"])
def test_a_body_that_is_announced_too_large_is_refused_unread(path: str) -> None:
    request, received = passed_on(scope(path, ("content-length", str(LIMIT + 1))), body(b"x" * LIMIT, more=True))
    assert (request[door.REFUSED], request["body"], received) == ("too_large", b"", 0)


def test_a_body_that_grows_too_large_is_refused_where_it_does() -> None:
    chunks = [body(b"x" * LIMIT, more=True), body(b"x", more=True), body(b"x", more=True)]
    request, received = passed_on(scope("/", ("transfer-encoding", "chunked")), *chunks)
    assert (request[door.REFUSED], request["body"], received) == ("too_large", b"", 2)


def test_a_body_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.01)
    request, _ = passed_on(scope("/", ("content-length", "9")), body(b"a", more=True))
    assert request[door.REFUSED] == "too_slow"


@pytest.mark.parametrize(("status", "refused"), [("200 OK", None), ("302 Found", "too_large"), ("403 Forbidden", "too_large")])
def test_only_who_may_see_the_import_page_may_send_it_a_file(db: None, status: str, refused: str | None) -> None:
    data = b"x" * (LIMIT + 1)
    request, received = passed_on(scope(IMPORT_PAGE, ("content-length", str(len(data)))), body(data), status=status)
    assert (request.get(door.REFUSED), request["body"], received) == (refused, b"" if refused else data, 0 if refused else 1)


def test_the_import_page_has_a_limit_of_its_own(db: None) -> None:
    request, received = passed_on(scope(IMPORT_PAGE, ("content-length", str(60 * 2**20))))
    assert (request[door.REFUSED], received) == ("too_large", 0)


def test_a_client_that_leaves_is_not_served() -> None:
    application = Application()
    gone = {"type": "http.disconnect"}
    sent, _ = asyncio.run(exchange(Door(application, 1), scope("/", ("content-length", "9")), body(b"a", more=True), gone))
    assert (sent, application.requests) == ([], [])


def test_headers_with_underscores_are_dropped_and_all_equal_lines_count() -> None:
    request, _ = passed_on(
        scope(
            "/",
            ("x_forwarded_for", "198.51.100.7"),
            ("x-forwarded-for", "198.51.100.8"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x_forwarded_proto", "https"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            method="GET",
        )
    )
    assert request["HTTP_X_FORWARDED_FOR"] == "198.51.100.8,203.0.113.9"
    assert "HTTP_X_FORWARDED_PROTO" not in request
    assert request["HTTP_COOKIE"] == "a=1; b=2"


def test_a_long_answer_is_sent_in_parts_and_a_slow_reader_occupies_no_thread() -> None:
    long = Application(chunks=(b"x" * door.PART_BYTES, b"y" * door.PART_BYTES, b"z"))
    application = Application()

    async def run() -> list[Message]:
        served = Door(lambda environ, start: (long if environ["PATH_INFO"] == "/long" else application)(environ, start), 1)
        sent: list[Message] = []
        read_on = asyncio.Event()

        async def send(message: Message) -> None:
            sent.append(message)
            await read_on.wait()

        async def receive() -> Message:
            return await asyncio.Future()

        reading = asyncio.create_task(served(scope("/long", method="GET"), receive, send))
        while not sent:
            await asyncio.sleep(0.01)
        await asyncio.wait_for(exchange(served, scope("/quick", method="GET")), 5)
        assert not long.closed
        read_on.set()
        await reading
        return sent

    sent = asyncio.run(run())
    assert b"".join(message.get("body", b"") for message in sent) == b"".join(long.chunks)
    assert [len(message["body"]) for message in sent[1:]] == [door.PART_BYTES, door.PART_BYTES, 1]
    assert long.closed == application.closed == 1


def test_the_answer_of_a_reader_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "PART_SECONDS", 0.01)
    long = Application(chunks=(b"x" * door.PART_BYTES, b"y"))

    async def run() -> None:
        async def receive() -> Message:
            return await asyncio.Future()

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Future()

        await Door(long, 1)(scope(method="GET"), receive, send)

    asyncio.run(run())
    assert long.closed == 1


def test_requests_share_the_threads() -> None:
    names = set()

    def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Application:
        names.add(threading.current_thread().name)
        return Application()(environ, start_response)

    async def run() -> None:
        served = Door(application, 2)
        calls: list[Awaitable[Any]] = [exchange(served, scope(method="GET")) for _ in range(50)]
        await asyncio.gather(*calls)

    asyncio.run(run())
    assert 1 <= len(names) <= 2


# --- What Django answers to what the door refuses --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("code", "status"), [("too_large", 413), ("too_slow", 408)])
def test_programs_get_a_problem_and_people_a_sentence(code: str, status: int) -> None:
    refused = {door.REFUSED: code}
    program = Client().post("/api/v1/auth/token/", **refused)
    assert (program.status_code, program.json()["code"], program.headers["Content-Type"]) == (status, code, "application/problem+json")
    person = Client(enforce_csrf_checks=True).post("/admin/login/", **refused)
    assert (person.status_code, person.headers["Content-Type"]) == (status, "text/plain")
    assert "X-Request-ID" in person.headers
