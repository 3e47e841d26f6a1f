"""The command: its options, what it prints, and its exit status."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from cbsa.lookup import zip_answer
from cbsa.models import Dataset, ImportRun, Zip
from loans.models import Loan
from tests.cbsa.conftest import Import
from tests.cbsa.publishers import METROS, ZIPS
from tests.factories import DraftFactory

Write = Callable[[str, str | bytes], str]
ROOT = Path(__file__).resolve().parent.parent.parent


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("import_cbsa", *arguments, stdout=out, stderr=err)
    except CommandError as error:
        return error.returncode, out.getvalue(), f"{err.getvalue()}{error}"
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def pair(write: Write) -> list[str]:
    return ["--zips", write("zips.csv", ZIPS), "--metros", write("metros.csv", METROS), "--vintage", "2015"]


@pytest.mark.django_db
def test_an_import_prints_what_it_found(pair: list[str]) -> None:
    status, out, err = command(*pair)
    assert (status, err) == (0, "")
    assert "6 ZIPs in 8 rows" in out
    assert "Lacking, with their ZIPs: 10900 (1)." in out
    assert "are both files of the same vintage?" in out
    assert out.endswith("2015 is imported and in use.\n")
    assert command(*pair)[:2] == (0, out.replace("is imported and in use", "is in use already; nothing has changed"))


@pytest.mark.django_db
def test_bad_rows_are_printed_one_a_line(pair: list[str], write: Write) -> None:
    path = write("zips.csv", ZIPS + "1000X,10100,1,1,1,1\n")
    status, out, err = command(*pair)
    assert (status, out) == (1, "")
    assert err.splitlines()[0] == f"{path}:10: ZIP '1000X' is not five digits."
    status, out, _ = command(*pair, "--skip-bad-rows", "1")
    assert status == 0
    assert f"Left out: {path}:10: ZIP '1000X' is not five digits." in out


@pytest.mark.django_db
def test_the_outcome_for_programs(pair: list[str], write: Write) -> None:
    outcome = json.loads(command(*pair, "--json")[1])
    assert (outcome["outcome"], outcome["counts"]["zips"], outcome["absent"]) == ("imported", 6, {"10900": 1})
    assert [row["vintage"] for row in json.loads(command("--list", "--json")[1])] == ["2015"]
    write("zips.csv", "ZIP\n")
    status, out, _ = command(*pair, "--json")
    assert (status, json.loads(out)["outcome"]) == (1, "refused")


@pytest.mark.django_db
def test_earlier_datasets(run: Import) -> None:
    assert command("--list")[1] == "No dataset has been imported yet.\n"
    run()
    run(vintage="2016")
    assert [line[:6] for line in command("--list")[1].splitlines()] == ["* 2016", "  2015"]
    assert command("--activate", "2015")[:2] == (
        0,
        "ZIPs against 2016: 0 new, 0 lost, 0 in another area.\n2015, imported earlier, is in use again.\n",
    )
    assert [line[:6] for line in command("--list")[1].splitlines()] == ["  2016", "* 2015"]
    assert command("--prune", "0")[1] == "Deleted: 2016.\n"
    status, _, err = command("--activate", "2016")
    assert (status, err) == (1, "There is no dataset 2016. Those imported: 2015.")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--zips", "a", "--metros", "b"],
        ["--list", "--vintage", "2015"],
        ["--list", "--prune", "1"],
        ["--prune", "-1"],
        ["--zips", "a", "--metros", "b", "--vintage", "c", "--skip-bad-rows", "some"],
    ],
)
def test_wrong_use_of_the_options(arguments: list[str]) -> None:
    status, out, err = command(*arguments)
    assert (status > 0, out) == (True, "")
    assert "--" in err


def test_wrong_use_has_an_exit_status_of_its_own() -> None:
    done = subprocess.run([sys.executable, "manage.py", "import_cbsa"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "An import needs --zips and --metros and --vintage" in done.stderr


def environment() -> dict[str, str]:
    """The environment of a command that works on this test's database."""
    settings = connection.settings_dict
    parts = {name: settings[key] for name, key in (("user", "USER"), ("password", "PASSWORD"), ("port", "PORT")) if settings[key]}
    host = settings["HOST"] or settings["OPTIONS"].get("host", "")
    url = f"postgresql:///{settings['NAME']}?{urlencode({'host': host, **parts})}"
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "peerloans.settings", "DATABASE_URL": url, "DEBUG": "1"}


@contextlib.contextmanager
def held_at_the_switch(arguments: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """An import in another process, which a lock of ours holds at its last step."""
    with transaction.atomic():
        Dataset.objects.select_for_update().get(active=True)
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        deadline = time.monotonic() + 30
        with connection.cursor() as cursor:
            waiting = 0
            while not waiting and time.monotonic() < deadline and process.poll() is None:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid")
                (waiting,) = cursor.fetchone()
        assert waiting, process.communicate(timeout=30)
        yield process


@pytest.mark.django_db(transaction=True)
def test_an_import_killed_at_the_switch_leaves_the_data_in_use(run: Import, pair: list[str], write: Write) -> None:
    run()
    write("zips.csv", ZIPS.replace("10002,20004", "10002,10200"))
    pair[-1] = "2016"
    arguments = [sys.executable, "manage.py", "import_cbsa", *pair]
    with held_at_the_switch(arguments) as process:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert zip_answer("10002").cbsa == "20004"
    assert (Dataset.objects.count(), Zip.objects.count(), ImportRun.objects.count()) == (1, 6, 1)

    done = subprocess.run(arguments, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2016 is imported and in use.\n")


@pytest.mark.django_db(transaction=True)
def test_an_interrupted_import_ends_in_one_line_and_changes_nothing(run: Import, pair: list[str], write: Write) -> None:
    run()
    write("zips.csv", ZIPS.replace("10002,20004", "10002,10200"))
    pair[-1] = "2016"
    with held_at_the_switch([sys.executable, "manage.py", "import_cbsa", *pair]) as process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, "CommandError: Interrupted. Nothing has changed.\n")
    assert zip_answer("10002").cbsa == "20004"


@pytest.mark.django_db
def test_a_refusal_names_the_option_that_helps(pair: list[str], write: Write) -> None:
    write("zips.csv", ZIPS.replace("10002,", "10002,x"))
    assert command(*pair)[2].endswith("Or leave out up to N of them, and the ZIPs that they belong to, with --skip-bad-rows N.")


@pytest.mark.django_db
def test_what_would_change_is_printed(run: Import, pair: list[str], write: Write) -> None:
    run()
    loan = DraftFactory(zip="10002")
    write("zips.csv", ZIPS.replace("10002,20004", "10002,10200").replace("10005,", "10006,"))
    pair[-1] = "2016"
    change = f"{loan.reference}: Great City-Bay, CA-NV becomes Elsewhere-Town, TX"
    out = command(*pair, "--dry-run", "--force")[1]
    assert f"\n{change}\n2016 could be imported; nothing has changed.\n" in out
    assert json.loads(command(*pair, "--dry-run", "--force", "--json")[1])["changes"]["consequences"] == [change]
    assert "ZIPs against 2015: 1 new, 1 lost, 1 in another area.\nLost: 10005.\n" in out
    assert json.loads(command(*pair, "--dry-run", "--force", "--json")[1])["changes"]["moved"] == 1
    assert Loan.objects.get().market_cbsa == "20000"
    assert "1 of the 6 ZIPs in use would be lost. If that is meant, repeat the import with --force." in command(*pair)[2]
    assert f"\n{change}\n2016 is imported and in use.\n" in command(*pair, "--force")[1]
    assert Loan.objects.get().market_cbsa == "10200"
