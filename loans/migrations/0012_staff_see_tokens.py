"""Give the groups what has come since: tokens to list and revoke, and log-ins that failed."""

from django.db import migrations

from loans import groups


def repair(apps, schema_editor):
    groups.repair(apps)


class Migration(migrations.Migration):
    dependencies = [
        ("loans", "0011_event_differs"),
        ("axes", "0010_accessattemptexpiration"),
        ("knox", "0009_extend_authtoken_field"),
    ]

    operations = [migrations.RunPython(repair, migrations.RunPython.noop)]
