"""Register the admin pages of loans and of what belongs to them. One module for each group of pages."""

from loans.admin import (
    history,
    investors,
    jobs,
    loans,
    notifications,
    payment_files,
    payments,
    reservations,
    review_items,
    statements,
    users,
)

__all__ = [
    "history",
    "investors",
    "jobs",
    "loans",
    "notifications",
    "payment_files",
    "payments",
    "reservations",
    "review_items",
    "statements",
    "users",
]
