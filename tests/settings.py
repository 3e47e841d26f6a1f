"""The project's settings, with places of its own in Redis for each test process."""

import os

os.environ.setdefault("EMAIL_URL", "memorymail://")
os.environ.setdefault("EMAIL_FROM", "peerloans <loans@example.org>")
os.environ["DEBUG"] = "1"  # so that what the environment does not name is embedded

os.environ["THROTTLE"] = os.environ["THROTTLE_DOWNLOAD"] = os.environ["THROTTLE_LOGIN"] = ""

from peerloans.devserver import embedded
from peerloans.settings import *  # noqa: F403
from peerloans.settings import CACHES, STORAGES

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
DEBUG = WEBHOOKS_ALLOW_PRIVATE_NETWORKS = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
CACHES["default"]["KEY_PREFIX"] = f"test:{WORKER}"
CACHES["default"]["OPTIONS"] |= {"SOCKET_CONNECT_TIMEOUT": 5, "SOCKET_TIMEOUT": 5}  # a busy machine is no fault
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
STATIC_ROOT = None  # type: ignore[assignment]  # nothing is collected for tests
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_DEFAULT_QUEUE = f"test-{WORKER}"
CELERY_TASK_QUEUES = {
    name: {"exchange": name, "routing_key": name} for name in (CELERY_TASK_DEFAULT_QUEUE, f"{CELERY_TASK_DEFAULT_QUEUE}-deliveries")
}
CELERY_TASK_ROUTES = {"loans.tasks.deliver": {"queue": f"{CELERY_TASK_DEFAULT_QUEUE}-deliveries"}}
if "CELERY_BROKER_URL" not in os.environ:
    CELERY_BROKER_URL = embedded.broker_url(2)
WHITENOISE_AUTOREFRESH = True
