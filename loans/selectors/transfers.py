"""Read the transfers of reservations: the money on its way to us, and the refunds."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections

from loans.domain.states import Direction, TransferStatus
from loans.models import Reservation, Transfer
from peerloans.database.prepared import Prepared


class TransferRow(NamedTuple):
    """The columns of a transfer that lists show. Rows are read several times as fast as model instances."""

    pk: UUID
    reservation_id: UUID
    direction: str
    reference: str
    method: str
    status: str
    created_at: datetime


AnyTransfer = TypeVar("AnyTransfer", Transfer, TransferRow)

# The ids of a page are one array in binary form: as a hundred parameters they take 1 ms to write into the statement and to parse out of
# it, and as an array of texts 0.08 ms.
_TRANSFERS_OF = Prepared(
    """
    SELECT id, reservation_id, direction, reference, method, status, created_at
    FROM loans_transfer WHERE reservation_id = ANY(%b)
    """
)


# The transfers of each reservation are read from their index. Left to itself, PostgreSQL reads all transfers for an investor with many
# reservations, or walks the newest transfers of all investors; OFFSET 0 keeps it from both.
_NEWEST = """
    SELECT of_reservation.id
    FROM loans_reservation, LATERAL (
        SELECT id, created_at FROM loans_transfer WHERE reservation_id = loans_reservation.id OFFSET 0
    ) AS of_reservation
    WHERE investor_id = %(investor_id)s
    ORDER BY of_reservation.created_at DESC, of_reservation.id DESC LIMIT %(most)s
"""


def newest_transfer_ids(investor_id: int, most: int) -> list[UUID]:
    """Return the ids of the investor's newest transfers and refunds, at most `most`."""
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST, {"investor_id": investor_id, "most": most})
        return [row[0] for row in cursor.fetchall()]


def transfers_of(reservation_ids: Collection[UUID], using: str = DEFAULT_DB_ALIAS) -> dict[UUID, list[TransferRow]]:
    """Return the transfers and refunds of each reservation, read from the database `using`."""
    transfers: dict[UUID, list[TransferRow]] = {reservation_id: [] for reservation_id in reservation_ids}
    with connections[using].cursor() as cursor:
        cursor.execute(_TRANSFERS_OF, [list(reservation_ids)])
        for row in map(TransferRow._make, cursor.fetchall()):
            transfers[row.reservation_id].append(row)
    return transfers


def current_transfer(reservation: Reservation) -> Transfer | None:
    """Return the transfer by which the reservation's money is expected or was received; None before one was started."""
    return current_of(reservation.transfers.all())


def current_of(transfers: Iterable[AnyTransfer]) -> AnyTransfer | None:
    """Return the newest inbound transfer. A reservation that was reinstated can have older ones."""
    inbound = [transfer for transfer in transfers if transfer.direction == Direction.INBOUND]
    return max(inbound, key=lambda transfer: (transfer.created_at, transfer.pk), default=None)


def refunds_to_send(refund_ids: Collection[UUID] | None = None) -> list[Transfer]:
    """Return the refunds that are due, or those of them with these ids, the oldest first, with all that a payment file says of them."""
    due = Transfer.objects.filter(direction=Direction.REFUND, status=TransferStatus.DUE)
    if refund_ids is not None:
        due = due.filter(pk__in=refund_ids)
    related = due.select_related("reservation__investor", "reservation__loan").prefetch_related("reservation__transfers")
    return list(related.order_by("created_at", "id"))
