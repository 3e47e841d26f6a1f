"""The settings of the baselines' site: the project's, without middleware except the one that sets Content-Length."""

from peerloans.settings import *  # noqa: F403

MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "tests.bench.baselines"
