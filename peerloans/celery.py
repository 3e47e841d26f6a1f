"""Create the Celery application. django-celery-beat keeps the schedules in the database."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "peerloans.settings")
app = Celery("peerloans")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
