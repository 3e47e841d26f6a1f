"""Sending webhooks to a real server on this machine. Private networks are allowed only in the tests that need it."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from loans.models.fields import new_secret
from loans.notifications import webhooks
from peerloans import safe_http
from tests.loans.notifications.listener import Listener

SECRET = new_secret()
BODY = '{"type":"reservation.settled","name":"Zoë"}'


def send(url: str, **options: Any) -> None:
    webhooks.send(url=url, secrets=[SECRET], message_id="msg_1", body=BODY, **options)


def test_the_signature_passes_standard_webhooks_verification(listener: Listener) -> None:
    send(listener.url)
    ((headers, body),) = listener.got
    assert body == BODY
    assert headers["webhook-id"] == "msg_1"
    assert headers["content-type"] == "application/json"
    assert Webhook(SECRET).verify(body, headers)["name"] == "Zoë"
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_status_is_a_success(listener: Listener, status: int) -> None:
    listener.status = status
    send(listener.url)


@pytest.mark.parametrize("status", [300, 400, 404, 410, 429, 500, 503])
def test_any_other_status_is_a_failure(listener: Listener, status: int) -> None:
    listener.status = status
    with pytest.raises(safe_http.Failed, match=str(status)):
        send(listener.url)


def test_redirects_are_not_followed(listener: Listener) -> None:
    listener.status, listener.location = 307, listener.url
    with pytest.raises(safe_http.Failed, match="307"):
        send(listener.url)
    assert len(listener.got) == 1


@contextmanager
def answering(*chunks: bytes, at_most: int) -> Iterator[str]:
    """Serve the chunks again and again, whether they are HTTP or not, and yield the server's address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                try:
                    for _ in range(at_most):
                        for chunk in chunks:
                            connection.sendall(chunk)
                            stopped.wait(0.01)
                except OSError:
                    return

        stopped = threading.Event()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            stopped.set()
            thread.join()


@pytest.mark.usefixtures("private_networks")
def test_an_answer_that_comes_byte_by_byte_is_cut_off() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\nX-Drip: ", *[b"a"] * 1_000, at_most=1) as url,
        pytest.raises(safe_http.Failed, match=r"within 0\.2"),
    ):
        send(url, seconds=0.2)


@pytest.mark.usefixtures("private_networks")
def test_an_endless_body_is_not_read() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", *[b"a" * 1_000] * 1_000, at_most=1) as url:
        send(url)


@pytest.mark.usefixtures("private_networks")
@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 100, b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 200_000])
def test_an_answer_that_is_not_http_is_a_failure(answer: bytes) -> None:
    with answering(answer, at_most=1) as url, pytest.raises(safe_http.Failed):
        send(url)


@pytest.mark.usefixtures("private_networks")
def test_a_closed_port_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(safe_http.Failed):
        send(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "192.0.0.8",
        "192.0.0.170",
        "192.31.196.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "240.0.0.1",
        "255.255.255.255",
        "[64:ff9b:1::1]",
        "[100::1]",
        "[2001::1]",
        "[2001:2::1]",
        "[2001:10::1]",
        "[2001:20::1]",
        "[2001:db8::1]",
        "[2620:4f:8000::1]",
        "[3fff::1]",
        "[3fff:fff::1]",
        "[5f00::1]",
        "[2606:4700::5efe:a00:1]",
        "[2606:4700::200:5efe:7f00:1]",
    ],
)
def test_private_addresses_are_refused_in_every_form(host: str) -> None:
    with pytest.raises(safe_http.Refused, match="not a public address"):
        send(f"https://{host}/")


@pytest.mark.parametrize("address", ["8.8.8.8", "192.0.1.1", "192.88.98.1", "2001:4860:4860::8888", "2606:4700::1111", "2a00:1450:4001::1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert safe_http.addresses_of(address, 443, safe_http.is_public) == [address]


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Answer each look-up of a name with the next of `answers`, and return the list of names looked up. Numeric hosts are not changed."""
    names: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *others: Any, **named: Any) -> list[Any]:
        if re.fullmatch(r"[0-9.]+", host):
            return real(host, port, *others, **named)
        names.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers[len(names) - 1]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return names


def test_a_name_with_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(safe_http.Refused, match=r"example\.com is 10\.0\.0\.1"):
        send("https://example.com/")


def test_the_connection_goes_to_the_address_that_was_checked(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])
    send(f"http://partner.example:{listener.server_port}/hook?a=b")
    ((headers, _),) = listener.got
    assert headers["host"] == f"partner.example:{listener.server_port}"
    assert names == ["partner.example"]  # a second look-up could have had another answer


def test_the_next_address_is_tried_when_one_does_not_answer(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["127.0.0.2", "127.0.0.1"])
    send(f"http://partner.example:{listener.server_port}/")
    assert len(listener.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user:password@example.com/",
        "https://example.com:port/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://[::1/",
        "https://exa mple.com/",
        "https://example.com/\r\nX-Injected: yes",
        "https://bücher.example/",
    ],
)
def test_malformed_addresses_are_refused_without_a_look_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names = resolving(monkeypatch)
    with pytest.raises(safe_http.Refused):
        send(url)
    assert names == []
