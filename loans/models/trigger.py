"""Let a model declare a trigger of its table among its constraints, so that `makemigrations` creates and removes it."""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, models


class Trigger(models.BaseConstraint):
    """A trigger that has the constraint's name, and its function. Subclasses name the function, and create both.

    Migrations use these classes, so a change of their SQL reaches existing databases only by a new migration.
    """

    function_name: str

    def remove_sql(self, model: Any, schema_editor: Any) -> str:
        table, function, trigger = self._quoted_names(model, schema_editor)
        return f"DROP TRIGGER {trigger} ON {table}; DROP FUNCTION {function}()"

    def constraint_sql(self, model: Any, schema_editor: Any) -> str:
        """Have the trigger created after the table, where a migration creates both at once."""
        schema_editor.deferred_sql.append(self.create_sql(model, schema_editor))
        return ""

    def validate(self, model: Any, instance: Any, exclude: Any = None, using: str = DEFAULT_DB_ALIAS) -> None:
        """Accept every instance: the trigger is about statements, not about values."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.name == getattr(other, "name", None)

    def _quoted_names(self, model: Any, schema_editor: Any) -> tuple[str, str, str]:
        table = model._meta.db_table
        quote = schema_editor.quote_name
        return quote(table), quote(f"{table}_{self.function_name}"), quote(self.name)
