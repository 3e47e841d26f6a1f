"""What does a line of the log hold? JSON outside of debug, with the id of the request that led to it, and no secret.

A request's id comes from the proxy in front or is made here, is told in the answer, and goes with each task that the
request sends, and with those that they send.
"""

import logging
import random
import re
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
from celery import signals
from django.conf import settings
from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"
GIVEN = "HTTP_X_REQUEST_ID"  # the same as it comes in; request.headers would first read all others
FIELDS = ("method", "path", "status", "milliseconds", "user")

request_id: ContextVar[str] = ContextVar("request_id", default="")
logger = logging.getLogger(__name__)

# What no line of ours shows, logging need not look up for each.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

_ID = re.compile(r"[\w-]{8,64}")
# The last net, for messages of libraries and of the database: passwords in addresses, tokens, signing secrets, e-mail
# addresses, and PostgreSQL's detail, which quotes the row.
_SECRET = re.compile(
    r"(?<=://)[^\s/@]*:[^\s/@]*(?=@)|(?<=Bearer )\S+|whsec_[\w+/=-]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<=DETAIL:  ).*", re.IGNORECASE
)


def without_secrets(text: str) -> str:
    return _SECRET.sub("[…]", text)


class JSONFormatter(logging.Formatter):
    """One line of JSON for each record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = without_secrets("".join(traceback.format_exception(*record.exc_info)))
        return orjson.dumps(line, default=str).decode()


class NamedRequests:
    """Middleware: gives each request its id, and a line when it is answered. What stands after the `?` is not logged.

    Answers that everybody gets alike, as caches may keep them, have their line at DEBUG; the figures count them all.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get(GIVEN, "")
        name = given if _ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        before, began = request_id.set(name), time.monotonic()
        try:
            response = self.get_response(request)
            response.headers[HEADER] = name
            # A line takes a fifth of the time of a ZIP's answer.
            level = logging.DEBUG if response.headers.get("Cache-Control", "").startswith("public") else logging.INFO
            if logger.isEnabledFor(level):
                _tell(level, request, response, time.monotonic() - began)
            return response
        finally:
            request_id.reset(before)


def _tell(level: int, request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    fields = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "milliseconds": round(1000 * seconds, 1),
    }
    user = getattr(request, "user", None)
    if user and user.pk:
        fields["user"] = user.pk
    logger.log(level, "%s %s: %s", request.method, request.path, response.status_code, extra=fields)


# --- Celery -----------------------------------------------------------------------------------------------------------
def _send_along(headers: dict[str, Any], **_: Any) -> None:
    headers.setdefault("request_id", request_id.get())


def _take_over(task_id: str, task: Any, **_: Any) -> None:
    request_id.set(task.request.get("request_id") or task_id)


def _let_go(**_: Any) -> None:
    request_id.set("")


def _as_everywhere(**_: Any) -> None:
    """Celery leaves the log alone where somebody answers its signal; Django has set it up by then."""


signals.before_task_publish.connect(_send_along)
signals.task_prerun.connect(_take_over)
signals.task_postrun.connect(_let_go)
if not settings.DEBUG:
    signals.setup_logging.connect(_as_everywhere)
