"""Create the triggers, which hold also for code that goes past the models: of history, comments, and generations of users' tokens."""

from django.db import migrations

from loans.models.append_only import AppendOnly
from loans.models.token_generation import TokenGeneration


class Migration(migrations.Migration):
    dependencies = [("loans", "0001_initial")]

    operations = [
        migrations.AddConstraint("transition", AppendOnly(name="append_only")),
        migrations.AddConstraint("historyblock", AppendOnly(name="blocks_append_only")),
        migrations.AddConstraint("standingordertransition", AppendOnly(name="standing_orders_append_only")),
        migrations.AddConstraint("reviewcomment", AppendOnly(name="comments_append_only")),
        migrations.AddConstraint("user", TokenGeneration(name="token_generation")),
    ]
