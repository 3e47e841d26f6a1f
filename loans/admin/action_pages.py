"""Show the page of a staff action: a preview for each selected row, the reason, and the confirmation.

Staff reach the page from a list or from a row's own page. It is posted to the URL of the list, as Django's actions are.
"""

from collections.abc import Callable, Sequence
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

from loans.admin.action_forms import ActionForm
from loans.admin.action_previews import Preview, confirm, preview
from loans.admin.action_summaries import loans_in_total, summary
from loans.admin.actions import StaffAction, actions_on
from loans.domain.actors import Actor
from loans.models import ReviewItem
from peerloans.admin.base import NoDeleteAdmin

MAX_ROWS = 50  # As many as a list shows. Until a preview is made, about 20 ms a row, it holds the locks of all their loans.
TRANSITIONS_SHOWN = 50
FILTERS = "_changelist_filters"  # Django's own name for the filters of the list, in the address of a row's page


@dataclass(frozen=True)
class Origin:
    """Where staff began an action, and go back to: a list with its filters, a row's own page, or a review item that asks for it."""

    model: type[Model]
    filters: str
    review_item: str
    row: str  # the primary key of the row whose page it was

    @classmethod
    def of(cls, request: HttpRequest, rows: Sequence[Model], model: type[Model]) -> Self:
        """Read it from the form. A list posts to its own address, with its filters in it; the other pages name the list's filters."""
        filters = QueryDict(request.POST[FILTERS]) if FILTERS in request.POST else request.GET
        review_item = request.POST.get("review_item", "")
        row = request.POST.get("row_page", "")
        return cls(
            model,
            filters.urlencode(),
            review_item if review_item.isascii() and review_item.isdecimal() else "",
            row if row in {str(each.pk) for each in rows} else "",
        )

    @property
    def list_address(self) -> str:
        return _address(self.model, "changelist") + (f"?{self.filters}" if self.filters else "")

    @property
    def back_address(self) -> str:
        if self.review_item:
            return _address(ReviewItem, "change", self.review_item)
        return self._row_address(self.row) if self.row else self.list_address

    @property
    def name(self) -> str:
        if self.review_item:
            return str(ReviewItem._meta.verbose_name)
        return str(self.model._meta.verbose_name) if self.row else "list"

    def address_after(self, action: StaffAction, rows: Sequence[Model]) -> str:
        """Return where staff go once the action is done: to the only row, unless it needs nothing more, or else back."""
        if self.review_item:
            return self.back_address
        return self.list_address if len(rows) != 1 or action.ends_row else self._row_address(rows[0].pk)

    def _row_address(self, row: Any) -> str:
        return _address(self.model, "change", row) + (f"?{urlencode({FILTERS: self.filters})}" if self.filters else "")


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
        permitted = self.permitted_actions(request) if obj else []
        reasons = [(action, action.why_not(obj)) for action in permitted]
        filters = request.GET.get(FILTERS, "")
        context |= {
            "staff_actions": [action for action, reason in reasons if not reason],
            "impossible_actions": [(action, reason) for action, reason in reasons if reason],
            "list_url": _address(self.model, "changelist"),
            "filters": filters,
        }
        return super().render_change_form(request, context, add, change, form_url, obj)


def _action_page(action: StaffAction, model_admin: StaffActionsAdmin, request: HttpRequest, selected: QuerySet[Any]) -> HttpResponse | None:
    """Answer one step of the page: none when it is opened, then "preview" or "confirm"."""
    rows = list(selected.order_by(*action.target.row_order)[: MAX_ROWS + 1])
    if len(rows) > MAX_ROWS:
        model_admin.message_user(request, f"Choose at most {MAX_ROWS} rows at once.", messages.ERROR)
        return None
    step = request.POST.get("step")
    form = action.form(request.POST if step else _initial_data(action.form, rows), rows=rows)
    arguments = form.service_arguments()
    actor = Actor("staff", request.user.pk, shows_reason=form.cleaned_data.get("shows_reason", False))
    if arguments is not None and step == "confirm" and form.is_valid():
        outcomes = [
            confirm(
                action,
                row,
                arguments,
                actor=actor,
                reason=form.cleaned_data["reason"],
                confirmed_digest=request.POST.get(f"previewed-{row.pk}", ""),
            )
            for row in rows
        ]
        return _show_outcomes(model_admin, request, action, form, outcomes, partial(preview, action, arguments=arguments, actor=actor))
    # The errors of fields that the user has had no chance to fill in are not shown yet.
    if not step:
        form.errors.clear()
    elif step != "confirm":
        for name in form.ASKED_LAST:
            form.errors.pop(name, None)
    previews = [] if arguments is None else preview(action, rows, arguments, actor=actor)
    return _render(model_admin, request, action, form, rows, previews)


def _initial_data(form: type[ActionForm], rows: Sequence[Model]) -> dict[str, Any]:
    """Return the form's initial values as if they had been posted."""
    return {field.name: field.value() for field in form(rows=rows) if field.field.initial is not None}


def _show_outcomes(
    model_admin: StaffActionsAdmin,
    request: HttpRequest,
    action: StaffAction,
    form: ActionForm,
    outcomes: Sequence[Preview],
    preview_again: Callable[[Sequence[Model]], list[Preview]],
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
        rows = [outcome.row for outcome in changed]
        return _render(model_admin, request, action, form, rows, preview_again(rows))
    rows = [outcome.row for outcome in outcomes]
    return HttpResponseRedirect(Origin.of(request, rows, model_admin.model).address_after(action, rows))


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
        "button": action.button(rows),
        "leave": f"Keep {action.names(rows)}" if action.is_final else "",
        "previews": previews,
        "summary": summary(action, previews) if previews else "",
        "loans_in_total": loans_in_total(previews),
        "can_confirm": any(not each.refusal for each in previews),
        "transitions_shown": TRANSITIONS_SHOWN,
        "checkbox_name": ACTION_CHECKBOX_NAME,
        "form_url": _address(model_admin.model, "changelist"),
        "origin": Origin.of(request, rows, model_admin.model),
    }
    return TemplateResponse(request, "admin/loans/action.html", context)
