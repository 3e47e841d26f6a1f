"""Insert the default schedules of the jobs, once. From then on staff edit them in the admin."""

from django.db import migrations

NEW_YORK = "America/New_York"

# Name, task, schedule, and the seconds after which a message that no worker has taken is dropped.
JOBS = [
    ("Expire lapsed reservations", "loans.tasks.expire", {"every": 1, "period": "minutes"}, 60),
    ("Serve waiting lists", "loans.tasks.serve_waiting_lists", {"every": 1, "period": "minutes"}, 60),
    ("Open announced loans", "loans.tasks.open_announced", {"every": 2, "period": "seconds"}, 2),
    ("Settle funded reservations", "loans.tasks.settle", {"every": 5, "period": "minutes"}, 300),
    ("Deliver e-mails and webhooks", "loans.tasks.deliver", {"every": 1, "period": "minutes"}, 60),
    ("Tell the watchers of loans", "loans.tasks.notify_watchers", {"every": 1, "period": "minutes"}, 60),
    ("Refresh remaining values in Redis", "loans.tasks.refresh_remaining", {"every": 1, "period": "hours"}, 3600),
    # Four times within the hour, for loans that were busy; a value that is already recorded is not changed.
    ("Record closing values", "loans.tasks.record_closing_values", {"minute": "*/15", "hour": "18", "day_of_week": "1-5"}, 3600),
    # An activation of ZIP data does it at once; this is for loans that were busy then, and after one that was killed.
    ("Resolve the markets of loans", "loans.tasks.resolve_markets", {"every": 5, "period": "minutes"}, 300),
    ("Chain history by hash", "loans.tasks.chain_history", {"every": 5, "period": "minutes"}, 300),
    ("Keep how loans filled", "loans.tasks.record_fill_values", {"every": 1, "period": "minutes"}, 60),
    ("Reconcile nightly", "loans.tasks.reconcile", {"minute": "30", "hour": "2"}, 6 * 3600),
    ("Set overbooking by evidence", "loans.tasks.set_overbooking_by_evidence", {"minute": "0", "hour": "1"}, 6 * 3600),
    ("Dispatch imports of ZIP data", "cbsa.tasks.dispatch_import_requests", {"every": 1, "period": "minutes"}, 60),
    ("Dispatch imports of bank statements", "loans.tasks.dispatch_statement_imports", {"every": 1, "period": "minutes"}, 60),
    ("Delete old idempotency keys and tokens", "loans.tasks.delete_old_records", {"minute": "15", "hour": "3"}, 6 * 3600),
]


def schedule(apps, schema_editor):
    crontabs = apps.get_model("django_celery_beat", "CrontabSchedule").objects
    intervals = apps.get_model("django_celery_beat", "IntervalSchedule").objects
    tasks = apps.get_model("django_celery_beat", "PeriodicTask").objects
    for name, task, when, expire_seconds in JOBS:
        if tasks.filter(task=task).exists():
            continue
        if "every" in when:
            timing = {"interval": intervals.filter(**when).first() or intervals.create(**when)}
        else:
            when = {"day_of_week": "*", "day_of_month": "*", "month_of_year": "*", "timezone": NEW_YORK} | when
            timing = {"crontab": crontabs.filter(**when).first() or crontabs.create(**when)}
        tasks.create(name=name, task=task, expire_seconds=expire_seconds, **timing)


def unschedule(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.filter(task__in=[task for _, task, _, _ in JOBS]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("loans", "0002_append_only_history"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(schedule, unschedule)]
