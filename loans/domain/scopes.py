"""Name the scopes of tokens: what a token lets its holder do.

Which scope a request needs is decided by `scope_of` in loans/api/permissions.py.
"""

from enum import StrEnum


class Scope(StrEnum):
    """What a token lets its holder do: read what is theirs, reserve and cancel, manage the account."""

    READ = "read"
    RESERVE = "reserve"
    ACCOUNT = "account"


NAMED_TOKEN_SCOPES = (Scope.READ, Scope.RESERVE)
"""What a named token may have. Only the token of a log-in has `account`, so that a named token cannot make others."""
ALL = tuple(Scope)
