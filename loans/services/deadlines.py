"""Set deadlines: those of the business calendar, or in a demo sooner by the setting TIME_LAPSE.

TIME_LAPSE is 1 except in a demo. With 1,440 a day takes a minute.
"""

from datetime import datetime, timedelta

from django.conf import settings

from loans.domain import business_calendar


def time_to_start_transfer() -> timedelta:
    """Return how long a new reservation has until its transfer must be started."""
    return business_calendar.TIME_TO_START_TRANSFER / settings.TIME_LAPSE


def transfer_deadline(at: datetime) -> datetime:
    """Return until when a reservation, made at `at`, must have its transfer started."""
    return at + time_to_start_transfer()


def money_deadline(at: datetime) -> datetime:
    """Return until when the money of a transfer, started at `at`, must come."""
    return at + (business_calendar.money_deadline(at) - at) / settings.TIME_LAPSE
