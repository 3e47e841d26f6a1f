"""Show the page on which an administrator invites a colleague with a role."""

from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from loans.domain.actors import Actor
from loans.models import User
from loans.notifications.staff_invitations import send_invitation
from loans.services.staff_invitations import invite_colleague, roles_given_by
from peerloans.admin.invitation import invitation_path
from peerloans.errors import Problem


class InvitationForm(forms.Form):
    """Who is invited, and with which of the roles that the inviter may give."""

    email = forms.EmailField(max_length=150, label="E-mail", help_text="It is the user name, too.")
    first_name = forms.CharField(max_length=150)
    last_name = forms.CharField(max_length=150)
    role = forms.ChoiceField(
        help_text="What each may do stands on the page of the group. You can give the roles that may do no more than you."
    )

    def __init__(self, user: User, data: Any = None) -> None:
        super().__init__(data)
        self.fields["role"].choices = [(name, name) for name in roles_given_by(user)]  # type: ignore[attr-defined]


def invitation_page(request: HttpRequest) -> HttpResponse:
    """Invite the colleague that the form names, and send the invitation."""
    user = cast("User", request.user)
    if not user.has_perm("loans.invite_user"):
        raise PermissionDenied
    form = InvitationForm(user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            invited = invite_colleague(**form.cleaned_data, actor=Actor("staff", user.pk))
        except Problem as problem:
            form.add_error(None, problem.detail)
        else:
            _send(request, user, invited)
            return HttpResponseRedirect(reverse("admin:loans_user_changelist"))
    context = {
        **admin.site.each_context(request),
        "title": "Invite a colleague",
        "opts": User._meta,
        "form": form,
        "button": "Send the invitation",
    }
    return TemplateResponse(request, "admin/form_page.html", context)


def _send(request: HttpRequest, user: User, invited: User) -> None:
    try:
        send_invitation(invited, by=user, address=request.build_absolute_uri(invitation_path(invited)))
    except OSError as error:
        text = f"{invited} has an account now, but the mail server did not take the invitation ({error}). Invite them again."
        messages.error(request, text)
    else:
        messages.success(request, f"The invitation is sent to {invited.email}. It is valid for three days.")
