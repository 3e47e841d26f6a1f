"""A database of another version gets a clear sentence, and `make reset` deletes the embedded servers' data."""

from pathlib import Path

import psycopg
import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from peerloans.devserver import database
from tests.peerloans.devserver.test_embedded import MEMBER, leave, sockets_of, start


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("database_url", "advice"), [(None, "`make reset` deletes it"), ("postgresql://elsewhere/", "name an empty one in DATABASE_URL")]
)
def test_a_database_with_an_unknown_migration_is_refused(monkeypatch: pytest.MonkeyPatch, database_url: str | None, advice: str) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    if database_url:
        monkeypatch.setenv("DATABASE_URL", database_url)
    MigrationRecorder(connection).record_applied("loans", "0099_of_another_version")
    with pytest.raises(SystemExit, match=f"made by another version of this code.*{advice}"):
        database.migrate()


@pytest.mark.django_db
def test_a_database_with_an_inconsistent_history_is_refused() -> None:
    MigrationRecorder(connection).record_unapplied("loans", "0001_initial")
    with pytest.raises(SystemExit, match="made by another version of this code"):
        database.migrate()


@pytest.mark.django_db
def test_a_database_made_by_a_migration_that_was_edited_since_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    database.note_migrations()
    database.check_migrations()
    hashes = database._hashes(MigrationLoader(connection)) | {"loans.0001_initial": "edited"}
    monkeypatch.setattr(database, "_hashes", lambda _: hashes)
    with pytest.raises(SystemExit, match="made by another version of this code"):
        database.migrate()


@pytest.mark.django_db
def test_the_database_of_this_version_is_accepted() -> None:
    database.check_migrations()


def reset(var: Path) -> tuple[str, int]:
    process = start(var, "-m", "peerloans.devserver.reset")
    output, _ = process.communicate(timeout=60)
    return output, process.returncode


def test_reset_refuses_while_the_servers_are_in_use_and_deletes_their_data_afterwards(tmp_path: Path) -> None:
    with start(tmp_path, "-c", MEMBER) as member:
        sockets = str(sockets_of(member))
        with psycopg.connect(host=sockets, user="postgres", dbname="postgres", autocommit=True) as database:
            database.execute("CREATE TABLE something ()")
        assert reset(tmp_path) == ("", 1)
        with psycopg.connect(host=sockets, user="postgres", dbname="postgres") as database:
            database.execute("SELECT FROM something")
        leave(member)

    output, status = reset(tmp_path)
    assert (status, "are deleted" in output) == (0, True)
    assert not (tmp_path / "postgres").exists()
    assert not (tmp_path / "valkey").exists()

    with start(tmp_path, "-c", MEMBER) as member:
        with psycopg.connect(host=str(sockets_of(member)), user="postgres", dbname="postgres") as database:
            assert database.execute("SELECT to_regclass('something')").fetchone() == (None,)
        leave(member)


def test_reset_of_a_checkout_without_data(tmp_path: Path) -> None:
    assert reset(tmp_path / "var")[1] == 0
