"""Show the page of a staff action: a preview for each selected row, the reason, and the confirmation.

Staff reach the page from a list or from a row's own page. It is posted to the URL of the list, as Django's actions are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode

from loans.admin import action_previews
from loans.admin.action_forms import ActionForm
from loans.admin.action_previews import Preview
from loans.admin.actions import StaffAction, actions_on
from loans.domain.actors import Actor
from loans.models import ReviewItem
from peerloans.admin.base import NoDeleteAdmin

MAX_ROWS = 100  # The request holds the lock of each row's loan in turn while its sender waits.
TRANSITIONS_SHOWN = 50
FILTERS = "_changelist_filters"  # Django's own name for the filters of the list, in the address of a row's page


@dataclass(frozen=True)
class Origin:
    """Where staff began an action, and go back to: a list with its filters, or a review item that asks for it."""

    model: type[Model]
    filters: str
    review_item: str

    @classmethod
    def of(cls, request: HttpRequest, model: type[Model]) -> Self:
        """Read it from the form. A list posts to its own address, with its filters in it; the other pages name the list's filters."""
        filters = QueryDict(request.POST[FILTERS]) if FILTERS in request.POST else request.GET
        review_item = request.POST.get("review_item", "")
        return cls(model, filters.urlencode(), review_item if review_item.isascii() and review_item.isdecimal() else "")

    @property
    def list_address(self) -> str:
        return _address(self.model, "changelist") + (f"?{self.filters}" if self.filters else "")

    @property
    def back_address(self) -> str:
        return _address(ReviewItem, "change", self.review_item) if self.review_item else self.list_address

    def address_after(self, action: StaffAction, rows: Sequence[Model]) -> str:
        """Return where staff go once the action is done: to the only row, unless it needs nothing more, or else back."""
        if self.review_item or len(rows) != 1 or action.ends_row:
            return self.back_address
        query = f"?{urlencode({FILTERS: self.filters})}" if self.filters else ""
        return _address(self.model, "change", rows[0].pk) + query


def _address(model: type[Model], page: str, *arguments: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)


class StaffActionsAdmin(NoDeleteAdmin):
    """A model with staff actions. Each user is offered those that the user's permissions allow."""

    actions_on_top, actions_on_bottom = False, True  # the foot of a list stays in sight

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) | {
            action.name: (partial(_action_page, action), action.name, f"{action.label}…") for action in self.permitted_actions(request)
        }

    def permitted_actions(self, request: HttpRequest) -> list[StaffAction]:
        return [action for action in actions_on(self.model) if request.user.has_perm(action.permission)]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], add: bool = False, change: bool = False, form_url: str = "", obj: Any = None
    ) -> HttpResponse:
        possible = [action for action in self.permitted_actions(request) if action.is_possible_for(obj)] if obj else []
        filters = request.GET.get(FILTERS, "")
        context |= {"staff_actions": possible, "list_url": _address(self.model, "changelist"), "filters": filters}
        return super().render_change_form(request, context, add, change, form_url, obj)


def _action_page(action: StaffAction, model_admin: StaffActionsAdmin, request: HttpRequest, selected: QuerySet[Any]) -> HttpResponse | None:
    """Answer one step of the page: none when it is opened, then "preview" or "confirm"."""
    rows = list(selected.order_by("pk")[: MAX_ROWS + 1])
    if len(rows) > MAX_ROWS:
        model_admin.message_user(request, f"Choose at most {MAX_ROWS} rows at once.", messages.ERROR)
        return None
    step = request.POST.get("step")
    form = action.form(request.POST if step else _initial_data(action.form))
    arguments = form.service_arguments()
    actor = Actor("staff", request.user.pk, shows_reason=form.cleaned_data.get("shows_reason", False))
    if arguments is not None and step == "confirm" and form.is_valid():
        outcomes = [
            action_previews.confirm(
                action,
                row,
                arguments,
                actor=actor,
                reason=form.cleaned_data["reason"],
                confirmed_digest=request.POST.get(f"previewed-{row.pk}", ""),
            )
            for row in rows
        ]
        return _show_outcomes(model_admin, request, action, form, outcomes)
    # The errors of fields that the user has had no chance to fill in are not shown yet.
    if not step:
        form.errors.clear()
    elif step != "confirm":
        form.errors.pop("reason", None)
    previews = [] if arguments is None else [action_previews.preview(action, row, arguments, actor=actor) for row in rows]
    return _render(model_admin, request, action, form, rows, previews)


def _initial_data(form: type[ActionForm]) -> dict[str, Any]:
    """Return the form's initial values as if they had been posted."""
    return {field.name: field.value() for field in form() if field.field.initial is not None}


def _show_outcomes(
    model_admin: StaffActionsAdmin, request: HttpRequest, action: StaffAction, form: ActionForm, outcomes: Sequence[Preview]
) -> HttpResponse:
    """Say which rows the action was done for. For rows that changed since their preview, show the new preview."""
    done = [outcome for outcome in outcomes if outcome.done]
    changed = [outcome for outcome in outcomes if not outcome.done and not outcome.refusal]
    requested = [outcome for outcome in done if outcome.needs_approval]
    done = [outcome for outcome in done if not outcome.needs_approval]
    if done:
        model_admin.message_user(request, f"{action.label}: done for {_row_names(done)}.", messages.SUCCESS)
    if requested:
        text = f"{action.label}: requested for {_row_names(requested)}. Another member of staff has to approve it."
        model_admin.message_user(request, text, messages.WARNING)
    for outcome in outcomes:
        if outcome.refusal:
            model_admin.message_user(request, f"{action.label}: not done for {outcome.row}: {outcome.refusal}", messages.ERROR)
    if changed:
        text = f"{action.label}: not done for {_row_names(changed)}, which changed since the preview. This is what would happen now."
        model_admin.message_user(request, text, messages.WARNING)
        return _render(model_admin, request, action, form, [outcome.row for outcome in changed], changed)
    return HttpResponseRedirect(Origin.of(request, model_admin.model).address_after(action, [outcome.row for outcome in outcomes]))


def _row_names(outcomes: Sequence[Preview]) -> str:
    return ", ".join(str(outcome.row) for outcome in outcomes)


def _render(
    model_admin: StaffActionsAdmin,
    request: HttpRequest,
    action: StaffAction,
    form: ActionForm,
    rows: Sequence[Model],
    previews: Sequence[Preview],
) -> HttpResponse:
    context = {
        **admin.site.each_context(request),
        "title": action.label,
        "opts": model_admin.model._meta,
        "action": action,
        "form": form,
        "rows": rows,
        "previews": previews,
        "can_confirm": any(not preview.refusal for preview in previews),
        "transitions_shown": TRANSITIONS_SHOWN,
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "form_url": _address(model_admin.model, "changelist"),
        "origin": Origin.of(request, model_admin.model),
    }
    return TemplateResponse(request, "admin/loans/action.html", context)
