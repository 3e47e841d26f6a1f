"""The table of settings in docs/operations.md, the start without a required one, and the headers that browsers get."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.production import BANK_SECRET, ENVIRONMENT

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ZEROS = "whsec_" + "A" * 32


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def documented() -> dict[str, str]:
    """Return the variables of the table in docs/operations.md, with their defaults."""
    table = (ROOT / "docs" / "operations.md").read_text().split("| --- | --- | --- |")[1].split("\n\n")[0]
    return {name: default.strip() for name, default in re.findall(r"^\| `(\w+)` \|(.*?)\| ", table, re.MULTILINE)}


def read_by_the_code() -> set[str]:
    """Return the variables that peerloans/ reads: env.kind("NAME"), os.environ["NAME"]."""
    names = set()
    for path in (ROOT / "peerloans").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("env")), args=[ast.Constant(str(name)), *_]):
                    names.add(name)
                case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"), args=[ast.Constant(str(name)), *_]):
                    names.add(name)
                case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(str(name))):
                    names.add(name)
    return names


def test_the_table_lists_every_variable_that_the_code_reads() -> None:
    assert set(documented()) == read_by_the_code()


def test_the_variables_called_required_are_those_a_start_needs() -> None:
    required = {name for name, default in documented().items() if default == "required"}
    assert required == ENVIRONMENT.keys() - {"PATH"}


@pytest.mark.parametrize(("environment", "allowed"), [(ENVIRONMENT, "False"), ({"DEBUG": "1", "PATH": ENVIRONMENT["PATH"]}, "True")])
def test_webhooks_reach_private_networks_only_in_debug(environment: dict[str, str], allowed: str) -> None:
    program = "from peerloans import settings; print(settings.WEBHOOKS_ALLOW_PRIVATE_NETWORKS)"
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.stdout.strip() == allowed, process.stderr


def test_a_deployment_with_only_required_variables_passes_djangos_check() -> None:
    process = manage(ENVIRONMENT, "check", "--deploy", "--fail-level", "WARNING")
    assert process.returncode == 0, process.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, "") for name in sorted(ENVIRONMENT.keys() - {"PATH"})]
    + [
        ("SECRET_KEY", "only-for-debug"),
        ("SECRET_KEY", "changeme" * 8),
        ("SECRET_KEY_FALLBACKS", "changeme" * 8),
        ("ALLOWED_HOSTS", "*"),
        ("METRICS_TOKEN", "prometheus"),
        ("BANK_WEBHOOK_SECRETS", PUBLISHED),
        ("BANK_WEBHOOK_SECRETS", ZEROS),
        ("BANK_WEBHOOK_SECRETS", "whsec_c2hvcnQ="),
        ("BANK_WEBHOOK_SECRETS", f"{BANK_SECRET},secret"),
    ],
)
def test_a_start_without_a_required_variable_is_refused_and_names_it(name: str, value: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import peerloans.settings"],
        cwd=ROOT,
        env=ENVIRONMENT | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert name in process.stderr.splitlines()[-1]
    assert not value or value not in process.stderr.splitlines()[-1]


WRONG = [
    ("DATABASE_URL", "mysql://user@host/name"),
    ("DATABASE_URL", "postgresql://user:secret@host:port/name"),
    ("DATABASE_URL", "postgresql://user:secret@host"),
    ("DATABASE_REPLICA_URL", "host:5432"),
    ("REDIS_URL", "cache:6379"),
    ("REDIS_SENTINELS", "one:26379,two"),
    ("CELERY_BROKER_URL", "http://broker:5672"),
    ("EMAIL_URL", "mail.example.org:587"),
    ("EMAIL_URL", "smtp+tls://"),
    ("EMAIL_URL", "smtp+tls://user:secret@mail.example.org:port"),
    ("EMAIL_FROM", "peerloans"),
    ("CSRF_TRUSTED_ORIGINS", "loans.example.org"),
    ("DEBUG", "flase"),
    ("HTTPS", "flase"),
    ("PROXIES", "-1"),
    ("WEB_THREADS", "0"),
    ("DATABASE_STATEMENT_SECONDS", "30s"),
    ("DATABASE_POOLED_BY_TRANSACTION", "maybe"),
    ("THROTTLE", "abc"),
    ("THROTTLE_DOWNLOAD", "60 a minute"),
    ("THROTTLE_LOGIN", "60"),
    ("SESSION_IDLE_MINUTES", "an hour"),
    ("SESSION_HOURS", "0"),
    ("TOKEN_HOURS", "1.5"),
    ("SECOND_FACTOR_REQUIRED", "2"),
    ("WEBHOOKS_ALLOW_PRIVATE_NETWORKS", "nope"),
    ("APPROVAL_ABOVE_DOLLARS", "$10,000"),
    ("LOG_LEVEL", "LOUD"),
    ("PROMETHEUS_MULTIPROC_DIR", "/proc/metrics"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_value_that_is_wrong_is_named_and_not_quoted(name: str, value: str) -> None:
    process = manage(ENVIRONMENT | {name: value}, "check")
    assert process.returncode == 1
    assert process.stderr.startswith(f"{name} must be ")
    assert "secret" not in process.stderr


def test_all_that_is_wrong_is_named_at_once() -> None:
    wrong = {name: value for name, value in WRONG if name != "DEBUG"}
    process = manage(ENVIRONMENT | wrong, "check")
    named = [line.split(" must be ")[0] for line in process.stderr.splitlines()]  # a line for each, and no traceback
    assert sorted(named) == sorted(wrong)


def test_every_variable_with_a_form_is_tried_with_a_wrong_one() -> None:
    """All but texts, secrets, lists of names and what concerns one's own machine."""
    free = {"SECRET_KEY", "SECRET_KEY_FALLBACKS", "ALLOWED_HOSTS", "BANK_WEBHOOK_SECRETS", "METRICS_TOKEN", "PEERLOANS_VAR"}
    assert {name for name, _ in WRONG} == documented().keys() - free


def test_without_debug_no_server_is_started_and_no_folder_made(tmp_path: Path) -> None:
    missing = {name: value for name, value in ENVIRONMENT.items() if not name.endswith("_URL")}
    process = manage(missing | {"PEERLOANS_VAR": str(tmp_path / "var")}, "check")
    assert "Set DATABASE_URL in the environment" in process.stderr
    assert not (tmp_path / "var").exists()


def test_the_check_for_deployment_says_everything_that_is_wrong() -> None:
    wrong = {"SECRET_KEY": "k" * 60, "BANK_WEBHOOK_SECRETS": f"{ZEROS},{PUBLISHED}", "METRICS_TOKEN": "short", "ALLOWED_HOSTS": "*"}
    process = manage(ENVIRONMENT | wrong | {"EMAIL_URL": ""}, "check", "--deploy")
    assert process.returncode == 1
    assert [line.split()[0] for line in process.stderr.splitlines()] == [
        "SECRET_KEY",
        "ALLOWED_HOSTS",
        "Set",
        "BANK_WEBHOOK_SECRETS",
        "BANK_WEBHOOK_SECRETS",
        "METRICS_TOKEN",
    ]
    assert not any(value in process.stderr for value in (ZEROS, PUBLISHED, "k" * 60))


@pytest.mark.parametrize("lacking", [["DATABASE_URL"], ["DATABASE_URL", "SECRET_KEY"], sorted(ENVIRONMENT.keys() - {"PATH"})])
def test_debug_is_never_on_by_itself(lacking: list[str], tmp_path: Path) -> None:
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in lacking} | {"PEERLOANS_VAR": str(tmp_path)}
    process = manage(environment, "check")
    assert process.returncode == 1
    assert all(f"Set {name} in the environment" in process.stderr for name in lacking)


@pytest.mark.parametrize(
    ("mark", "more", "debug"),
    [
        (True, {}, "True"),
        (False, {}, None),
        (True, {"DEBUG": "0"}, None),
        (True, {"SECRET_KEY": ENVIRONMENT["SECRET_KEY"]}, None),
        (True, {"DATABASE_URL": ENVIRONMENT["DATABASE_URL"]}, None),
        (True, {name: value for name, value in ENVIRONMENT.items() if name != "PATH"}, "False"),
    ],
)
def test_commands_run_in_debug_beside_make_run_alone(tmp_path: Path, mark: bool, more: dict[str, str], debug: str | None) -> None:
    if mark:
        (tmp_path / "debug").touch()
    servers = {"REDIS_URL": ENVIRONMENT["REDIS_URL"], "CELERY_BROKER_URL": ENVIRONMENT["CELERY_BROKER_URL"]} if len(more) > 1 else {}
    environment = {"PATH": ENVIRONMENT["PATH"], "PEERLOANS_VAR": str(tmp_path), **servers, **more}
    code = "import runpy, sys, os; sys.argv = ['manage.py', 'diffsettings']; runpy.run_path('manage.py', run_name='__main__')"
    process = subprocess.run(
        [sys.executable, "-c", f"from peerloans.devserver import embedded; embedded._wanted = list; {code}"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    shown = re.search(r"^DEBUG = (\w+)", process.stdout, re.MULTILINE)
    assert (process.returncode, shown[1] if shown else None) == ((0, "True") if debug == "True" else (0, None) if debug else (1, None))


# --- Headers for browsers ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin/",
        "/admin/loans/loan/",
        "/admin/django_celery_beat/periodictask/add/",
        "/api/docs/",
        "/nothing",
    ],
)
def test_pages_hold_no_inline_code_and_the_policy_forbids_it(admin_client: Client, path: str) -> None:
    response = admin_client.get(path)
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page = response.content.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style|\bstyle=|\bon\w+=\"|javascript:", page)


def test_the_protocol_header_of_a_proxy_counts_only_where_a_proxy_is_configured(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    from_proxy = {"X-Forwarded-Proto": "https"}
    assert client.get("/api/schema/", headers=from_proxy).status_code == 301
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert client.get("/api/schema/", headers=from_proxy).status_code == 200
    assert client.get("/api/schema/").status_code == 301
