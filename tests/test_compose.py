"""Check that compose.yaml and the Dockerfile set what there is to set, and start things in order."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from celery.bin.celery import celery
from django.core.management import get_commands
from granian.cli import cli as granian

from peerloans import settings
from peerloans.devserver import run
from tests.peerloans.test_settings import documented

ROOT = Path(__file__).resolve().parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "peerloans"}


def test_each_setting_is_one_of_the_table_and_none_that_is_required_is_missing() -> None:
    table = documented()
    required = {name for name, default in table.items() if default == "required"}
    for service in OURS.values():
        assert required <= service["environment"].keys() <= table.keys()
    in_image = set(re.findall(r'"(\w+)=[^"]*", ', (ROOT / "Dockerfile").read_text()))
    assert in_image == {"DATABASE_STATEMENT_SECONDS", "PROMETHEUS_MULTIPROC_DIR"} <= table.keys()


def test_no_secret_has_a_default() -> None:
    for secret in ("SECRET_KEY", "BANK_WEBHOOK_SECRETS", "POSTGRES_PASSWORD", "RABBITMQ_PASSWORD"):
        uses = re.findall(rf"\${{{secret}([^}}]*)}}", (ROOT / "compose.yaml").read_text())
        assert set(uses) == {":?"}


def test_everything_waits_for_what_it_needs_and_the_schema_changes_once() -> None:
    assert set(OURS) == {"migrate", "web", "worker", "deliveries", "beat"}
    for name, service in OURS.items():
        for other, waits in service["depends_on"].items():
            assert "healthcheck" in COMPOSE["services"][other]
            assert waits["condition"] == ("service_completed_successfully" if other == "migrate" else "service_healthy")
        assert ("migrate" in service["depends_on"]) == (name != "migrate")
    assert all("mem_limit" in service for service in COMPOSE["services"].values())
    assert {volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", [])} == set(
        COMPOSE["volumes"]
    )


def test_the_operator_is_told_of_each_value_that_compose_asks_for() -> None:
    asked = set(re.findall(r"\${(\w+)", (ROOT / "compose.yaml").read_text()))
    (template,) = re.findall(
        r"^### In containers\n.*?```ini\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert asked - set(re.findall(r"^(\w+)=", template, re.MULTILINE)) == {"HTTPS", "PROXIES"}  # these have good defaults
    assert set(re.findall(r"^(\w+)=", template, re.MULTILINE)) <= asked


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]}


def test_every_command_is_there_with_its_options() -> None:
    (in_image,) = re.findall(r"^CMD (.*)", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), re.MULTILINE)
    for service in OURS.values():
        program, *words = service.get("command") or [word for word in json.loads(in_image) if "=" not in word][1:]
        assert (Path(sys.executable).parent / program).exists()
        given = {word.split("=")[0] for word in words if word[0] == "-"}
        match program:
            case "python":
                assert (ROOT / words[0]).exists()
                assert words[1] in get_commands()
            case "celery":
                name = next(word for word in words if word in ("worker", "beat"))
                assert given <= options(celery) | options(celery.commands[name])
                assert import_module(words[words.index("-A") + 1]).app.main
            case "granian":
                assert given <= options(granian)
                module, application = next(word for word in words if ":" in word).split(":")
                assert callable(getattr(import_module(module), application))
                assert (ROOT / words[words.index("--log-config") + 1]).exists()
            case _:
                pytest.fail(f"{program} is not a program of ours")


def test_the_programs_run_as_on_a_machine_of_ones_own() -> None:
    (command,) = re.findall(r"^CMD (.*)", (ROOT / "Dockerfile").read_text().replace("\\\n", ""), re.MULTILINE)
    assert set(run.web(8000).split()) - set(json.loads(command)) == {"127.0.0.1"}
    for ours, theirs in ((run.WORKER, "worker"), (run.BEAT, "beat")):
        assert set(ours.split()) - set(OURS[theirs]["command"]) == {"--loglevel", "WARNING"}
    # On one's own machine one worker serves both queues.
    served = [OURS[name]["command"][OURS[name]["command"].index("-Q") + 1] for name in ("worker", "deliveries")]
    assert served == [settings.JOBS_QUEUE, settings.DELIVERIES_QUEUE]


def test_the_web_servers_own_lines_are_json_too() -> None:
    code = """
import json, logging
from granian.log import LogLevels, configure_logging
configure_logging(LogLevels.warning, json.load(open("peerloans/granian.json")))
logging.getLogger("_granian").warning('Lost "it"')
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"DEBUG": "1"}, capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["message"] == 'Lost "it"'
