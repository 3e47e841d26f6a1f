"""Register the admin pages of loans and of what belongs to them. One module for each group of pages."""

from loans.admin import (
    approvals,
    history,
    investors,
    jobs,
    loans,
    notifications,
    payment_files,
    payments,
    reservations,
    review_items,
    standing_orders,
    statements,
    users,
    waiting_list,
)

__all__ = [
    "approvals",
    "history",
    "investors",
    "jobs",
    "loans",
    "notifications",
    "payment_files",
    "payments",
    "reservations",
    "review_items",
    "standing_orders",
    "statements",
    "users",
    "waiting_list",
]
