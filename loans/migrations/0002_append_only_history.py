"""Refuse to change or remove history, also for code that goes past the models."""

from django.db import migrations

from loans.models.append_only import AppendOnly


class Migration(migrations.Migration):
    dependencies = [("loans", "0001_initial")]

    operations = [
        migrations.AddConstraint("transition", AppendOnly(name="append_only")),
        migrations.AddConstraint("historyblock", AppendOnly(name="blocks_append_only")),
    ]
