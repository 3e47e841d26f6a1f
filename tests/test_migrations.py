"""Migrations import no code that will change, and each new one can run while the code before it still serves.

An upgrade migrates first and restarts afterwards, so for some minutes the old code works on the new schema.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

# The migrations of the first release, which run before anything serves: their highest numbers.
FIRST_RELEASE = {"loans": 3, "cbsa": 1, "monitoring": 1}
CONCURRENT = "django.contrib.postgres.operations"
# Fields, constraints and defaults that Django does not have.
IMPORTABLE = {"loans.models.fields", "loans.models.append_only", "loans.models.token_generation"}
ROOT = Path(__file__).resolve().parent.parent


def later_migrations() -> Iterator[tuple[str, migrations.Migration]]:
    for (app, name), migration in sorted(MigrationLoader(connection=None).disk_migrations.items()):
        if app in FIRST_RELEASE and int(name[:4]) > FIRST_RELEASE[app]:
            yield f"{app}.{name}", migration


def danger(operation: Operation, new_models: set[str]) -> str | None:
    """Return why old code would fail or wait; None if it would not. `new_models` are made by the same migration."""
    if getattr(operation, "model_name", "").lower() in new_models:
        return None
    match operation:
        case migrations.RenameField() | migrations.RenameModel() | migrations.AlterModelTable():
            return "old code uses the old name: add, copy, and remove in a later release"
        case migrations.RemoveField() | migrations.DeleteModel():
            return "old code still reads it: take it out of the model's state first (SeparateDatabaseAndState), drop it a release later"
        case migrations.AddField(field=field) if not field.null and field.db_default is models.NOT_PROVIDED and not field.many_to_many:
            return "old code inserts rows without it: give it a db_default, or let it be null"
        case migrations.AddIndex() if not type(operation).__module__.startswith(CONCURRENT):
            return "writers wait while it is built: AddIndexConcurrently"
    return None


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("app", FIRST_RELEASE)
def test_migrations_import_no_code_of_the_project_that_may_change(app: str) -> None:
    paths = list(Path(apps.get_app_config(app).path, "migrations").glob("0*.py"))
    ours = {(path.name, name) for path in paths for name in imported_modules(path) if name.split(".")[0] in {"loans", "cbsa", "peerloans"}}
    assert paths
    assert {name for _, name in ours} <= IMPORTABLE, ours


def test_the_code_before_a_later_migration_works_after_it() -> None:
    dangers = []
    for name, migration in later_migrations():
        new_models = {operation.name.lower() for operation in migration.operations if isinstance(operation, migrations.CreateModel)}
        dangers += [
            f"{name}: {operation.describe()}: {why}" for operation in migration.operations if (why := danger(operation, new_models))
        ]
    assert not dangers, "\n".join(dangers)


@pytest.mark.parametrize(
    ("operation", "is_dangerous"),
    [
        (migrations.RemoveField("loan", "title"), True),
        (migrations.RenameField("loan", "title", "name"), True),
        (migrations.DeleteModel("Loan"), True),
        (migrations.AddField("loan", "grade", models.TextField()), True),
        (migrations.AddField("loan", "grade", models.TextField(default="")), True),
        (migrations.AddField("loan", "grade", models.TextField(db_default="")), False),
        (migrations.AddField("loan", "grade", models.TextField(null=True)), False),
        (migrations.AddField("fresh", "grade", models.TextField()), False),
        (migrations.AddIndex("loan", models.Index(fields=["zip"], name="by_zip")), True),
    ],
)
def test_dangerous_operations_are_found(operation: Operation, is_dangerous: bool) -> None:
    assert bool(danger(operation, {"fresh"})) == is_dangerous
