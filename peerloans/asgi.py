"""Create the application that a web server serves."""

import os
import resource

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "peerloans.settings")

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from peerloans.web.door import Door

# Each connection takes a file. Many systems allow 256 or 1,024 unless a program asks for more.
FILES = 4_096
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if soft < FILES and soft != resource.RLIM_INFINITY:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES if hard == resource.RLIM_INFINITY else min(FILES, hard), hard))

application = Door(get_wsgi_application(), settings.WEB_THREADS)
