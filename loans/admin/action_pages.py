"""How do staff get from the rows they chose to what they want done? By one page: a preview, a reason, a confirmation.

The page is reached like any action of the admin, from a list or from a row's own page, and answers to the list's address.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from loans.admin import actions
from loans.admin.actions import Effect, StaffAction
from loans.admin.forms import ActionForm
from loans.domain.actors import Actor
from peerloans.admin.base import KeptAdmin

MOST_ROWS = 100  # Each is tried under its loan's lock while somebody waits for the page.
CHANGES_SHOWN = 50


class Acting(KeptAdmin):
    """Offers the actions of loans.admin.actions to those who may take them."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) | {
            action.name: (partial(_act, action), action.name, f"{action.label}…") for action in self.allowed(request)
        }

    def allowed(self, request: HttpRequest) -> list[StaffAction]:
        return [action for action in actions.actions_of(self.model) if request.user.has_perm(action.permission)]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        offered = [action for action in self.allowed(request) if actions.is_conceivable(action, obj)] if obj else []
        context |= {"staff_actions": offered, "list_address": _list_address(self.model)}
        return super().render_change_form(request, context, add, change, form_url, obj)


def _list_address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _act(action: StaffAction, page: Acting, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
    rows = list(chosen.order_by("pk")[: MOST_ROWS + 1])
    if len(rows) > MOST_ROWS:
        page.message_user(request, f"Choose at most {MOST_ROWS} rows at once.", messages.ERROR)
        return None
    step = request.POST.get("step")
    form = action.form(request.POST if step else _beginning(action.form))
    given, actor = form.given(), Actor("staff", request.user.pk)
    if given is not None and step == "confirm" and form.is_valid():
        reason, previewed = form.cleaned_data["reason"], request.POST
        effects = [
            actions.attempt(action, row, given, actor=actor, reason=reason, previewed=previewed.get(f"previewed-{row.pk}", ""))
            for row in rows
        ]
        return _told(page, request, action, form, effects)
    if step != "confirm":
        # Nothing is wrong yet with what nobody has filled in.
        form.errors.pop("reason", None)
    if not step:
        form.errors.clear()
    effects = [] if given is None else [actions.attempt(action, row, given, actor=actor) for row in rows]
    return _page(page, request, action, form, rows, effects)


def _beginning(form: type[ActionForm]) -> dict[str, Any]:
    """What a form begins with, as if it had been filled in so."""
    return {field.name: field.value() for field in form() if field.field.initial is not None}


def _told(page: Acting, request: HttpRequest, action: StaffAction, form: ActionForm, effects: Sequence[Effect]) -> HttpResponse:
    """Say what went and what did not; what has moved since its preview is shown anew."""
    done = [effect for effect in effects if effect.done]
    refused = [effect for effect in effects if effect.refusal]
    moved = [effect for effect in effects if not effect.done and not effect.refusal]
    if done:
        page.message_user(request, f"{action.label}: done for {_listed(done)}.", messages.SUCCESS)
    for effect in refused:
        page.message_user(request, f"{action.label}: not done for {effect.row}: {effect.refusal}", messages.ERROR)
    if moved:
        words = f"{action.label}: not done for {_listed(moved)}, which moved since the preview. This is what would happen now."
        page.message_user(request, words, messages.WARNING)
        return _page(page, request, action, form, [effect.row for effect in moved], moved)
    if len(effects) == 1:
        meta = page.model._meta
        return HttpResponseRedirect(reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[effects[0].row.pk]))
    return HttpResponseRedirect(_list_address(page.model))


def _listed(effects: Sequence[Effect]) -> str:
    return ", ".join(str(effect.row) for effect in effects)


def _page(
    page: Acting, request: HttpRequest, action: StaffAction, form: ActionForm, rows: Sequence[Model], effects: Sequence[Effect]
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": action.label,
        "opts": page.model._meta,
        "action": action,
        "form": form,
        "rows": rows,
        "effects": effects,
        "possible": any(not effect.refusal for effect in effects),
        "changes_shown": CHANGES_SHOWN,
        "chosen_name": ACTION_CHECKBOX_NAME,
        "list_address": _list_address(page.model),
    }
    return TemplateResponse(request, "admin/loans/action.html", context)
