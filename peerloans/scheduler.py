"""Run the schedules of django-celery-beat, also after the clock was set back.

The schedules are rows of the database: loans/migrations/0003_schedules.py inserts the first ones, and staff edit them in the admin.
"""

import logging
from datetime import datetime
from typing import Any

from django.utils import timezone
from django_celery_beat.schedulers import DatabaseScheduler, ModelEntry

logger = logging.getLogger(__name__)


class Entry(ModelEntry):  # type: ignore[misc]
    """A job whose last run lies in the future counts as run now, so that its next run is one period away."""

    last_run_at: datetime

    def is_due(self) -> Any:
        now = timezone.now()
        if self.last_run_at > now:
            logger.warning("The last run of %s lies in the future, at %s: the clock was set back.", self.name, self.last_run_at)
            self.last_run_at = self.model.last_run_at = now
            self.save()
        return super().is_due()


class Scheduler(DatabaseScheduler):  # type: ignore[misc]
    """The scheduler of beat."""

    Entry = Entry
