"""The settings of the baselines' site: the project's, without middleware except the one that sets Content-Length."""

from peerloans.settings import *  # noqa: F403
from peerloans.settings import REST_KNOX

MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
REST_KNOX |= {"AUTH_HEADER_PREFIX": "Bearer"}  # of the tutorial's site, which authenticates by Knox's own class
ROOT_URLCONF = "tests.bench.baselines"
