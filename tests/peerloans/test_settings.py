"""Does the system refuse to start half set up, and is its table of settings true?"""

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


def manage(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def documented() -> dict[str, str]:
    """The variables of the table in docs/operations.md, with their defaults."""
    table = (ROOT / "docs" / "operations.md").read_text().split("| --- | --- | --- |")[1].split("\n\n")[0]
    return {name: default.strip() for name, default in re.findall(r"^\| `(\w+)` \|(.*?)\| ", table, re.MULTILINE)}


def read_by_the_code() -> set[str]:
    """Whatever peerloans/ asks of the environment by name: env.kind("NAME"), required("NAME"), os.environ["NAME"]."""
    names = set()
    for path in (ROOT / "peerloans").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("env")), args=[ast.Constant(str(name)), *_]):
                    names.add(name)
                case ast.Call(func=ast.Name("required"), args=[ast.Constant(str(name)), *_]):
                    names.add(name)
                case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="environ"), attr="get"), args=[ast.Constant(str(name)), *_]):
                    names.add(name)
                case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(str(name))):
                    names.add(name)
    return names


def test_the_table_names_what_is_read() -> None:
    assert set(documented()) == read_by_the_code()


def test_what_the_table_calls_required_is_what_a_start_needs() -> None:
    required = {name for name, default in documented().items() if default == "required"}
    assert required == ENVIRONMENT.keys() - {"PATH"}


def test_a_deployment_by_the_table_passes_djangos_own_check() -> None:
    done = manage(ENVIRONMENT, "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, "") for name in sorted(ENVIRONMENT.keys() - {"PATH", "DATABASE_URL"})]
    + [
        ("SECRET_KEY", "only-for-debug"),
        ("SECRET_KEY", "changeme" * 8),
        ("BANK_WEBHOOK_SECRETS", "whsec_c2hvcnQ="),
        ("BANK_WEBHOOK_SECRETS", f"{BANK_SECRET},secret"),
    ],
)
def test_a_start_without_it_is_refused_by_name(name: str, value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import peerloans.settings"],
        cwd=ROOT,
        env=ENVIRONMENT | {name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert name in done.stderr.splitlines()[-1]
    assert not value or value not in done.stderr.splitlines()[-1]


# --- What browsers are told -------------------------------------------------------------------------------------------
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
def test_no_page_runs_what_stands_in_it(admin_client: Client, path: str) -> None:
    answer = admin_client.get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    page = answer.content.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style|\bstyle=|\bon\w+=\"|javascript:", page)


def test_a_proxy_tells_of_https_only_where_one_is_named(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    told = {"X-Forwarded-Proto": "https"}
    assert client.get("/api/schema/", headers=told).status_code == 301
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert client.get("/api/schema/", headers=told).status_code == 200
    assert client.get("/api/schema/").status_code == 301
