"""docs/operations.md names only commands, options, units, paths, roles, programs and targets that are there."""

import fnmatch
import re
from pathlib import Path

import pytest
import yaml
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

ROOT = Path(__file__).resolve().parent.parent
DEBIAN = ROOT / "deploy/debian"
PAGE = (ROOT / "docs/operations.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
# What an operator types, as root (#) or as another user ($), without the comment after it.
TYPED = [
    re.sub(r"\s{3,}# .*", "", match[1])
    for block in BLOCKS
    for match in re.finditer(r"^ *[#$] (.*)$", block.replace("\\\n", ""), re.MULTILINE)
]
UNITS = {file.name for file in DEBIAN.glob("peerloans*") if file.suffix in (".service", ".timer", ".target")}
WANTED = re.findall(r"peerloans-\S+\.service", (DEBIAN / "peerloans.target").read_text())
TIMERS = {unit for unit in UNITS if unit.endswith(".timer")}

# Programs that a bare Debian lacks, and the package that brings each.
PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "certbot": "certbot",
    "createdb": "postgresql",
    "createuser": "postgresql",
    "curl": "curl",
    "dropuser": "postgresql",
    "git": "git",
    "nginx": "nginx",
    "pg_restore": "postgresql",
    "pgbackrest": "pgbackrest",
    "promtool": "prometheus",
    "psql": "postgresql",
    "rabbitmqctl": "rabbitmq-server",
    "ufw": "ufw",
}
OF_DEBIAN = {"apt", "cat", "cp", "echo", "editor", "grep", "install", "journalctl", "ln", "mv", "printf", "rm", "sed", "systemctl"}
OF_DEBIAN |= {"mkdir", "systemd-ask-password", "touch", "useradd"}
ELSEWHERE = {
    "docker",
    "pg_archivecleanup",
    "pg_basebackup",
    "pg_ctl",
    "pg_verifybackup",
    "python",
}  # on machines that the page does not set up


def programs() -> set[str]:
    """Return each program that the page lets the operator run."""
    found = set()
    for line in TYPED:
        for part in re.split(r" && | \| ", re.sub(r"\"(?:\\.|[^\"])*\"|'[^']*'", "…", line)):
            words = [word for word in part.split() if not re.match(r"[A-Z]+=", word)]
            if words[:1] == ["runuser"]:
                words = words[words.index("--") + 1 :]
            if words and words[0] != "cd":
                found.add(words[0])
    return found


def test_every_program_is_a_script_of_ours_or_installed_before() -> None:
    scripts = {file.name for file in DEBIAN.iterdir() if "." not in file.name}
    assert programs() == scripts | PACKAGES.keys() | OF_DEBIAN | ELSEWHERE
    installed = {package for line in TYPED if line.startswith("apt install ") for package in line.split()[2:]}
    assert set(PACKAGES.values()) <= installed


def command_of(name: str) -> BaseCommand:
    app = get_commands()[name]
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)


def test_every_command_of_ours_has_the_options_that_the_page_gives_it() -> None:
    used = [match.groups() for line in TYPED for match in re.finditer(r"(?:manage-peerloans|manage\.py) (\w+)([^|<`]*)", line)]
    assert len(used) > 10
    for name, words in used:
        known = command_of(name).create_parser("manage.py", name)._option_string_actions
        assert set(re.findall(r"(?<!\S)--[a-z][\w-]*", words)) <= known.keys(), name
    named = set(re.findall(r"(?:manage-peerloans|manage\.py) (\w+)", PAGE)) - {"does"}
    assert named <= get_commands().keys()


def units_of(line: str) -> list[str]:
    """Return the units of ours that a systemctl or journalctl names, with their kind."""
    names = re.findall(r"(?<![\w/])(peerloans(?:[-.@][\w@*.-]*)?)(?![\w/@])", line.replace("'", ""))
    return [name if re.search(r"\.(service|timer|target)$", name) or name.endswith("*") else f"{name}.service" for name in names]


def test_every_unit_is_there() -> None:
    lines = [line for line in re.findall(r"(?:systemctl|journalctl -u) [^`\n]*", PAGE) if "edit" not in line]
    named = {unit for line in lines for part in line.split(" && ") for unit in units_of(part.split(" | ")[0].split("   #")[0])}
    assert len(named) > 8
    for unit in named:
        of_template = re.sub(r"@[^.]*", "@", unit)
        assert of_template in UNITS or any(fnmatch.fnmatch(name, unit) for name in [*UNITS, *WANTED]), unit


@pytest.mark.parametrize("line", [line for line in TYPED if line.startswith("systemctl stop peer")])
def test_a_stop_waits_for_every_service_and_leaves_the_timers(line: str) -> None:
    # The target's own stop is over before its services have stopped, and a timer that is stopped stays so until the machine starts anew.
    patterns = units_of(line)
    assert not [timer for timer in TIMERS for pattern in patterns if fnmatch.fnmatch(timer, pattern)]
    assert [service for service in WANTED if not any(fnmatch.fnmatch(service, pattern) for pattern in patterns)] == []


def test_no_password_is_shown_or_stands_in_the_list_of_processes() -> None:
    # Without a pipe rabbitmqctl shows what is typed, and a password that is an argument can be read by every user.
    added = re.findall(r"([^\n`]*)rabbitmqctl (?:add_user|change_password) \w+([^\n`]*)", PAGE)
    assert added
    assert all(re.search(r"systemd-ask-password \\?\| $", before) and not after for before, after in added)
    created = [line for line in TYPED if "createuser " in line]
    assert created
    assert all("--pwprompt" in line for line in created)


def test_no_line_stops_postgresql_by_the_service_that_does_not_wait_for_it() -> None:
    assert not re.findall(r"systemctl stop [^`\n]*postgresql(?![@\w])", PAGE)
    texts = [PAGE, *(file.read_text() for file in DEBIAN.iterdir())]
    assert {version for text in texts for version in re.findall(r"postgresql[@/](\d+)[-/]main", text)} == {"15"}


def test_every_path_of_the_code_is_there() -> None:
    texts = [PAGE, *(file.read_text() for file in DEBIAN.iterdir())]
    paths = {path for text in texts for path in re.findall(r"/opt/peerloans/(?:current|source)/([\w./*-]+)", text) if path[0] != "."}
    assert len(paths) > 6
    assert [path for path in sorted(paths) if not list(ROOT.glob(path))] == []


def test_every_file_of_deploy_is_named() -> None:
    files = {file for folder in ("debian", "prometheus", "grafana") for file in (ROOT / "deploy" / folder).iterdir()}
    by_pattern = UNITS | {file.name for file in DEBIAN.glob("*-release")}  # use-release brings these, the first install those
    assert [file.name for file in files if file.name not in by_pattern and f"{file.parent.name}/{file.name}" not in PAGE] == []
    assert "deploy/debian/*-release" in PAGE


def test_what_one_step_writes_is_what_another_reads() -> None:
    unit = (DEBIAN / "peerloans-dump.service").read_text()
    (dump,) = re.findall(r"^ExecStart=/bin/mv \S+ (\S+)$", unit, re.MULTILINE)
    assert set(re.findall(r"pg_restore [^\n]* (/\S+)", PAGE)) == {dump}
    stanzas = {
        name for text in (PAGE, unit, *(file.read_text() for file in DEBIAN.iterdir())) for name in re.findall(r"--stanza=(\w+)", text)
    }
    assert stanzas == set(re.findall(r"^\[(\w+)\]$", (DEBIAN / "pgbackrest.conf").read_text(), re.MULTILINE)) - {"global"}
    for name in re.findall(r"/etc/ssl/peerloans/([\w.]+)", (DEBIAN / "nginx.conf").read_text()):
        assert f"`{name}`" in PAGE or f"/etc/ssl/peerloans/{name}" in PAGE
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert f"/etc/prometheus/{prometheus['scrape_configs'][0]['authorization']['credentials_file']}" in PAGE
    (list_of_roles,) = re.findall(r"^auth_file = (\S+)$", (DEBIAN / "pgbouncer.ini").read_text(), re.MULTILINE)
    assert f"/dev/stdin {list_of_roles}" in PAGE


ROLE = re.compile(r"(?:ALTER ROLE|IN ROLE|pg_read_all_stats TO|dropuser|--owner=|--role=) ?(\w+)")
CREATED = re.compile(r"(?:createuser [^\n]*?|^CREATE ROLE )(\w+)(?= LOGIN|$)", re.MULTILINE)


def test_every_role_is_created() -> None:
    assert set(ROLE.findall(PAGE)) <= set(CREATED.findall(PAGE))
    # A new machine has only what its steps create.
    steps = PAGE[PAGE.index("### On Debian\n") : PAGE.index("### In containers\n")]
    logs_in = set(re.findall(r"postgresql://(\w+):", (DEBIAN / "peerloans.env").read_text()))
    assert logs_in == set(ROLE.findall(steps)) == set(CREATED.findall(steps))
    assert "GRANT pg_read_all_stats TO" in steps


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]), ids=lambda page: page.name)
def test_every_make_target_is_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^\$ )(?:\w+=\S+ )*make (?:\w+=\S+ )*([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
    assert named <= targets
