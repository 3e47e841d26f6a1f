"""Create the application that a web server serves."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "peerloans.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from peerloans.web.door import Door

application = Door(get_wsgi_application(), settings.WEB_THREADS)
