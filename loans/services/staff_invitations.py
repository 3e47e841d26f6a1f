"""Invite a colleague to the back office, with a role: one of the groups of staff."""

from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import Q

from loans.domain.actors import Actor
from loans.domain.errors import Invalid, NotFound, NotPermitted
from loans.models import User
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.invitation import is_invited

HAS_ACCOUNT = "{} has an account already. Change its groups on its page."


def invite_colleague(*, email: str, first_name: str, last_name: str, role: str, actor: Actor) -> User:
    """Make an account of staff for a colleague, who chooses the password by an invitation, and return it.

    The user name is the e-mail address. For a colleague who has not chosen a password yet, nothing changes but the role, so that the
    invitation can be sent once more. The audit log names the role and who invited.

    Raises:
        NotFound: there is no such role.
        NotPermitted: the role may do what the actor may not.
        Invalid: somebody has an account with this address already.
    """
    email = email.strip().lower()
    with transaction.atomic():
        group = Group.objects.filter(name=role).first()
        if not group:
            raise NotFound(f"There is no role {role}.")
        _refuse_more_than_own(group, actor)
        account = User.objects.select_for_update().filter(Q(email__iexact=email) | Q(username__iexact=email)).first()
        if account and not is_invited(account):  # It has a password already.
            raise Invalid(HAS_ACCOUNT.format(email))
        if not account:
            account = _new_account(email, first_name, last_name)
        account.groups.set([group])
        log_admin_action(actor.user_id, account, f"Invited with the role {role}.")
        return account


def roles_given_by(user: User) -> list[str]:
    """Return the names of the groups that the user may give to a colleague: those that may do no more than the user."""
    return [group.name for group in Group.objects.order_by("name") if _permissions(group) <= user.get_all_permissions()]


def _refuse_more_than_own(group: Group, actor: Actor) -> None:
    user = User.objects.filter(pk=actor.user_id or 0).first()
    if not user or group.name not in roles_given_by(user):
        raise NotPermitted(f"The role {group.name} may do more than you. Ask an administrator to invite your colleague.")


def _permissions(group: Group) -> set[str]:
    permissions = group.permissions.values_list("content_type__app_label", "codename")
    return {f"{app_label}.{codename}" for app_label, codename in permissions}


def _new_account(email: str, first_name: str, last_name: str) -> User:
    user = User(username=email, email=email, first_name=first_name.strip(), last_name=last_name.strip(), is_staff=True)
    user.set_unusable_password()
    try:
        with transaction.atomic():
            user.save()
    except IntegrityError:
        raise Invalid(HAS_ACCOUNT.format(email)) from None
    return user
