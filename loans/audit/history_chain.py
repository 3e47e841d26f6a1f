"""Chain history by hash, so that a change behind the back of its triggers shows, and find the first block that does not hold.

A block seals the transitions that follow the block before: its hash is of the hash of the block before, of its transitions, their
number and the id of the last one. The hash of one block, kept outside of this database, later shows whether anything up to that
block was changed.
"""

import time
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import connection, models, transaction
from django.db.models import Max

from loans.models import HistoryBlock, Transition

BLOCK_TRANSITIONS = 1_000  # at most; a broken block is so few transitions to search
MOST_BLOCKS = 1_000  # A run chains at most a million transitions, and leaves the rest to the next run.
WRITERS_WAIT_SECONDS = 10  # a change of a loan takes milliseconds
POLL_SECONDS = 0.05

_CHAIN_LOCK = 0x636861696E  # an advisory lock: "chain" in ASCII
_LEAST_ID = -(2**63)


# --- What the hashes are of ---------------------------------------------------------------------------------------------
# JSON looks the same whatever the session's settings are, once time zones are taken out of it. A column that is null is left out, so
# a nullable column can be added to history without changing the hash of what is there. `txid` is not hashed, because a server that is
# restored from a dump numbers its transactions anew.
def _canonical(field: "models.Field[object, object]") -> str:
    if isinstance(field, models.DateTimeField):
        return f"'{field.column}', transition.{field.column} AT TIME ZONE 'UTC'"
    if isinstance(field, models.JSONField):
        return f"'{field.column}', transition.{field.column}::text"
    return f"'{field.column}', transition.{field.column}"


def _sha256(text: str) -> str:
    return f"encode(sha256(convert_to({text}, 'UTF8')), 'hex')"


_COLUMNS = ", ".join(_canonical(field) for field in Transition._meta.concrete_fields if field.name != "txid")
_TRANSITION = f"json_strip_nulls(json_build_object({_COLUMNS}))::text"
_TRANSITIONS_SHA256 = _sha256(rf"string_agg({_TRANSITION}, E'\n' ORDER BY transition.id)")
_BLOCK_SHA256 = _sha256(
    "json_build_array(block.number, block.previous_sha256, block.transitions_sha256, block.transitions, block.last_id,"
    " block.at AT TIME ZONE 'UTC')::text"
)


# --- Chain ----------------------------------------------------------------------------------------------------------------
_LOCK_CHAIN = "SELECT pg_try_advisory_xact_lock(%s)"
_ADD_BLOCK = f"""
    WITH head AS (
        SELECT number, sha256, last_id FROM loans_historyblock ORDER BY number DESC LIMIT 1
    ), transition AS (
        -- The next transitions after the head.
        SELECT * FROM loans_transition
        WHERE id > COALESCE((SELECT last_id FROM head), {_LEAST_ID}) AND id <= %(up_to)s ORDER BY id LIMIT %(most)s
    ), block AS (
        -- Their block, without its own hash.
        SELECT COALESCE((SELECT number FROM head), 0) + 1 AS number, COALESCE((SELECT sha256 FROM head), '') AS previous_sha256,
            {_TRANSITIONS_SHA256} AS transitions_sha256, count(*) AS transitions, max(id) AS last_id, clock_timestamp() AS at
        FROM transition HAVING count(*) > 0
    ), added AS (
        INSERT INTO loans_historyblock (number, previous_sha256, transitions_sha256, transitions, last_id, at, sha256)
        SELECT number, previous_sha256, transitions_sha256, transitions, last_id, at, {_BLOCK_SHA256} FROM block
        RETURNING transitions
    )
    SELECT COALESCE(sum(transitions), 0) FROM added
"""


def chain_history(*, most: int = BLOCK_TRANSITIONS, wait_seconds: float = WRITERS_WAIT_SECONDS) -> int:
    """Add blocks, of at most `most` transitions each, for the transitions that have none, and return how many these were.

    Leave all to the next run if a transaction that writes history does not end within `wait_seconds`. A run beside another one
    adds nothing. No request waits for a run.
    """
    up_to = _last_final_id(wait_seconds)
    chained = 0
    for _ in range(MOST_BLOCKS):
        added = _add_block(up_to, most)
        if not added:
            break
        chained += added
    return chained


def _add_block(up_to: int, most: int) -> int:
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        # A statement of its own, so that the next one sees what was committed before the lock was taken.
        cursor.execute(_LOCK_CHAIN, [_CHAIN_LOCK])
        if cursor.fetchone() != (True,):
            return 0
        cursor.execute(_ADD_BLOCK, {"up_to": up_to, "most": most})
        (added,) = cursor.fetchone()
        return int(added)


# Rows become visible in the order of commits, not of their ids. Every transaction that has taken an id up to the highest visible one
# either has ended or still holds its lock on the table of history, which PostgreSQL takes before it gives out an id and releases
# after the rows are visible. So, once those that hold the lock now have ended, no row can appear up to that id. (The outbox reads in
# the order of transaction ids instead and need not wait, but then its order is lost when a dump is restored into another server.)
_WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted AND relation = 'loans_transition'::regclass
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid IS DISTINCT FROM pg_backend_pid()
"""


def _last_final_id(wait_seconds: float) -> int:
    """Return an id up to which no further transition can appear: the highest one now, once all who write now have ended.

    Return an id below all others if they do not end in time.
    """
    highest = Transition.objects.aggregate(highest=Max("id"))["highest"]
    writers = _writers()
    deadline = time.monotonic() + wait_seconds
    while writers:
        if time.monotonic() >= deadline:
            return _LEAST_ID
        time.sleep(POLL_SECONDS)
        writers &= _writers()
    return _LEAST_ID if highest is None else int(highest)


def _writers() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS)
        return {writer for (writer,) in cursor.fetchall()}


# --- Verify ---------------------------------------------------------------------------------------------------------------
_FIRST_BROKEN_OR_HEAD = f"""
    WITH block AS (
        -- Each block beside the number, the hash and the last id of the block before.
        SELECT *, lag(number, 1, 0::bigint) OVER in_order AS number_before, lag(sha256, 1, '') OVER in_order AS sha256_before,
            lag(last_id, 1, {_LEAST_ID}) OVER in_order AS after_id
        FROM loans_historyblock WINDOW in_order AS (ORDER BY number)
    ), checked AS (
        -- Each block beside its transitions as they are now.
        SELECT number, block.sha256, block.last_id, block.at, CASE
            WHEN number <> number_before + 1 THEN 'the block before it is missing'
            WHEN previous_sha256 <> sha256_before THEN 'it does not name the hash of the block before'
            WHEN block.sha256 <> {_BLOCK_SHA256} THEN 'the block was changed'
            WHEN block.transitions <> present.transitions
                THEN block.transitions || ' transitions were chained, ' || present.transitions || ' are there'
            WHEN transitions_sha256 <> present.sha256 THEN 'a transition was changed'
            ELSE '' END AS fault
        FROM block CROSS JOIN LATERAL (
            SELECT count(*) AS transitions, {_TRANSITIONS_SHA256} AS sha256
            FROM loans_transition AS transition WHERE id > after_id AND id <= last_id
        ) AS present
    )
    SELECT number, sha256, last_id, at, fault FROM checked
    WHERE fault <> '' OR number = (SELECT max(number) FROM loans_historyblock) ORDER BY number LIMIT 1
"""


@dataclass(frozen=True)
class CheckedChain:
    """The newest block, the head, of a chain that holds; or the first block that does not hold, and the `fault`.

    Without any block, `block` is 0. `unchained` transitions wait for the next run of the job.
    """

    block: int
    sha256: str
    last_id: int
    at: datetime | None
    fault: str
    unchained: int

    def __str__(self) -> str:
        if self.fault:
            return f"Block {self.block} of history does not hold: {self.fault}."
        waiting = f"{self.unchained} transitions wait for the next block."
        if not self.block:
            return f"History has no block yet. {waiting}"
        return f"The chain holds. Its head is block {self.block} of {self.at:%Y-%m-%d %H:%M:%S} UTC, {self.sha256}. {waiting}"

    def as_document(self) -> dict[str, object]:
        """Return it as JSON-ready values."""
        return asdict(self) | {"at": self.at and self.at.isoformat()}


def check_chain() -> CheckedChain:
    """Compare each block with the one before and with its transitions, in one snapshot of the database."""
    with connection.cursor() as cursor:
        cursor.execute(_FIRST_BROKEN_OR_HEAD)
        number, sha256, last_id, at, fault = cursor.fetchone() or (0, "", _LEAST_ID, None, "")
    return CheckedChain(number, sha256, last_id, at, fault, Transition.objects.filter(id__gt=last_id).count())


def is_in_chain(sha256: str) -> bool:
    """Return whether a block has this hash, so that it has been the head. The chain must hold."""
    return HistoryBlock.objects.filter(sha256=sha256.lower()).exists()
