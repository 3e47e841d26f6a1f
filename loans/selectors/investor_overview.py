"""Read an investor's newest transfers and messages for the investor's page in the back office.

Both are found from the investor's reservations. In one statement with its LIMIT, PostgreSQL may walk the newest rows of all investors
instead, and read most of them for an investor whose many reservations are old. OFFSET 0 keeps it from that.
"""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from loans.models.notification import DeliveryStatus

_TRANSFERS = """
    SELECT id FROM (
        SELECT transfer.id, transfer.created_at
        FROM loans_reservation JOIN loans_transfer AS transfer ON reservation_id = loans_reservation.id
        WHERE investor_id = %(investor_id)s OFFSET 0
    ) AS own
    ORDER BY created_at DESC, id DESC LIMIT %(most)s
"""
# A message is about a reservation, an entry of a waiting list, or a loan that the investor watches.
_TRANSITIONS = """
    SELECT transition.id FROM loans_reservation JOIN loans_transition AS transition ON reservation_id = loans_reservation.id
    WHERE investor_id = %s
    UNION ALL
    SELECT transition.id FROM loans_waitinglistentry AS entry JOIN loans_transition AS transition ON waiting_entry_id = entry.id
    WHERE entry.investor_id = %s
"""
_NOTICES = """
    SELECT notice.id FROM loans_watch AS watch JOIN loans_watchnotice AS notice ON watch_id = watch.id WHERE watch.investor_id = %s
"""
# By status: how many, and the newest.
_MESSAGES = f"""
    SELECT status, count(*), (array_agg(delivery.id ORDER BY delivery.id DESC))[1:%s]
    FROM (
        SELECT delivery.id, status FROM ({_TRANSITIONS}) AS own (id) JOIN loans_delivery AS delivery ON transition_id = own.id
        UNION ALL
        SELECT delivery.id, status FROM ({_NOTICES}) AS own (id) JOIN loans_delivery AS delivery ON watch_notice_id = own.id
    ) AS delivery
    GROUP BY status
"""


@dataclass(frozen=True)
class InvestorMessages:
    """How many messages to an investor were sent, wait, and were given up; and the ids of the newest deliveries, newest first."""

    sent: int
    waiting: int
    given_up: int
    newest: list[int]


def newest_transfer_ids(investor_id: int, most: int) -> list[UUID]:
    """Return the ids of the investor's newest transfers and refunds, at most `most`."""
    with connection.cursor() as cursor:
        cursor.execute(_TRANSFERS, {"investor_id": investor_id, "most": most})
        return [row[0] for row in cursor.fetchall()]


def investor_messages(investor_id: int, most: int) -> InvestorMessages:
    """Return the e-mails and webhooks to the investor: their counts, and the newest, at most `most`."""
    with connection.cursor() as cursor:
        cursor.execute(_MESSAGES, [most, investor_id, investor_id, investor_id])
        rows = cursor.fetchall()
    counts = {status: count for status, count, _ in rows}
    newest = sorted((delivery_id for *_, ids in rows for delivery_id in ids), reverse=True)[:most]
    return InvestorMessages(
        sent=counts.get(DeliveryStatus.SENT, 0),
        waiting=counts.get(DeliveryStatus.WAITING, 0),
        given_up=counts.get(DeliveryStatus.GIVEN_UP, 0),
        newest=newest,
    )


def messages_to(investor_id: int) -> Q:
    """Return the condition of the deliveries to the investor."""
    of_history = Q(transition__in=RawSQL(_TRANSITIONS, [investor_id, investor_id]))  # noqa: S611  our own statement; the ids are parameters
    return of_history | Q(watch_notice__in=RawSQL(_NOTICES, [investor_id]))  # noqa: S611
