"""Let time pass in a sandbox: move its clock, and do what fell due meanwhile."""

from datetime import timedelta

from django.utils.module_loading import import_string
from django_celery_beat.models import PeriodicTask

from peerloans.database import sandbox_clock

CELERYS_OWN = "celery."  # beat itself adds celery.backend_cleanup
DELIVERIES = "loans.tasks.deliver"


def let_time_pass(by: timedelta) -> dict[str, str]:
    """Move the clock forward, run each enabled scheduled job once, in this process, and return the line of each, by its task.

    As after a pause of the system, a job finds all that fell due in the span at once. Messages are sent last, so that they say
    what the other jobs did.
    """
    sandbox_clock.move_forward(by)
    scheduled = PeriodicTask.objects.filter(enabled=True, one_off=False).exclude(task__startswith=CELERYS_OWN)
    tasks = scheduled.order_by("pk").values_list("task", flat=True)
    return {task: import_string(task)() for task in sorted(tasks, key=lambda task: task == DELIVERIES)}
