"""Write one line of JSON for each log record, with the id of the request that led to it and without secrets.

A request's id comes from the proxy in front of us, or is made here. It is sent back with the response, and goes with each task
that the request sends, and with the tasks that these send. In debug the log is plain text.
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
META_KEY = "HTTP_X_REQUEST_ID"  # The same header in request.META; request.headers would first read all other headers.
FIELDS = ("method", "path", "status", "milliseconds", "user")

request_id: ContextVar[str] = ContextVar("request_id", default="")
logger = logging.getLogger(__name__)

# Our lines do not show these, so logging need not look them up for each record.
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

_VALID_ID = re.compile(r"[\w-]{8,64}")
# The last safeguard, for messages of libraries and of the database: passwords in URLs, tokens, signing secrets, e-mail
# addresses, and PostgreSQL's DETAIL, which quotes the row.
_SECRET = re.compile(
    r"(?<=://)[^\s/@]*:[^\s/@]*(?=@)|(?<=Bearer )\S+|whsec_[\w+/=-]+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<=DETAIL:  ).*", re.IGNORECASE
)

# What Celery writes before each run of a job, and a job's own line (`loans/tasks.py`) where every count in it is 0.
_OF_EACH_RUN = ("Scheduler: Sending due task ", "Task %(name)s[%(id)s] received")
_COUNTS_NOTHING = re.compile(r"\D*\b0\b[^1-9]*")


def without_secrets(text: str) -> str:
    """Return the text with everything that looks like a secret or an e-mail address replaced."""
    return _SECRET.sub("[…]", text)


class JSONFormatter(logging.Formatter):
    """Format each record as one line of JSON."""

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


class QuietJobs(logging.Filter):
    """Lower to DEBUG the lines of Celery that say nothing new: a job was sent, was received, or had nothing to do.

    Jobs run as often as every two seconds. The metrics count every run. A run that did something or failed keeps its line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno == logging.INFO and _says_nothing_new(record):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return logging.getLogger(record.name).isEnabledFor(record.levelno)


def _says_nothing_new(record: logging.LogRecord) -> bool:
    if isinstance(record.args, dict) and "return_value" in record.args:
        return bool(_COUNTS_NOTHING.fullmatch(record.args["return_value"]))
    return str(record.msg).startswith(_OF_EACH_RUN)


class RequestLogMiddleware:
    """Give each request its id, and log a line when it is answered. The query string is not logged.

    The lines of public responses, which caches may keep, are at level DEBUG; the metrics count these requests too.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        proxy_id = request.META.get(META_KEY, "")
        own_id = proxy_id if _VALID_ID.fullmatch(proxy_id) else f"{random.getrandbits(128):032x}"
        previous, started_at = request_id.set(own_id), time.monotonic()
        try:
            response = self.get_response(request)
            response.headers[HEADER] = own_id
            # Writing a line takes a fifth of the time of a ZIP's response.
            level = logging.DEBUG if response.headers.get("Cache-Control", "").startswith("public") else logging.INFO
            if logger.isEnabledFor(level):
                _log_response(level, request, response, time.monotonic() - started_at)
            return response
        finally:
            request_id.reset(previous)


def _log_response(level: int, request: HttpRequest, response: HttpResponse, seconds: float) -> None:
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
def _add_request_id(headers: dict[str, Any], **_: Any) -> None:
    headers.setdefault("request_id", request_id.get())


def _set_request_id(task_id: str, task: Any, **_: Any) -> None:
    request_id.set(task.request.get("request_id") or task_id)


def _clear_request_id(**_: Any) -> None:
    request_id.set("")


def _keep_django_logging(**_: Any) -> None:
    """Do nothing: Celery sets up logging of its own only where this signal has no receiver, and Django has set it up already."""


signals.before_task_publish.connect(_add_request_id)
signals.task_prerun.connect(_set_request_id)
signals.task_postrun.connect(_clear_request_id)
if not settings.DEBUG:
    signals.setup_logging.connect(_keep_django_logging)
