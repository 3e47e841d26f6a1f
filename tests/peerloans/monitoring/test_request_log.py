"""Requests that were acknowledged are found in any log that holds the web servers' lines."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from peerloans.monitoring.request_log import acknowledged_requests

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def line(seconds: int = 1, **fields: Any) -> str:
    at = (NOON + timedelta(seconds=seconds)).isoformat()
    return json.dumps({"at": at, "message": "…", "method": "POST", "path": "/api/v1/loans/PL-1/reservations/", "status": 201} | fields)


def test_only_changes_that_were_answered_with_success_after_the_instant_are_acknowledged() -> None:
    lines = [
        line(user=7),
        line(status=302, path="/admin/loans/loan/"),
        line(seconds=0),
        line(method="GET", status=200),
        line(status=409),
        line(status=503),
    ]
    found = list(acknowledged_requests(lines, NOON))
    assert [(request.path, request.user) for request in found] == [("/api/v1/loans/PL-1/reservations/", 7), ("/admin/loans/loan/", None)]


def test_other_lines_are_passed_over() -> None:
    lines = [
        "",
        "Traceback",
        "{",
        "[1]",
        '{"at": "noon"}',
        json.dumps({"at": NOON.isoformat(), "message": "a job"}),
        f"web-1  | {line()}\n",
    ]
    assert len(list(acknowledged_requests(lines, NOON))) == 1
