"""Invite a colleague with a role: the account, the e-mail, the link, and who may give which role."""

import re
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.test import Client
from django.utils import timezone

from loans.domain.actors import Actor
from loans.domain.errors import Invalid, NotFound, NotPermitted
from loans.models import User
from loans.services.staff_invitations import invite_colleague
from tests.factories import InvestorFactory

pytestmark = pytest.mark.django_db
INVITE = "/admin/loans/user/invite/"
OLGA = {"email": "Olga@example.com", "first_name": "Olga", "last_name": "Ort", "role": "Support"}
PASSWORD = "seven crooked lighthouses"


@pytest.fixture
def boss() -> User:
    return User.objects.create_superuser("boss", first_name="Bo", last_name="Boss")


@pytest.fixture
def administrator(boss: User) -> Client:
    client = Client()
    client.force_login(boss)
    return client


def invite(client: Client, **fields: str) -> str:
    page = client.post(INVITE, OLGA | fields, follow=True)
    return str(page.content.decode())


def link() -> str:
    found = re.search(r"http://testserver(/admin/invitation/\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def choose_password(client: Client, address: str, password: str = PASSWORD) -> Any:
    """Follow the link, which keeps its secret in the session and leads to another address, and fill in the form."""
    form = client.get(address, follow=True)
    return client.post(form.request["PATH_INFO"], {"new_password1": password, "new_password2": password}, follow=True)


def test_a_colleague_is_invited_chooses_a_password_and_has_the_role(administrator: Client) -> None:
    assert "Invite a colleague" in administrator.get("/admin/loans/user/").content.decode()
    assert "The invitation is sent to olga@example.com. It is valid for three days." in invite(administrator)
    olga = User.objects.get(username="olga@example.com")
    assert (olga.is_staff, olga.is_superuser, olga.has_usable_password()) == (True, False, False)
    assert [group.name for group in olga.groups.all()] == ["Support"]
    message = mail.outbox[-1]
    assert message.to == ["olga@example.com"]
    assert "Hello Olga,\n\nBo Boss invites you to the back office of peerloans." in message.body

    guest = Client()
    page = guest.get(link(), follow=True).content.decode()
    assert "Your user name is <b>olga@example.com</b>." in page
    choose_password(guest, link())
    guest.post("/admin/login/", {"username": "olga@example.com", "password": PASSWORD, "next": "/admin/"})
    assert guest.get("/admin/loans/loan/").status_code == 200
    assert guest.get("/admin/loans/loan/add/").status_code == 403
    log = LogEntry.objects.filter(object_id=str(olga.pk)).order_by("pk").values_list("user__username", "change_message")
    assert list(log) == [("boss", "Invited with the role Support."), ("olga@example.com", "Accepted the invitation.")]


def test_a_link_works_once(administrator: Client) -> None:
    invite(administrator)
    choose_password(Client(), link())
    assert "This invitation is not valid any more" in Client().get(link(), follow=True).content.decode()


def test_a_link_ends_after_three_days(administrator: Client) -> None:
    invite(administrator)
    with time_machine.travel(timezone.localtime() + timedelta(days=3, minutes=1), tick=False):
        assert "This invitation is not valid any more" in Client().get(link(), follow=True).content.decode()
    with time_machine.travel(timezone.localtime() + timedelta(days=2, hours=23), tick=False):
        assert "Choose your password" in Client().get(link(), follow=True).content.decode()


@pytest.mark.parametrize("address", ["/admin/invitation/MQ/x-y/", "/admin/invitation/x/set-password/", "/admin/invitation/%20/%00/"])
def test_an_invented_link_is_explained(address: str) -> None:
    assert "This invitation is not valid any more" in Client().get(address).content.decode()


def test_a_weak_password_is_refused(administrator: Client) -> None:
    invite(administrator)
    choose_password(Client(), link(), "12345")
    assert not User.objects.get(username="olga@example.com").has_usable_password()


def test_who_has_not_accepted_yet_is_invited_again_with_another_role(administrator: Client) -> None:
    invite(administrator)
    invite(administrator, role="Auditors")
    assert len(mail.outbox) == 2
    olga = User.objects.get(username="olga@example.com")
    assert [group.name for group in olga.groups.all()] == ["Auditors"]
    assert choose_password(Client(), link()).status_code == 200
    assert User.objects.get(pk=olga.pk).has_usable_password()


def test_who_has_an_account_is_not_invited(administrator: Client) -> None:
    InvestorFactory(user__username="olga", user__email="OLGA@example.com")
    assert "olga@example.com has an account already." in invite(administrator)
    assert mail.outbox == []
    assert not User.objects.filter(is_staff=True).exclude(username="boss").exists()


def test_an_account_that_is_no_invitation_gets_no_password_by_a_link(administrator: Client) -> None:
    """A token of a user is worth nothing unless the user is invited: an administrator who was deactivated, for example."""
    invite(administrator)
    User.objects.filter(username="olga@example.com").update(is_active=False)
    assert "This invitation is not valid any more" in Client().get(link(), follow=True).content.decode()


def test_a_mail_server_that_refuses_loses_no_invitation(administrator: Client, settings: Any) -> None:
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1", 1
    assert "the mail server did not take the invitation" in invite(administrator)
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert "The invitation is sent" in invite(administrator)


def test_nobody_gives_more_than_they_may_do(boss: User) -> None:
    rita = User.objects.create_user("rita", is_staff=True)
    rita.groups.add(Group.objects.get(name="Support"))
    rita.user_permissions.add(Permission.objects.get(codename="invite_user"))
    client = Client()
    client.force_login(rita)
    choices = client.get(INVITE).context["form"].fields["role"].choices
    assert [name for name, _ in choices] == ["Auditors", "Support"]
    assert "Select a valid choice" in invite(client, role="Operations")
    fields = {"email": "olga@example.com", "first_name": "Olga", "last_name": "Ort"}
    with pytest.raises(NotPermitted, match="The role Operations may do more than you"):
        invite_colleague(**fields, role="Operations", actor=Actor("staff", rita.pk))
    with pytest.raises(NotFound):
        invite_colleague(**fields, role="Kings", actor=Actor("staff", boss.pk))
    with pytest.raises(Invalid, match="has an account already"):
        invite_colleague(**fields | {"email": "boss"}, role="Support", actor=Actor("staff", boss.pk))
    assert not User.objects.filter(username="olga@example.com").exists()


def test_the_invitation_needs_its_own_permission(boss: User) -> None:
    client = Client()
    client.force_login(User.objects.create_user("sam", is_staff=True))
    assert client.get(INVITE).status_code == 403
    assert client.post(INVITE, OLGA).status_code == 403
    viewer = User.objects.get(username="sam")
    viewer.user_permissions.add(Permission.objects.get(codename="view_user", content_type__app_label="loans"))
    assert "Invite a colleague" not in client.get("/admin/loans/user/").content.decode()
