"""Read the log that the web servers have written: one JSON document a line (peerloans/monitoring/logging.py)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import orjson

READING = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True)
class AcknowledgedRequest:
    """A request to change something that was answered with success. `user` is the primary key, None for strangers and the bank."""

    at: datetime
    method: str
    path: str
    status: int
    user: int | None


def acknowledged_requests(lines: Iterable[str], after: datetime) -> Iterator[AcknowledgedRequest]:
    """Yield the requests of these lines that were answered after that instant. Lines of another kind are passed over.

    What stands before the document, such as the name that a container's log puts there, does not matter.
    """
    for line in lines:
        try:
            record = orjson.loads(line[line.index("{") :])
            request = AcknowledgedRequest(
                datetime.fromisoformat(record["at"]), record["method"], record["path"], int(record["status"]), record.get("user")
            )
        except (ValueError, KeyError, TypeError):
            continue
        if request.method not in READING and request.status < 400 and request.at > after:
            yield request
