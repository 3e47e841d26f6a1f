"""Give the three groups of staff their permissions: Operations, Support and Auditors."""

import logging
from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django_celery_beat.models import PeriodicTask

from loans.models import StaffGroupGrant

logger = logging.getLogger(__name__)

VIEWED_MODELS = {
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
        "standingorder",
        "standingordertransition",
        "waitinglistentry",
        "transfer",
        "transition",
        "approvalrequest",
        "bankevent",
        "paymentfile",
        "reviewitem",
        "statementimport",
        "closingvalue",
        "investor",
        "webhookendpoint",
        "delivery",
    ],
}
VIEW = {f"{app}.view_{model}" for app, models in VIEWED_MODELS.items() for model in models}

WRITE = {
    *(f"loans.{verb}_{model}" for verb in ("add", "change") for model in ("loan", "investor", "webhookendpoint")),
    "loans.resend_delivery",
    "loans.send_refund",
    "loans.import_statement",
    "loans.add_loandocument",
    "loans.take_reviewitem",
    *("cbsa.add_importrequest", "cbsa.activate_dataset", "cbsa.prune_dataset"),
    "knox.delete_authtoken",
    "django_celery_beat.change_periodictask",
    *(f"django_celery_beat.add_{model}" for model in ("crontabschedule", "intervalschedule")),
}

# The permissions of the staff actions (loans/admin/actions.py), which this layer does not import. A test holds the two together.
ACT = {
    "django_celery_beat.run_periodictask",
    "loans.accept_transfer",
    "loans.announce_loan",
    "loans.assign_bankevent",
    "loans.cancel_reservation",
    "loans.close_loan",
    "loans.decide_approvalrequest",
    "loans.extend_loan",
    "loans.extend_reservation",
    "loans.limit_investor",
    "loans.open_loan",
    "loans.pay_refund",
    "loans.record_transfer",
    "loans.remove_waitinglistentry",
    "loans.reinstate_reservation",
    "loans.resolve_reviewitem",
    "loans.reverse_reservation",
    "loans.set_overbooking_loan",
    "loans.settle_reservation",
    "loans.withdraw_loan",
}

GROUPS = {
    "Operations": VIEW | WRITE | ACT,
    "Support": VIEW | {"loans.cancel_reservation", "loans.extend_reservation", "loans.take_reviewitem"},
    "Auditors": VIEW,
}


@transaction.atomic
def grant_new_permissions() -> None:
    """Make the groups at the first installation; later, grant them only the permissions that are new in this version.

    Runs after each migration, and logs what it grants. A permission that an administrator took from a group is not
    granted again, and a group that an administrator deleted or renamed is not made again.
    """
    permissions = _get_or_create_permissions()
    for name, names in GROUPS.items():
        granted = set(StaffGroupGrant.objects.filter(group_name=name).values_list("permission", flat=True))
        new = sorted(names & permissions.keys() - granted)
        if not new:
            continue
        group = Group.objects.filter(name=name).first()
        if not group and granted:
            logger.warning("The group %s does not exist, so these new permissions are not granted to it: %s", name, ", ".join(new))
            continue
        if not group:
            group = Group.objects.create(name=name)
            logger.info("Created the group %s with %s permissions.", name, len(new))
        else:
            logger.info("Granted to the group %s: %s", name, ", ".join(new))
        group.permissions.add(*(permissions[permission] for permission in new))
        _record_grants(name, new)


@transaction.atomic
def repair_groups() -> None:
    """Make the groups that are missing, and give each exactly the permissions that it has in a new installation."""
    permissions = _get_or_create_permissions()
    for name, names in GROUPS.items():
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.set([permissions[permission] for permission in sorted(names & permissions.keys())])
        _record_grants(name, sorted(names & permissions.keys()))


def _get_or_create_permissions() -> dict[str, Permission]:
    """Return all permissions by name, such as `loans.open_loan`. Create the one that no model declares."""
    # The model is a library's, so its Meta cannot declare the permission.
    job_type = ContentType.objects.get_for_model(PeriodicTask)
    Permission.objects.get_or_create(codename="run_periodictask", content_type=job_type, defaults={"name": "Can run a job now"})
    return {
        f"{permission.content_type.app_label}.{permission.codename}": permission
        for permission in Permission.objects.select_related("content_type")
    }


def _record_grants(group_name: str, names: Iterable[str]) -> None:
    grants = [StaffGroupGrant(group_name=group_name, permission=permission) for permission in names]
    StaffGroupGrant.objects.bulk_create(grants, ignore_conflicts=True)
