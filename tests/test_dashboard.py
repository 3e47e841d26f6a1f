"""Each query of deploy/grafana/peerloans.json finds what the system exposes, asked of a real Prometheus that scrapes it."""

import contextlib
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from peerloans.monitoring import metrics

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = json.loads((ROOT / "deploy/grafana/peerloans.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
PROMETHEUS = shutil.which("prometheus") or ""
# Queries that find nothing while nothing is wrong.
OF_TROUBLE = {"max by (kind) (peerloans_review_items_open) > 0"}


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    cells = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not own & cells, panel["title"]
        assert max(x for x, _ in own) < 24
        cells |= own
    assert all(panel["description"] for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_series_of_the_dashboard_is_exposed_and_none_is_left_out(db: None, client: Client) -> None:
    client.get("/nothing")  # so that one request is counted
    exposed = set(re.findall(r"^# HELP (peerloans_\w+?)(?:_created)? ", metrics.exposition().decode(), re.MULTILINE))
    shown = {name.removesuffix("_bucket") for query in QUERIES for name in re.findall(r"peerloans_\w+", query)}
    assert exposed - shown == {"peerloans_requests", "peerloans_beat_late_seconds"}  # the job's lag shows the same
    assert shown <= exposed


@pytest.fixture
def prometheus(client: Client, db: None, tmp_path: Path) -> Iterator[HTTPConnection]:
    """A Prometheus that has scraped the metrics a few times, while requests were answered and refused."""

    class Metrics(http.server.BaseHTTPRequestHandler):
        text = b""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(self.text)

        def log_message(self, *arguments: Any) -> None:
            """Log nothing."""

    target = http.server.HTTPServer(("127.0.0.1", 0), Metrics)
    threading.Thread(target=target.serve_forever, daemon=True).start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "scrape_configs": [{"job_name": "peerloans", "static_configs": [{"targets": [f"127.0.0.1:{target.server_port}"]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
    command = [PROMETHEUS, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data"]
    with subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]) as process:
        try:
            with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=30)) as api:
                deadline = time.monotonic() + 60
                while not ask(api, "count_over_time(peerloans_requests_total[30s]) > 3") and time.monotonic() < deadline:
                    client.get("/nothing")
                    Metrics.text = metrics.exposition()
                    time.sleep(1)
                yield api
        finally:
            process.kill()
            target.shutdown()
            target.server_close()


def ask(api: HTTPConnection, query: str) -> list[Any]:
    """Return the series that the query finds; none while Prometheus does not answer."""
    try:
        api.request("GET", f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        answer = json.loads(api.getresponse().read())
    except (OSError, ValueError):
        api.close()
        return []
    assert answer["status"] == "success", (query, answer)
    result: list[Any] = answer["data"]["result"]
    return result


@pytest.mark.skipif(not PROMETHEUS, reason="Debian's prometheus is not installed")
def test_every_query_finds_something(prometheus: HTTPConnection) -> None:
    for query in QUERIES:
        assert ask(prometheus, query.replace("$__rate_interval", "30s")) or query in OF_TROUBLE, query
