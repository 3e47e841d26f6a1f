"""Edit the schedules of the jobs, and run a job now."""

from django.contrib import admin
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from loans.admin.action_pages import StaffActionsAdmin

admin.site.unregister(PeriodicTask)


@admin.register(PeriodicTask)
class JobAdmin(PeriodicTaskAdmin, StaffActionsAdmin):
    """Replaces the actions of django-celery-beat by those that need a permission and a reason."""

    actions = []
