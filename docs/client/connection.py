"""Connect to the API: log in, send requests again that were not decided, and turn refusals into exceptions."""

import time
from http import HTTPStatus
from typing import TypeVar
from uuid import uuid4

import httpx
from peerloans_client.api.auth import token_create
from peerloans_client.client import AuthenticatedClient, Client
from peerloans_client.models import Problem, Token, TokenCreate

KEY = "Idempotency-Key"
ATTEMPTS = 6
FIRST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.5, 30.0
# The ends of the paths whose POST makes a secret. It takes no key, so sent twice it would make two.
MAKE_SECRETS = ("/tokens/", "/webhook-endpoints/", "/rotate/")
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
GATEWAY = {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}

Answer = TypeVar("Answer")


class Refused(Exception):
    """The API refused a request. `problem.code` is the reason for a program, `problem.detail` for a person."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.detail} {problem.errors.to_dict()}" if problem.errors else problem.detail)
        self.problem = problem


def take(kind: type[Answer], answer: object) -> Answer:
    """Return the answer of a call as the kind that was hoped for.

    Raises:
        Refused: the API refused the request.
        TypeError: the answer is of another kind, which the API does not document.
    """
    if isinstance(answer, kind):
        return answer
    if isinstance(answer, Problem):
        raise Refused(answer)
    raise TypeError(f"The answer is no {kind.__name__}: {answer!r}")


class RetryingTransport(httpx.HTTPTransport):
    """Sends a request again that was not decided: the network failed, or the server asks to come back later.

    Each POST has an Idempotency-Key and keeps it, so that the server decides it once, however often it arrives.
    A request for a new secret is sent again only if the server cannot have carried it out. Else the error of httpx is raised.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST" and KEY not in request.headers:
            request.headers[KEY] = str(uuid4())
        makes_secret = request.method == "POST" and request.url.path.endswith(MAKE_SECRETS)
        for attempt in range(ATTEMPTS - 1):
            wait_seconds = min(FIRST_WAIT_SECONDS * 2**attempt, MOST_WAIT_SECONDS)
            try:
                response = super().handle_request(request)
            except httpx.TransportError as error:
                if makes_secret and not isinstance(error, NOT_SENT):
                    raise
                time.sleep(wait_seconds)
                continue
            is_unknown = response.status_code in GATEWAY
            if (makes_secret and is_unknown) or ("Retry-After" not in response.headers and not is_unknown):
                return response
            response.close()
            time.sleep(min(float(response.headers.get("Retry-After", wait_seconds)), MOST_WAIT_SECONDS))
        return super().handle_request(request)


def connect(address: str, token: str) -> AuthenticatedClient:
    """Return a client that calls the API at `address`, such as https://loans.example.org, with a token."""
    return AuthenticatedClient(base_url=address, token=token, httpx_args={"transport": RetryingTransport()})


def log_in(address: str, username: str, password: str) -> AuthenticatedClient:
    """Return a client with the token of a new log-in. Raises: Refused."""
    without_token = Client(base_url=address, httpx_args={"transport": RetryingTransport()})
    body = TokenCreate(username=username, password=password)
    return connect(address, take(Token, token_create.sync(client=without_token, body=body)).token)
