"""Where does Celery find the application? The schedules lie in the database (django-celery-beat)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "peerloans.settings")
app = Celery("peerloans")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
