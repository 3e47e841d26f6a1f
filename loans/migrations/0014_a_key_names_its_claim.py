"""A new claim's key names the claim in place of keeping the answer."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("loans", "0013_staff_import_zip_data")]

    operations = [
        migrations.AddField(
            "idempotencykey",
            "reservation",
            models.ForeignKey("loans.reservation", models.DO_NOTHING, db_constraint=False, db_index=False, null=True, related_name="+"),
        ),
    ]
