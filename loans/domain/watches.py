"""Say how many loans an investor may watch, and for how long an e-mail about a watched loan is the only one."""

from datetime import timedelta

MOST_WATCHES = 200
QUIET = timedelta(hours=24)
"""After an e-mail about a loan there is no other for so long, unless the investor looks at the loan's page."""
