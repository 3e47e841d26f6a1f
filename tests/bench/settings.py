"""The settings of the baselines' site: the project's, spared all middleware but the one that states an answer's length."""

from peerloans.settings import *  # noqa: F403

MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "tests.bench.baselines"
