"""What does a system for real have to be told? All that the table in docs/operations.md requires, with values of nobody's.

Its servers are nowhere; who has some names them in their place.
"""

import os

BANK_SECRET = "whsec_" + "a25vd24tdG8tdGhlLXRlc3RzLWFsb25l"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/1",
    "CELERY_BROKER_URL": "amqp://guest@127.0.0.1:1//",
    "SECRET_KEY": "0123456789-known-to-the-tests-alone-and-to-nobody-else",
    "ALLOWED_HOSTS": "127.0.0.1",
    "BANK_WEBHOOK_SECRETS": BANK_SECRET,
    "EMAIL_URL": "dummymail://",
    "EMAIL_FROM": "peerloans <loans@example.org>",
}
