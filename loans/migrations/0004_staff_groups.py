"""Make the groups of staff. Permissions usually come after all migrations, so they are made here first."""

from django.db import migrations

from loans.services.staff_groups import GROUPS, repair_groups


def make(apps, schema_editor):
    repair_groups(apps)


def remove(apps, schema_editor):
    apps.get_model("auth", "Group").objects.filter(name__in=GROUPS).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("loans", "0003_schedules"),
        ("axes", "0010_accessattemptexpiration"),
        ("cbsa", "0001_initial"),
        ("knox", "0009_extend_authtoken_field"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(make, remove)]
