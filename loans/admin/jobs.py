"""Edit the schedules of the jobs, and run a job now.

What a job does, and with which arguments, is part of the program: migrations insert the jobs. A user who could edit that could let
a worker run any task.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from loans.admin.action_pages import StaffActionsAdmin

admin.site.unregister(PeriodicTask)

SCHEDULE_FIELDS: list[Any] = ["enabled", "interval", "crontab", "clocked", "solar", "start_time"]
FIXED_FIELDS: list[Any] = ["name", "task", "args", "kwargs", "expire_seconds", "last_run_at", "total_run_count"]


class ScheduleForm(forms.ModelForm):
    """The schedule of a job. The model checks that it has exactly one."""

    class Meta:
        model = PeriodicTask
        fields = SCHEDULE_FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "start_time" in self.fields:  # not for those who may only view
            date_widget, time_widget = self.fields["start_time"].widget.widgets
            date_widget.attrs["aria-label"], time_widget.attrs["aria-label"] = "Date of the start", "Time of the start"


@admin.register(PeriodicTask)
class JobAdmin(PeriodicTaskAdmin, StaffActionsAdmin):
    """Replaces the actions of django-celery-beat by those that need a permission and a reason."""

    actions = []
    form = ScheduleForm
    fieldsets = [(None, {"fields": FIXED_FIELDS}), ("Schedule", {"fields": SCHEDULE_FIELDS})]
    readonly_fields = FIXED_FIELDS

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
