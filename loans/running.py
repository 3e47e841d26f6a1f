"""How do staff have a scheduled job run now? It goes to the workers as beat would send it, and leaves a line in the log."""

import json

from celery import current_app
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError

from loans.errors import Busy, IllegalTransition, NotFound
from loans.ledger import Actor


def run_job(*, job_id: int, actor: Actor, reason: str) -> PeriodicTask:
    """Hand a job to the workers once its line is in the log. Raises Busy where the broker does not take it."""
    job = PeriodicTask.objects.filter(pk=job_id).first()
    if not job:
        raise NotFound(f"There is no job {job_id}.")
    if actor.user_id is None:
        raise IllegalTransition("Only somebody signed in can have a job run.")

    def send() -> None:
        try:
            current_app.send_task(job.task, json.loads(job.args), json.loads(job.kwargs), queue=job.queue)
        except OperationalError as error:
            raise Busy("The broker does not answer, so no worker has it; try again in a moment.") from error

    with transaction.atomic():
        LogEntry.objects.create(
            user_id=actor.user_id,
            content_type=ContentType.objects.get_for_model(PeriodicTask),
            object_id=str(job.pk),
            object_repr=job.name[:200],
            action_flag=CHANGE,
            change_message=f"Asked to run now: {reason}",
        )
        transaction.on_commit(send)
    return job
