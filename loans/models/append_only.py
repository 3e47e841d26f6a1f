"""Define the constraints that Django does not have."""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, models


class AppendOnly(models.BaseConstraint):
    """Refuse every UPDATE, DELETE and TRUNCATE of the table, by a trigger that has the constraint's name.

    It binds every database role, the owner of the table too, until the trigger is disabled with ALTER TABLE.
    Migrations use this class, so a change of the SQL reaches existing databases only by a new migration.
    """

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

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        table, function, trigger = self._quoted_names(model, schema_editor)
        return f"DROP TRIGGER {trigger} ON {table}; DROP FUNCTION {function}()"

    def constraint_sql(self, model: Any, schema_editor: Any) -> str:
        """Have the trigger created after the table, where a migration creates both at once."""
        schema_editor.deferred_sql.append(self.create_sql(model, schema_editor))
        return ""

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = DEFAULT_DB_ALIAS) -> None:
        """Accept every instance: the constraint is about statements, not about values."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AppendOnly) and self.name == other.name

    def _quoted_names(self, model: Any, schema_editor: Any) -> tuple[str, str, str]:
        table = model._meta.db_table
        quote = schema_editor.quote_name
        return quote(table), quote(f"{table}_is_append_only"), quote(self.name)
