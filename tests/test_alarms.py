"""Each alarm of docs/operations.md stands in deploy/prometheus/rules.yml, rings for a series that should ring it, and for no other."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client

from loans.models import ReviewItem
from peerloans.monitoring import metrics

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "deploy/prometheus/rules.yml"
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in yaml.safe_load(FILE.read_text())["groups"][0]["rules"]}
PROMTOOL, AMTOOL = shutil.which("promtool") or "", shutil.which("amtool") or ""
MINUTES = 130
ONE, ZERO = f"1x{MINUTES}", f"0x{MINUTES}"
FAILS_ONCE = f"0x{MINUTES - 10} 1x10"
BEGINS_AT_ONE = f"_x{MINUTES - 3} 1x3"

# Alarm, series, values that ring it, values that do not; Prometheus writes 1x9 for ten times 1, and _ for none.
CASES: dict[str, tuple[str, str, str]] = {
    "WebServerDown": ('up{instance="localhost:8000", job="peerloans"}', ZERO, ONE),
    "DatabaseDown": ('peerloans_up{part="database"}', ZERO, ONE),
    "MigrationsMissing": ('peerloans_up{part="migrations"}', ZERO, ONE),
    "UnmatchedMoney": ("peerloans_unmatched_dollars", f"0.01x{MINUTES}", f"0x{MINUTES - 30} 500x30"),
    "Breach": ('peerloans_review_items_open{kind="breach"}', ONE, ZERO),
    "HistoryRestored": ('peerloans_up{part="history"}', ZERO, ONE),
    "Drift": ('peerloans_review_items_open{kind="drift"}', ONE, ZERO),
    "ReviewItemOld": ('peerloans_review_item_age_seconds{kind="late_money"}', f"86401x{MINUTES}", f"86399x{MINUTES}"),
    "LoanJobFailed": ('peerloans_review_items_open{kind="job_failed"}', ONE, ZERO),
    "WorkersDown": ('peerloans_up{part="workers"}', ZERO, f"1x{MINUTES - 4} 0x4"),
    "BeatLate": ("peerloans_beat_late_seconds", f"181x{MINUTES}", f"179x{MINUTES}"),
    "BrokerDown": ('peerloans_up{part="broker"}', ZERO, f"1x{MINUTES - 1} 0x1"),
    "JobLate": ('peerloans_job_lag_seconds{task="loans.tasks.settle"}', f"601x{MINUTES}", f"599x{MINUTES}"),
    "JobFailed": ('peerloans_job_runs_total{state="failure", task="loans.tasks.settle"}', FAILS_ONCE, f"7x{MINUTES}"),
    "EmailsWait": ('peerloans_outbox_age_seconds{channel="email"}', f"901x{MINUTES}", f"899x{MINUTES}"),
    "HistoryUnread": ("peerloans_outbox_unread_seconds", f"301x{MINUTES}", f"299x{MINUTES}"),
    "RedisDown": ('peerloans_up{part="redis"}', ZERO, f"1x{MINUTES - 4} 0x4"),
    "LoanLocked": ("peerloans_loan_lock_age_seconds", f"61x{MINUTES}", f"59x{MINUTES}"),
    "IdleInTransaction": ('peerloans_database_connections{state="idle in transaction"}', ONE, ZERO),
    "SessionsHidden": ('peerloans_database_connections{state="unknown"}', ONE, ZERO),
    "ConnectionsMany": ('peerloans_database_connections{instance="web1", state="idle"}', f"81x{MINUTES}", f"79x{MINUTES}"),
    "WalArchiveFailing": ("peerloans_wal_archive_failing", ONE, ZERO),
    "BackupFailed": ('node_systemd_unit_state{name="peerloans-backup.service", state="failed"}', ONE, ZERO),
    "DiskFills": ('node_filesystem_avail_bytes{mountpoint="/"}', f"9x{MINUTES}", f"10x{MINUTES}"),
    "ServerErrors": ('peerloans_requests_total{status="500", view="page"}', BEGINS_AT_ONE, f"3x{MINUTES}"),
    "NotScraped": ('peerloans_up{part="database"}', f"_x{MINUTES}", ONE),
}
# What an alarm compares its series with.
BESIDE = {"DiskFills": ('node_filesystem_size_bytes{mountpoint="/"}', f"100x{MINUTES}")}
# Alarms that are about no series.
WITHOUT_LABELS = {"ConnectionsMany", "NotScraped"}


def documented() -> dict[str, tuple[str, str]]:
    """Return the alarms of the docs' table with their expression and how long it must hold."""
    rows = re.findall(r"^\| (\w+) \| `(.+)`(?: for (\w+))? \| .+ \| .+ \|$", (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    return {name: (expression, holds or "0m") for name, expression, holds in rows if name[0].isupper()}


def test_the_docs_have_the_alarms_of_the_file() -> None:
    assert documented() == {name: (rule["expr"], rule["for"]) for name, rule in RULES.items()}
    assert CASES.keys() == RULES.keys()


def test_every_series_that_an_alarm_reads_is_exposed(db: None, client: Client) -> None:
    client.get("/nothing")  # so that one request is counted
    text = metrics.exposition().decode()
    for name, rule in RULES.items():
        for series in re.findall(r"peerloans_\w+", rule["expr"]):
            assert f"\n{series}" in text, name
        for kind in re.findall(r'kind="(\w+)"', rule["expr"]):
            assert kind in ReviewItem.KINDS
        for part in re.findall(r'part="(\w+)"', rule["expr"]):
            assert f'peerloans_up{{part="{part}"}}' in text


def test_prometheus_asks_each_web_server_and_reads_the_rules() -> None:
    configuration = yaml.safe_load((FILE.parent / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in configuration["scrape_configs"]}
    ports = re.findall(r"peerloans-web@(\d+)", (ROOT / "deploy/debian/peerloans.target").read_text())
    assert targets["peerloans"] == [f"localhost:{port}" for port in ports]
    assert configuration["rule_files"] == [FILE.name]
    assert targets.keys() == {"peerloans", "node"}  # the jobs and exporters that alarms read


def test_alarms_of_each_severity_reach_somebody() -> None:
    configuration = yaml.safe_load((FILE.parent / "alertmanager.yml").read_text())
    receivers = {receiver["name"] for receiver in configuration["receivers"] if receiver["email_configs"]}
    routed = {matcher: route["receiver"] for route in configuration["route"]["routes"] for matcher in route["matchers"]}
    assert routed == {'severity="page"': "page"}
    assert {"page", configuration["route"]["receiver"]} == receivers
    assert {rule["labels"]["severity"] for rule in RULES.values()} == {"page", "ticket"}


@pytest.mark.skipif(not (PROMTOOL and AMTOOL), reason="Debian's prometheus and prometheus-alertmanager are not installed")
def test_prometheus_and_alertmanager_accept_their_settings(tmp_path: Path) -> None:
    for file in ("prometheus.yml", "alertmanager.yml", "rules.yml"):
        (tmp_path / file).write_text((FILE.parent / file).read_text())
    (tmp_path / "peerloans.token").touch()
    for command in ([PROMTOOL, "check", "config", "prometheus.yml"], [AMTOOL, "check-config", "alertmanager.yml"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not PROMTOOL, reason="promtool (Debian's prometheus) is not installed")
def test_each_alarm_rings_when_it_should_and_only_then(tmp_path: Path) -> None:
    tests = []
    for name, (series, ringing, quiet) in CASES.items():
        rule = RULES[name]
        labels = {} if name in WITHOUT_LABELS else dict(re.findall(r'(\w+)="([^"]*)"', series))
        rings = [{"exp_labels": labels | rule["labels"], "exp_annotations": rule["annotations"]}]
        for values, alerts in ((ringing, rings), (quiet, [])):
            expected = {"eval_time": f"{MINUTES - 1}m", "alertname": name, "exp_alerts": alerts}
            read = [(series, values), *([BESIDE[name]] if name in BESIDE else [])]
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [{"series": series, "values": values} for series, values in read],
                    "alert_rule_test": [expected],
                }
            )
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
