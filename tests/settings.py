"""The project's settings, with places of its own in Redis for each test process."""

import os

os.environ.setdefault("SECRET_KEY", "only-for-tests")
os.environ.setdefault("EMAIL_URL", "memorymail://")
os.environ.setdefault("EMAIL_FROM", "peerloans <loans@example.org>")
os.environ["DEBUG"] = "0" if "DATABASE_URL" in os.environ else "1"

os.environ["THROTTLE"] = os.environ["THROTTLE_LOGIN"] = ""

from peerloans import embedded
from peerloans.settings import *  # noqa: F403
from peerloans.settings import CACHES, STORAGES

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
CACHES["default"]["KEY_PREFIX"] = f"test:{WORKER}"
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
STATIC_ROOT = None  # nothing is collected for tests
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
CELERY_TASK_DEFAULT_QUEUE = f"test-{WORKER}"
if "CELERY_BROKER_URL" not in os.environ:
    CELERY_BROKER_URL = embedded.broker_url(2)
WHITENOISE_AUTOREFRESH = True
