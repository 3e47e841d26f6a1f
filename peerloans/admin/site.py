"""Let staff log in to the admin: by password, and by a second factor where it is set up or required.

The guards that it shares with the log-in of investors are in peerloans/web/log_in.py.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import URLPattern, URLResolver, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django_otp import login as log_in_device

from peerloans.admin import navigation, site_search
from peerloans.admin.audit_log import log_admin_action
from peerloans.admin.crafted_requests import refuse_crafted
from peerloans.admin.invitation import InvitationView
from peerloans.admin.lookups import with_named_lookups
from peerloans.web import second_factor
from peerloans.web.log_in import GuardedLoginForm, too_many_log_ins

MOST_SEARCHED = 200  # characters


class LoginForm(GuardedLoginForm, AdminAuthenticationForm):
    """The log-in of staff alone."""


class StaffSite(admin.AdminSite):
    """Django's admin site, with a second factor and a limit of login attempts."""

    login_form = LoginForm
    index_title = "Today"
    enable_nav_sidebar = False  # the sections stand above each page

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context = super().each_context(request)
        lists = [each for app in context["available_apps"] for each in app["models"]]
        on_start_page = request.path == reverse("admin:index")
        return context | {"sections": navigation.sections(request, lists), "on_start_page": on_start_page}

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register a page. Each has named lookups alone, also those of libraries."""
        super().register(model_or_iterable, with_named_lookups(admin_class or admin.ModelAdmin), **options)

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        return super().admin_view(refuse_crafted(view), cacheable)

    def has_permission(self, request: HttpRequest) -> bool:
        if not super().has_permission(request):
            return False
        if not hasattr(request, "second_factor_satisfied"):  # each page calls this several times
            request.second_factor_satisfied = second_factor.is_satisfied(request.user)  # type: ignore[attr-defined]
        return bool(request.second_factor_satisfied)  # type: ignore[attr-defined]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Log in, limit the attempts, and lead staff who must set up a second factor to its page."""
        if super().has_permission(request) and not (second_factor.is_satisfied(request.user) or second_factor.is_set_up(request.user)):
            return redirect("admin:second-factor")
        return too_many_log_ins(request) or super().login(request, extra_context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            path("second-factor/", self.second_factor, name="second-factor"),
            path("search/", self.admin_view(self.search), name="search"),
            path("invitation/<uidb64>/<token>/", self.invitation, name="invitation"),
            *super().get_urls(),
        ]

    def search(self, request: HttpRequest) -> HttpResponse:
        """Search all lists at once. A row that the words name in full, or the only one that is found, is shown at once."""
        words = "".join(filter(str.isprintable, request.GET.get("q", "")[:MOST_SEARCHED])).strip()
        if address := site_search.address_named(self, request, words):
            return redirect(address)
        kinds = site_search.search(self, request, words)
        if len(kinds) == 1 and len(kinds[0].rows) == 1:
            return redirect(kinds[0].rows[0].address)
        context = self.each_context(request) | {"title": f"Search for “{words}”" if words else "Search", "words": words, "kinds": kinds}
        return render(request, "admin/search.html", context)

    def invitation(self, request: HttpRequest, uidb64: str, token: str) -> HttpResponseBase:
        """Let an invited colleague choose a password."""
        return InvitationView.as_view(extra_context=self.each_context(request))(request, uidb64=uidb64, token=token)

    def second_factor(self, request: HttpRequest) -> HttpResponseBase:
        """Set up the user's second factor, or another phone in place of the one in use."""
        if not super().has_permission(request) or (second_factor.is_set_up(request.user) and not request.user.is_verified()):  # type: ignore[union-attr]
            return redirect(f"{self.name}:login")
        return _set_up_page(request, self.each_context(request) | {"title": "Second factor"})


@never_cache
@sensitive_post_parameters()
def _set_up_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    context["in_use"] = second_factor.is_set_up(request.user)
    if request.method == "POST" and "code" in request.POST:
        try:
            second_factor.check_code(request.user, request.POST.get("present", "").strip())
            device, context["recovery_codes"] = second_factor.confirm(request.user, request.POST["code"].strip())
        except ValidationError as error:
            context["error"] = error.message
        else:
            log_in_device(request, device)
            log_admin_action(request.user.pk, request.user, "Set up a second factor.")  # type: ignore[arg-type]
            return render(request, "admin/second_factor.html", context)
    device = second_factor.unconfirmed_device(request.user)
    context |= {"qr_code": second_factor.qr_code(device), "key": device.config_url.partition("secret=")[2].partition("&")[0]}
    return render(request, "admin/second_factor.html", context, status=400 if "error" in context else 200)
