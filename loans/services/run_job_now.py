"""Run a scheduled job now, at the request of staff: send it to the workers, as the scheduler does, and record who asked.

The jobs' schedules are rows that staff edit; loans/migrations/0003_schedules.py inserts the first ones.
"""

import json

from celery import current_app
from django.db import transaction
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError

from loans.domain.actors import Actor, user_of
from loans.domain.errors import Busy, NotFound
from peerloans.admin.audit_log import log_admin_action


def run_scheduled_job(*, job_id: int, actor: Actor, reason: str) -> PeriodicTask:
    """Record in the audit log who asks for the job and why; then send it to the workers, and return it.

    Raises:
        NotFound: there is no such job.
        NotPermitted: the actor is no user.
        Busy: the broker does not answer. The request stays in the audit log.
    """
    job = PeriodicTask.objects.filter(pk=job_id).first()
    if not job:
        raise NotFound(f"There is no job {job_id}.")
    user_id = user_of(actor)

    def send() -> None:
        try:
            current_app.send_task(job.task, json.loads(job.args), json.loads(job.kwargs), queue=job.queue)
        except OperationalError as error:
            raise Busy("The broker does not answer, so no worker has it; try again in a moment.") from error

    with transaction.atomic():
        log_admin_action(user_id, job, f"Asked to run now: {reason}")
        transaction.on_commit(send)
    return job
