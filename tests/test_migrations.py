"""Can each new migration run while the code before it still serves?

An upgrade migrates first and restarts after, so for some minutes the old code works on the new schema.
"""

from collections.abc import Iterator

import pytest
from django.db import migrations, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

# Written before the first release, so nothing served while they ran.
FIRST = {"loans": 12, "cbsa": 1}
CONCURRENT = "django.contrib.postgres.operations"


def later() -> Iterator[tuple[str, migrations.Migration]]:
    for (app, name), migration in sorted(MigrationLoader(connection=None).disk_migrations.items()):
        if app in FIRST and int(name[:4]) > FIRST[app]:
            yield f"{app}.{name}", migration


def unsafe(operation: Operation, made: set[str]) -> str | None:
    """Why old code would fail, or everybody would wait; `made` are the models of the same migration."""
    if getattr(operation, "model_name", "").lower() in made:
        return None
    match operation:
        case migrations.RenameField() | migrations.RenameModel() | migrations.AlterModelTable():
            return "old code asks by the old name: add, copy, and remove in a later release"
        case migrations.RemoveField() | migrations.DeleteModel():
            return "old code still reads it: take it out of the model's state first (SeparateDatabaseAndState), drop it a release later"
        case migrations.AddField(field=field) if not field.null and field.db_default is models.NOT_PROVIDED and not field.many_to_many:
            return "old code inserts rows without it: give it a db_default, or let it be null"
        case migrations.AddIndex() if not type(operation).__module__.startswith(CONCURRENT):
            return "writers wait while it is built: AddIndexConcurrently"
    return None


def test_no_later_migration_stands_in_the_way_of_the_code_before_it() -> None:
    found = []
    for name, migration in later():
        made = {operation.name.lower() for operation in migration.operations if isinstance(operation, migrations.CreateModel)}
        found += [f"{name}: {operation.describe()}: {why}" for operation in migration.operations if (why := unsafe(operation, made))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("operation", "is_unsafe"),
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
def test_what_is_unsafe_is_found(operation: Operation, is_unsafe: bool) -> None:
    assert bool(unsafe(operation, {"fresh"})) == is_unsafe
