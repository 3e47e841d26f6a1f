"""Refuse to change or remove history, to everyone who does not lift the triggers by DDL first."""

from django.db import migrations

PROTECT = """
CREATE FUNCTION loans_history_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'History is append-only: % on % is refused.', TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON loans_transition
    FOR EACH STATEMENT EXECUTE FUNCTION loans_history_is_append_only();
"""
LIFT = """
DROP TRIGGER append_only ON loans_transition;
DROP FUNCTION loans_history_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("loans", "0001_initial")]

    operations = [migrations.RunSQL(PROTECT, LIFT)]
