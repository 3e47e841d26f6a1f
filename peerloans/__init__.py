from peerloans.celery import app as celery_app

__all__ = ["celery_app"]

# The newest heading of CHANGELOG.md, and without its "v" the tag of the release.
__version__ = "1.0.0"
