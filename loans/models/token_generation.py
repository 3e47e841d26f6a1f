"""Give tokens the generation of their user's password, which the database counts, however the user is changed.

A token begins with the generation in which it was issued. It is valid as long as its user has that generation.
"""

from typing import Any

from loans.models.trigger import Trigger

NAMED = "n"  # Knox's random part has only hexadecimal digits


def token_prefix(generation: int, *, named: bool = False) -> str:
    """Return what a token of this generation begins with. One with a name, and so with scopes of its own, shows it."""
    return f"{generation}.{NAMED if named else ''}"


def generation_of(token: str) -> int:
    """Return the generation of a token that was issued, or of its first characters; 0 if it names none."""
    number, dot, _ = token.partition(".")
    return int(number) if dot and number.isdecimal() else 0


def is_named(token: str) -> bool:
    """Return whether the token was made with a name, so that it may do only what its scopes say."""
    return token.partition(".")[2].startswith(NAMED)


class TokenGeneration(Trigger):
    """Raise `token_generation` when a user's password or activity changes, and let nothing else change it.

    A stale copy of the user that is saved again would otherwise bring ended tokens back.
    """

    function_name = "token_generation"

    def create_sql(self, model: Any, schema_editor: Any) -> str:
        table, function, trigger = self._quoted_names(model, schema_editor)
        return f"""
            CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                NEW.token_generation := OLD.token_generation
                    + ((NEW.password, NEW.is_active) IS DISTINCT FROM (OLD.password, OLD.is_active))::int;
                RETURN NEW;
            END
            $$;
            CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();
        """
