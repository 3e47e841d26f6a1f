"""The schema's owner changes history or its chain behind the triggers' back; the first block that does not hold is named."""

import io
import json
from decimal import Decimal
from threading import Barrier

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, models, transaction

from loans import tasks
from loans.audit.history_chain import chain_history, check_chain, is_in_chain
from loans.audit.reconciliation import find_breaches
from loans.models import HistoryBlock, ReviewItem, Transition
from tests import factories
from tests.conftest import history_unprotected
from tests.factories import NOON, LoanFactory
from tests.races.conftest import together

TRANSITIONS_EACH = 3


@pytest.fixture
def chained(db: None) -> list[HistoryBlock]:
    """Seven transitions of one loan in three blocks; the last has one."""
    factories.funded(LoanFactory())
    assert chain_history(most=TRANSITIONS_EACH) == Transition.objects.count() == 7
    return list(HistoryBlock.objects.all())


def tamper(statement: str) -> None:
    with connection.cursor() as cursor, history_unprotected(cursor):
        cursor.execute(statement)


def test_a_chain_that_nobody_touched_holds(chained: list[HistoryBlock]) -> None:
    chain = check_chain()
    assert [block.transitions for block in chained] == [3, 3, 1]
    assert [block.previous_sha256 for block in chained] == ["", chained[0].sha256, chained[1].sha256]
    assert (chain.block, chain.sha256, chain.last_id, chain.fault, chain.unchained) == (3, chained[2].sha256, chained[2].last_id, "", 0)


def test_new_transitions_come_into_new_blocks_and_a_run_without_any_adds_none(chained: list[HistoryBlock]) -> None:
    assert chain_history() == 0
    factories.reserved(LoanFactory())
    assert check_chain().unchained == 3
    assert tasks.chain_history() == "3 transitions were chained."
    assert (check_chain().block, check_chain().fault) == (4, "")
    assert [*HistoryBlock.objects.all()][:3] == chained


FILL = """
    UPDATE loans_transition SET (transfer_id, waiting_entry_id, user_id, approved_by_id, deadline, facts, reason)
        = ((SELECT id FROM loans_transfer), (SELECT id FROM loans_waitinglistentry), staff, staff, at, '{"zip": "90266"}', 'asked for')
    FROM (SELECT min(id) AS staff FROM loans_user) AS users
    WHERE event = 'reserved'
"""
CHANGED = {
    models.BigAutoField: "id - 100",
    models.DateTimeField: "{} + interval '1 microsecond'",
    models.CharField: "'x'",
    models.TextField: "'x'",
    models.DecimalField: "{} + 0.01",
    models.JSONField: """'{{"zip": "90210"}}'""",
    models.ForeignKey: "NULL",
    models.BooleanField: "NOT {}",
}
HASHED = [field for field in Transition._meta.concrete_fields if field.name not in ("txid", "loan", "actor")]


@pytest.mark.parametrize("field", HASHED, ids=lambda field: field.name)
def test_a_change_of_any_column_is_found(field: models.Field, db: None) -> None:
    factories.funded(LoanFactory())
    factories.waiting(LoanFactory())
    tamper(FILL)
    chain_history()
    value = next(sql for kind, sql in CHANGED.items() if isinstance(field, kind)).format(field.column)
    tamper(f"UPDATE loans_transition SET {field.column} = {value} WHERE event = 'reserved'")
    assert check_chain().fault == "a transition was changed"


def test_another_loan_is_found(chained: list[HistoryBlock]) -> None:
    other = LoanFactory()
    tamper(f"UPDATE loans_transition SET loan_id = {other.pk} WHERE id = {chained[1].last_id}")
    assert (check_chain().block, check_chain().fault) == (2, "a transition was changed")


LAST_OF_SECOND = "(SELECT last_id FROM loans_historyblock WHERE number = 2)"
COPIED = "at, loan_id, event, from_state, to_state, amount, rule, actor, reason"
TAMPERINGS = [
    (
        "a changed transition",
        f"UPDATE loans_transition SET actor = 'system' WHERE id = {LAST_OF_SECOND}",
        2,
        "a transition was changed",
    ),
    (
        "a deleted transition",
        f"DELETE FROM loans_transition WHERE id = {LAST_OF_SECOND}",
        2,
        "3 transitions were chained, 2 are there",
    ),
    ("a block without its transitions", "DELETE FROM loans_transition", 1, "3 transitions were chained, 0 are there"),
    (
        "an inserted transition",
        f"INSERT INTO loans_transition (id, {COPIED}) SELECT 0, {COPIED} FROM loans_transition LIMIT 1",
        1,
        "3 transitions were chained, 4 are there",
    ),
    ("a changed block", "UPDATE loans_historyblock SET at = at - interval '1 day' WHERE number = 2", 2, "the block was changed"),
    ("a changed hash", "UPDATE loans_historyblock SET sha256 = repeat('0', 64) WHERE number = 2", 2, "the block was changed"),
    (
        "a changed block with its hash",
        "UPDATE loans_historyblock SET sha256 = (SELECT sha256 FROM loans_historyblock WHERE number = 1), "
        "previous_sha256 = '' WHERE number = 2",
        2,
        "it does not name the hash of the block before",
    ),
    ("a deleted block", "DELETE FROM loans_historyblock WHERE number = 2", 3, "the block before it is missing"),
    ("a deleted first block", "DELETE FROM loans_historyblock WHERE number = 1", 2, "the block before it is missing"),
]


@pytest.mark.parametrize(("change", "block", "fault"), [case[1:] for case in TAMPERINGS], ids=[case[0] for case in TAMPERINGS])
def test_the_first_block_that_does_not_hold_is_named(change: str, block: int, fault: str, chained: list[HistoryBlock]) -> None:
    tamper("DELETE FROM loans_delivery")
    tamper(change)
    assert (check_chain().block, check_chain().fault) == (block, fault)


def test_a_chain_made_anew_over_changed_history_lacks_the_head_that_was_kept(chained: list[HistoryBlock]) -> None:
    known_head = chained[1].sha256
    assert is_in_chain(known_head)
    tamper("UPDATE loans_transition SET amount = amount + 1 WHERE event = 'reserved'; DELETE FROM loans_historyblock")
    chain_history(most=TRANSITIONS_EACH)
    assert check_chain().fault == ""
    assert not is_in_chain(known_head)


@pytest.mark.parametrize("setting", ["TimeZone = 'Asia/Kolkata'", "IntervalStyle = 'iso_8601'", "extra_float_digits = -15"])
def test_the_hash_does_not_depend_on_the_settings_of_a_session(setting: str, chained: list[HistoryBlock]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {setting}")
    assert check_chain().fault == ""


def test_the_hash_does_not_depend_on_the_numbers_of_transactions(chained: list[HistoryBlock]) -> None:
    tamper("ALTER TABLE loans_transition ALTER txid TYPE xid8 USING '1'::xid8")
    factories.reserved(LoanFactory())
    chain_history()
    assert (check_chain().block, check_chain().fault) == (4, "")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE loans_historyblock SET sha256 = ''",
        "DELETE FROM loans_historyblock",
        "TRUNCATE loans_historyblock",
    ],
)
def test_blocks_are_append_only(statement: str, chained: list[HistoryBlock]) -> None:
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert list(HistoryBlock.objects.all()) == chained


def test_the_command_prints_the_head_and_checks_one_that_was_kept(chained: list[HistoryBlock]) -> None:
    head = chained[-1]
    output = io.StringIO()
    call_command("verify_history", head=chained[0].sha256.upper(), stdout=output)
    assert f"Its head is block 3 of {head.at:%Y-%m-%d %H:%M:%S} UTC, {head.sha256}. 0 transitions wait" in output.getvalue()
    output = io.StringIO()
    call_command("verify_history", as_json=True, stdout=output)
    chain = {"block": 3, "sha256": head.sha256, "last_id": head.last_id, "at": head.at.isoformat(), "fault": "", "unchained": 0}
    assert json.loads(output.getvalue()) == {"chain": chain}
    with pytest.raises(CommandError, match=r"No block has the hash abc\.") as failed:
        call_command("verify_history", head="abc", stdout=io.StringIO())
    assert failed.value.returncode == 1
    with pytest.raises(CommandError, match="no loan is named") as failed:
        call_command("verify_history", "LN-1", head="abc")
    assert failed.value.returncode == 2


def test_the_command_names_the_broken_block(chained: list[HistoryBlock]) -> None:
    tamper(f"UPDATE loans_transition SET reason = 'another' WHERE id = {chained[1].last_id}")
    with pytest.raises(CommandError, match=r"Block 2 of history does not hold: a transition was changed\. 0 differences") as failed:
        call_command("verify_history", stdout=io.StringIO())
    assert failed.value.returncode == 1
    output = io.StringIO()
    with pytest.raises(CommandError, match="Block 2"):
        call_command("verify_history", as_json=True, stdout=output)
    assert json.loads(output.getvalue())["chain"]["block"] == 2


def test_reconciliation_lists_a_broken_block_for_staff_once(chained: list[HistoryBlock]) -> None:
    tamper("UPDATE loans_transition SET amount = 1 WHERE event = 'reserved'")
    sentence = "The blocks of history hold: no broken block expected, block 1 (a transition was changed) found."
    for _ in range(2):
        find_breaches(NOON)
        assert ReviewItem.objects.filter(kind="breach", detail=sentence, loan=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_runs_at_the_same_time_make_one_chain() -> None:
    for _ in range(4):
        factories.reserved(LoanFactory(amount=Decimal(10_000)), 1000)
    barrier = Barrier(3)

    def run() -> int:
        barrier.wait()
        return sum(chain_history(most=1) for _ in range(3))

    assert sum(together(run, run, run)) == Transition.objects.count() == 12
    assert (check_chain().block, check_chain().fault) == (12, "")
