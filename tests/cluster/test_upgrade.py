"""Upgrade from the release before and go back to it, while callers reserve and pay: no request and no task is lost.

`FROM=v1.0.0 make test-upgrade` names the release; without a name it is the newest tag. The packages are those of this checkout.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.servers import MISSING, ROOT, Cluster, cluster, wait_for
from tests.cluster.test_cluster import VERDICT, Site, ask_again_if_refused

CALLERS = 6
PROGRAMS = ("web1", "web2", "worker1", "worker2", "beat1", "beat2")


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


FROM = os.environ.get("FROM") or git("describe", "--tags", "--abbrev=0")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.skipif(not FROM, reason="there is no release before; name a commit: FROM=… make test-upgrade"),
]


@pytest.fixture
def release_before(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "release"
    git("worktree", "add", "--detach", str(folder), FROM)
    yield folder
    git("worktree", "remove", "--force", str(folder))


@pytest.fixture
def servers(tmp_path_factory: pytest.TempPathFactory, release_before: Path) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("upgrade"), release_before) as servers:
        yield servers


def use(servers: Cluster, release: Path) -> None:
    """Start each program anew with the release, one after the other."""
    servers.code = release
    for name in PROGRAMS:
        servers.kill(name, signal.SIGTERM)
        if name.startswith("web"):
            servers.start_web(name)
        elif name.startswith("worker"):
            servers.start_celery(name, "worker", "--concurrency", "2")
        else:
            servers.start_celery(name, "beat", "--pidfile=", "--max-interval", "1")


def test_an_upgrade_and_the_way_back_lose_nothing(servers: Cluster, release_before: Path) -> None:
    site, over = Site(servers), threading.Event()
    ask_again_if_refused(site)
    acknowledged: list[str] = []
    refused: list[Any] = []

    def keep_buying(number: int) -> None:
        while not over.is_set():
            answer = site.reserve(f"LN-{1 + number % 5}", 1_000, by=number)
            if answer.status != 201:
                refused.append(answer)
                continue
            acknowledged.append(answer.body["id"])
            site.pay(answer.body["id"], "1000.00", by=number)

    with ThreadPoolExecutor(CALLERS) as crowd:
        callers = [crowd.submit(keep_buying, number) for number in range(CALLERS)]
        try:
            wait_for("the first reservations", lambda: len(acknowledged) > CALLERS)
            for release in (ROOT, release_before):
                if release == ROOT:
                    servers.code = ROOT
                    servers.manage("migrate", "-v", "0")
                bought = len(acknowledged)
                use(servers, release)
                wait_for("more reservations", lambda bought=bought: len(acknowledged) > bought + CALLERS or len(refused) > CALLERS)
        finally:
            over.set()
    for caller in callers:
        caller.result()
    # A loan that is full refuses; nothing else does.
    assert {(answer.status, answer.body["code"]) for answer in refused} <= {
        (409, "over_limit"),
        (409, "loan_not_open"),
        (400, "below_minimum"),
    }
    states = "from loans.models import Reservation as R; import json; print(json.dumps([[str(r.pk), r.state] for r in R.objects.all()]))"

    def are_settled() -> bool:
        stored: dict[str, str] = dict(json.loads(servers.shell(states)))
        assert set(acknowledged) <= stored.keys()
        return {stored[each] for each in acknowledged} <= {"settled", "canceled"}

    wait_for("every payment as settled or refunded", are_settled)
    assert json.loads(servers.shell(VERDICT)) == []
    servers.manage("verify_history")
