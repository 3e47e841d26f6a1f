"""Find investors, users and loans by the beginning of a word that staff know of them, from indexes.

Reservations and transfers are then read by the ids that this returns. An OR over their loan, their investor and its user would read all of
them.
"""

import re
from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL

# More ids than these stay a subquery: the newest rows of so many are found soon, in the order of the list.
MOST_IDS = 200

# Users by the beginning of the user name, of the e-mail, or of a word of the name; each part from an index of its own.
_USERS = """
    SELECT id FROM loans_user WHERE upper(username) COLLATE "C" LIKE upper(%s)
    UNION SELECT id FROM loans_user WHERE upper(email) COLLATE "C" LIKE upper(%s)
    UNION SELECT id FROM loans_user
        WHERE to_tsvector('simple', COALESCE(first_name, '') || ' ' || COALESCE(last_name, '')) @@ to_tsquery('simple', %s)
"""
_INVESTORS = f"""
    SELECT id FROM loans_investor WHERE to_tsvector('simple', COALESCE(name, '')) @@ to_tsquery('simple', %s)
    UNION SELECT id FROM loans_investor WHERE user_id IN ({_USERS})
"""
_LOANS = "SELECT id FROM loans_loan WHERE upper(reference) LIKE upper(%s)"  # a market has few loans
_NAMED = """
    SELECT id FROM loans_user WHERE upper(username) COLLATE "C" = upper(%s)
    UNION SELECT id FROM loans_user WHERE upper(email) COLLATE "C" = upper(%s)
"""

Ids = Sequence[int] | RawSQL
"""What the lookup `__in` takes: the ids, or a subquery of them where they are many."""


def user_ids(word: str) -> Ids:
    """Return the users whose user name, e-mail or a word of whose name begins with the word, in any case."""
    return _ids(_USERS, [_beginning(word), _beginning(word), _lexeme(word)])


def investor_ids(word: str) -> Ids:
    """Return the investors a word of whose name begins with the word, and those of the users that it finds."""
    return _ids(_INVESTORS, [_lexeme(word), _beginning(word), _beginning(word), _lexeme(word)])


def loan_ids(word: str) -> Ids:
    """Return the loans whose reference begins with the word, in any case."""
    return _ids(_LOANS, [_beginning(word)])


def ids_of_users_named(text: str) -> list[int]:
    """Return the users with exactly this user name or e-mail, in any case."""
    with connection.cursor() as cursor:
        cursor.execute(_NAMED, [text, text])
        return [row[0] for row in cursor.fetchall()]


def _ids(sql: str, values: list[Any]) -> Ids:
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} LIMIT {MOST_IDS + 1}", values)
        ids = [row[0] for row in cursor.fetchall()]
    return ids if len(ids) <= MOST_IDS else RawSQL(sql, values)  # noqa: S611  our own statement; the values are parameters


def _beginning(word: str) -> str:
    """Return the pattern of texts that begin with the word."""
    return re.sub(r"([\\%_])", r"\\\1", word) + "%"


def _lexeme(word: str) -> str:
    """Return the query of texts in which a word begins with this one. PostgreSQL divides it as it divided the texts."""
    return "'{}':*".format(re.sub(r"['\\]", " ", word))
