"""Imports point one way: each module may import only from levels below its own.

Reads every import of the project's own code from the syntax tree, those inside functions too.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the pure rules at the bottom to the doors at the top. A package's name stands for all modules in it.
LEVELS = [
    [
        "peerloans.embedded",
        "peerloans.errors",
        "peerloans.charts",
        "peerloans.cursors",
        "peerloans.forms",
        "peerloans.jobs",
        "peerloans.logs",
        "peerloans.outbound",
        "peerloans.postgresql",
        "peerloans.renderers",
        "peerloans.replica",
        "peerloans.second_factor",
        "peerloans.strictness",
        "peerloans.taking_out",
        "peerloans.throttling",
        "peerloans.trail",
    ],
    ["peerloans.admin", "peerloans.staff_site"],
    ["cbsa.errors", "loans.errors", "loans.keys"],
    ["cbsa.rule", "cbsa.workbooks", "loans.states", "loans.banking_days", "loans.limits", "loans.retrying"],
    ["cbsa.sources", "loans.settlement_rules", "loans.money", "loans.announcements"],
    ["cbsa.checking", "loans.replaying", "loans.curves"],
    ["cbsa.models", "loans.models"],
    ["cbsa.lookup", "loans.locks", "loans.remaining", "loans.webhooks"],
    ["cbsa.importing", "loans.selectors"],
    ["cbsa.requesting", "loans.ledger", "loans.measuring", "loans.verifying"],
    ["loans.investing", "loans.expiring", "loans.keeping", "loans.markets", "loans.outbox"],
    ["loans.reconciling"],
    ["loans.settling"],
    ["loans.banking", "loans.lending"],
    ["loans.overriding", "loans.sandbox_bank"],
    ["cbsa.forms", "loans.demo", "loans.running", "loans.forms"],
    ["loans.staff", "loans.drawings"],
    ["loans.office"],
    ["loans.groups", "loans.accounts", "loans.acting"],
    ["peerloans.parsers", "peerloans.paging", "loans.portfolio", "loans.signatures"],
    ["peerloans.problems", "peerloans.answers", "cbsa.serializers", "loans.serializers", "loans.filters", "loans.authentication"],
    ["loans.idempotency", "loans.schema"],
    [
        "cbsa.views",
        "cbsa.admin",
        "cbsa.tasks",
        "cbsa.management",
        "loans.views",
        "loans.pages",
        "loans.admin",
        "loans.tasks",
        "loans.management",
        "loans.templatetags",
        "loans.apps",
    ],
    ["cbsa.urls", "loans.urls"],
    ["peerloans.settings", "peerloans.celery", "peerloans.health", "peerloans.apps", "peerloans.browsers"],
    ["peerloans.metrics"],
    ["peerloans.probes"],
    ["peerloans"],
    ["peerloans.urls", "peerloans.wsgi", "peerloans.run"],
]
PURE = {
    "peerloans.errors",
    "peerloans.outbound",
    "cbsa.errors",
    "cbsa.rule",
    "cbsa.workbooks",
    "cbsa.sources",
    "cbsa.checking",
    "loans.errors",
    "loans.states",
    "loans.banking_days",
    "loans.limits",
    "loans.announcements",
    "loans.money",
    "loans.retrying",
    "loans.settlement_rules",
    "loans.replaying",
    "loans.curves",
}


def level_of(module: str) -> int:
    for level, names in enumerate(LEVELS):
        if any(module == name or (name not in {"peerloans"} and module.startswith(name + ".")) for name in names):
            return level
    raise AssertionError(f"{module} has no level: give it one in LEVELS")


def modules() -> list[tuple[str, Path]]:
    found = []
    for app in ("peerloans", "cbsa", "loans"):
        for path in sorted((ROOT / app).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if ".migrations" not in name and name not in {"cbsa", "loans"}:
                found.append((name, path))
    return found


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: import by the full name"
            for alias in node.names:
                as_module = ROOT / Path(*node.module.split(".")) / f"{alias.name}.py"
                names.add(f"{node.module}.{alias.name}" if as_module.exists() else node.module)
    return names


def own(name: str) -> bool:
    return name.split(".")[0] in {"peerloans", "cbsa", "loans"}


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(module: str, path: Path) -> None:
    for name in filter(own, imports_of(path)):
        assert level_of(name) < level_of(module), f"{module} imports {name}, which is not below it"
        assert not (module.startswith("cbsa.") and name.startswith("loans")), "cbsa knows nothing of loans"


@pytest.mark.parametrize("module", sorted(PURE))
def test_pure_modules_know_no_django(module: str) -> None:
    path = ROOT / Path(*module.split(".")).with_suffix(".py")
    outside = {name for name in imports_of(path) if name.split(".")[0] in {"django", "rest_framework", "celery"}}
    assert not outside
