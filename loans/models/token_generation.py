"""Count the generations of a user's tokens in the database, whoever changes the user and by whatever way."""

from typing import Any

from loans.models.trigger import Trigger


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
