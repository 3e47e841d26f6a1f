"""The locks hold what the ranges allow, in the same versions everywhere, with hashes and without an address."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PACKAGE = r"[a-z0-9-]+==[\w.]+( ; [\w<>=!.' ]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+"
ROOT = Path(__file__).resolve().parent.parent
RANGES = {
    "production": ["requirements.txt"],
    "local": ["requirements.txt", "requirements/local.txt"],
    "dev": ["requirements.txt", "requirements/local.txt", "requirements/dev.txt"],
    "installer": ["requirements/installer.txt"],
}


def lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text()


def versions(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock(name), re.MULTILINE))


@pytest.mark.parametrize("name", RANGES)
def test_each_required_package_is_locked_within_its_range(name: str) -> None:
    lines = [line for path in RANGES[name] for line in (ROOT / path).read_text().splitlines() if line[0] not in "#-"]
    for requirement in map(Requirement, lines):
        assert requirement.specifier.contains(versions(name)[requirement.name]), f"{requirement}: run make lock"


@pytest.mark.parametrize("name", RANGES)
def test_a_lock_holds_only_packages_with_hashes(name: str) -> None:
    assert re.fullmatch(rf"(#.*\n)+--only-binary :all:\n\n({PACKAGE})+", lock(name))


def test_what_is_tested_is_what_runs() -> None:
    assert versions("production").items() <= versions("local").items() <= versions("dev").items()
