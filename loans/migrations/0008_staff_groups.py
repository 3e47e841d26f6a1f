"""Make the groups of staff. Permissions usually come after all migrations, so they are made here first."""

from django.db import migrations

from loans import groups


def make(apps, schema_editor):
    groups.repair(apps)


def remove(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name__in=groups.GROUPS).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("loans", "0007_cases_are_closed_with_a_note"),
        ("cbsa", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(make, remove)]
