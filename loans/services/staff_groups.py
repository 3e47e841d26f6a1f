"""Which groups of staff come with the system, and what may each do?"""

from typing import Any

from django.apps import apps as present
from django.contrib.auth.management import create_permissions

APPS = ("auth", "admin", "axes", "django_celery_beat", "knox", "cbsa", "loans")

# What staff look at in the admin. Of tokens they see the beginning; remembered answers are nobody's to see.
SEEN = {
    "auth": ["group"],
    "admin": ["logentry"],
    "axes": ["accessattempt"],
    "knox": ["authtoken"],
    "django_celery_beat": ["periodictask", "crontabschedule", "intervalschedule", "clockedschedule", "solarschedule"],
    "cbsa": ["dataset", "zip", "area", "importrun", "importrequest"],
    "loans": [
        "user",
        "loan",
        "reservation",
        "transfer",
        "transition",
        "bankevent",
        "reviewitem",
        "closingvalue",
        "investor",
        "webhookendpoint",
        "delivery",
    ],
}
VIEWS = {f"{app}.view_{model}" for app, models in SEEN.items() for model in models}
# What Operations writes beside the actions: drafts, investors, endpoints and the jobs' schedules.
WRITTEN = {
    *(f"loans.{verb}_{model}" for verb in ("add", "change") for model in ("loan", "investor", "webhookendpoint")),
    "loans.resend_delivery",
    *("cbsa.add_importrequest", "cbsa.activate_dataset", "cbsa.prune_dataset"),
    "knox.delete_authtoken",
    "django_celery_beat.change_periodictask",
    *(f"django_celery_beat.add_{model}" for model in ("crontabschedule", "intervalschedule")),
}

# The permissions of the staff actions (loans/admin/actions.py).
ACTIONS = {
    "django_celery_beat.run_periodictask",
    "loans.accept_transfer",
    "loans.cancel_reservation",
    "loans.close_loan",
    "loans.extend_loan",
    "loans.extend_reservation",
    "loans.open_loan",
    "loans.pay_refund",
    "loans.record_transfer",
    "loans.reinstate_reservation",
    "loans.resolve_reviewitem",
    "loans.reverse_reservation",
    "loans.settle_reservation",
    "loans.withdraw_loan",
}

GROUPS = {
    "Operations": VIEWS | WRITTEN | ACTIONS,
    "Support": VIEWS | {"loans.cancel_reservation", "loans.extend_reservation"},
    "Auditors": VIEWS,
}


def repair_groups(apps: Any = present) -> None:
    """Make the groups, or give them back exactly the permissions they come with.

    In a migration `apps` are those of its time; a permission of a later time is left to a later repair.
    """
    for label in APPS:
        create_permissions(present.get_app_config(label), verbosity=0, apps=apps)
    permissions, groups = apps.get_model("auth", "Permission").objects, apps.get_model("auth", "Group").objects
    job = apps.get_model("contenttypes", "ContentType").objects.get(app_label="django_celery_beat", model="periodictask")
    permissions.get_or_create(codename="run_periodictask", content_type=job, defaults={"name": "Can run a job now"})
    known = {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in permissions.filter(content_type__app_label__in=APPS).select_related("content_type")
    }
    for name, granted in GROUPS.items():
        group, _ = groups.get_or_create(name=name)
        group.permissions.set([known[permission] for permission in sorted(granted & known.keys())])
