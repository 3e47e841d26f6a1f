"""Let a table only be added to."""

from typing import Any

from loans.models.trigger import Trigger


class AppendOnly(Trigger):
    """Refuse every UPDATE, DELETE and TRUNCATE of the table.

    It binds every database role, the owner of the table too, until the trigger is disabled with ALTER TABLE.
    """

    function_name = "is_append_only"

    def create_sql(self, model: Any, schema_editor: Any) -> str:
        table, function, trigger = self._quoted_names(model, schema_editor)
        return f"""
            CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'The table % is append-only: % is refused.', TG_TABLE_NAME, TG_OP
                    USING ERRCODE = 'integrity_constraint_violation';
            END
            $$;
            CREATE TRIGGER {trigger} BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
                FOR EACH STATEMENT EXECUTE FUNCTION {function}();
        """
