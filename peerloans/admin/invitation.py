"""Let an invited colleague choose a password, by the link in the invitation."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.tokens import default_token_generator
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse, reverse_lazy
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from peerloans.admin.audit_log import log_admin_action
from peerloans.web.log_in import too_many_log_ins


def is_invited(user: Any) -> bool:
    """Return whether the user is a colleague who has not chosen a password yet."""
    return bool(user.is_active and user.is_staff and not user.is_superuser and not user.has_usable_password())


def invitation_path(user: Any) -> str:
    """Return the path of the page on which the user chooses a password. It ends with a password, or after PASSWORD_RESET_TIMEOUT."""
    return reverse("admin:invitation", args=[urlsafe_base64_encode(force_bytes(user.pk)), default_token_generator.make_token(user)])


class InvitationView(PasswordResetConfirmView):
    """The page of one invitation. Its attempts are limited as log-ins are."""

    template_name = "admin/invitation.html"
    success_url = reverse_lazy("admin:index")
    title = "Choose your password"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return too_many_log_ins(request) or super().dispatch(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return context if context["validlink"] else context | {"title": "Invitation"}

    def get_user(self, uidb64: str) -> Any:
        user = super().get_user(uidb64)
        return user if user and is_invited(user) else None

    def form_valid(self, form: Any) -> HttpResponse:
        log_admin_action(form.user.pk, form.user, "Accepted the invitation.")
        messages.success(self.request, "Your password is set. Log in with your e-mail address and the password.")
        return super().form_valid(form)
