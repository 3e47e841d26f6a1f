"""The pages of loans in the admin."""

from loans.admin import registrations  # noqa: F401
