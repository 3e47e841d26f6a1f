"""Give Operations what the pages of ZIP data ask for, and schedule the job that takes up requests left behind."""

from django.db import migrations

from loans import groups

TASK = "cbsa.tasks.take_up"


def arrange(apps, schema_editor):
    groups.repair(apps)
    intervals = apps.get_model("django_celery_beat", "IntervalSchedule").objects
    tasks = apps.get_model("django_celery_beat", "PeriodicTask").objects
    if not tasks.filter(task=TASK).exists():
        every = {"every": 1, "period": "minutes"}
        interval = intervals.filter(**every).first() or intervals.create(**every)
        tasks.create(name="Take up imports of ZIP data", task=TASK, interval=interval, expire_seconds=60)


def unschedule(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(task=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [("loans", "0012_staff_see_tokens"), ("cbsa", "0002_import_requests")]

    operations = [migrations.RunPython(arrange, unschedule)]
