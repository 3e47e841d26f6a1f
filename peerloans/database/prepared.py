"""Keep PostgreSQL's plan of the statements that are marked for it, and of no others.

Planning the statement of a reservation takes longer than running it. With its plan kept a reservation takes 1.92 ms in place of
2.64 ms, and `reserve` reaches 0.62 of the rate of a bare prepared statement in place of 0.42 (docs/performance.md).

Other statements are planned with their values each time, because a kept plan knows none. It cannot use a partial index whose
condition came as a parameter, and may walk another index to its end for a LIMIT: one such query took 30 ms in place of 0.1 ms.

PostgreSQL keeps a plan only while it expects it to cost no more than planning anew. Without values it expects a third of all rows in a
range that is open at one end, and a two-hundredth in one with two ends. So name both ends, if need be `< 'infinity'`: else a long history
makes the plan look dear, and each reservation takes twice as long.
"""

import re
from typing import Any

import psycopg


class Prepared(str):
    """SQL whose best plan is the same for all values.

    Name the columns that it returns: after a migration that adds a column, a kept `SELECT *` fails. It is sent without comments and
    line breaks, since psycopg parses a text of more than 4,096 characters on each execution.
    """

    __slots__ = ()

    def __new__(cls, sql: str) -> "Prepared":
        return super().__new__(cls, re.sub(r"(?:--.*|\s)+", " ", sql).strip())


class Cursor(psycopg.Cursor[Any]):
    """A cursor that prepares a statement if it is `Prepared`, unless the caller decides."""

    def execute(self, query: Any, params: Any = None, *, prepare: bool | None = None, binary: bool | None = None) -> "Cursor":
        prepare = isinstance(query, Prepared) if prepare is None else prepare
        return super().execute(query, params, prepare=prepare, binary=binary)
