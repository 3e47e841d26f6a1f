"""Upgrades grant new permissions to the groups of staff, and respect what an administrator changed."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from loans.admin.actions import ACTIONS
from loans.models import StaffGroupGrant, User
from loans.services import staff_groups
from loans.services.staff_groups import GROUPS

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _installed(db: None) -> None:
    """Start from a new installation: the groups as `migrate` makes them."""
    Group.objects.filter(name__in=GROUPS).delete()
    StaffGroupGrant.objects.all().delete()
    migrate()


def migrate() -> None:
    call_command("migrate", verbosity=0)


def permissions_of(group: str) -> set[str]:
    pairs = Permission.objects.filter(group__name=group).values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in pairs}


def take_away(group: str, permission: str) -> None:
    app, codename = permission.split(".")
    Group.objects.get(name=group).permissions.remove(Permission.objects.get(content_type__app_label=app, codename=codename))


def forget_grant(permission: str, *groups: str) -> None:
    """Make the permission one that no earlier version granted."""
    for group in groups:
        take_away(group, permission)
    assert StaffGroupGrant.objects.filter(permission=permission).delete()[0] == len(groups)


def test_a_new_installation_has_the_groups_with_their_permissions() -> None:
    assert {group: permissions_of(group) for group in GROUPS} == GROUPS


def test_operations_have_the_permission_of_every_action() -> None:
    assert {action.permission for action in ACTIONS} == staff_groups.ACT


def test_an_upgrade_respects_what_an_administrator_changed() -> None:
    take_away("Support", "loans.cancel_reservation")
    Group.objects.get(name="Auditors").permissions.add(Permission.objects.get(codename="withdraw_loan"))
    migrate()
    assert permissions_of("Support") == GROUPS["Support"] - {"loans.cancel_reservation"}
    assert permissions_of("Auditors") == GROUPS["Auditors"] | {"loans.withdraw_loan"}


def test_an_upgrade_grants_the_permission_of_a_new_action_and_logs_it(caplog: pytest.LogCaptureFixture) -> None:
    forget_grant("loans.cancel_reservation", "Operations", "Support")
    take_away("Operations", "loans.open_loan")
    with caplog.at_level("INFO", logger="loans.services.staff_groups"):
        migrate()
    assert permissions_of("Operations") == GROUPS["Operations"] - {"loans.open_loan"}
    assert permissions_of("Support") == GROUPS["Support"]
    assert caplog.messages == [
        "Granted to the group Operations: loans.cancel_reservation",
        "Granted to the group Support: loans.cancel_reservation",
    ]


def test_an_upgrade_does_not_make_a_deleted_group_again(caplog: pytest.LogCaptureFixture) -> None:
    Group.objects.get(name="Support").delete()
    migrate()
    assert caplog.messages == []
    StaffGroupGrant.objects.filter(group_name="Support", permission="loans.cancel_reservation").delete()
    migrate()
    assert caplog.messages == ["The group Support does not exist, so these new permissions are not granted to it: loans.cancel_reservation"]
    assert not Group.objects.filter(name="Support").exists()


def test_the_command_restores_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    Group.objects.get(name="Support").delete()
    auditors = Group.objects.get(name="Auditors")
    auditors.permissions.add(Permission.objects.get(codename="withdraw_loan"))
    auditors.user_set.add(User.objects.create_user("aud"))
    call_command("repair_groups")
    assert {group: permissions_of(group) for group in GROUPS} == GROUPS
    assert auditors.user_set.count() == 1
    assert "Auditors:" in capsys.readouterr().out
