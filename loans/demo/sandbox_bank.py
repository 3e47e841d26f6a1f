"""Play the bank in a demo: decide what becomes of each transfer, by probabilities and a seed, and sign the notice about it."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from standardwebhooks import Webhook

from loans.domain.states import Direction, ReservationState, TransferStatus
from loans.models import Transfer
from loans.services.bank_events import Notice

MOST_AT_ONCE = 1_000
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Habits:
    """How the bank behaves.

    A notice comes half to one and a half times `delay` after the transfer. `fail`, `late` and `short` are the probabilities that a
    transfer fails, that its money comes after its deadline, and that it is a cent short. Transfers from before `since` are ignored.
    """

    delay: timedelta
    fail: float
    late: float
    short: float
    seed: int
    since: datetime = BEGINNING


def notices(habits: Habits, at: datetime) -> Iterator[Notice]:
    """Yield the notices that the bank gives at `at` about transfers on their way and refunds due, oldest first."""
    transfers = Transfer.objects.filter(
        status__in=[TransferStatus.INITIATED, TransferStatus.DUE, TransferStatus.SENT], created_at__gte=habits.since
    ).select_related("reservation")
    for transfer in transfers.order_by("created_at", "id")[:MOST_AT_ONCE]:
        if notice := notice_of(transfer, habits, at):
            yield notice


def notice_of(transfer: Transfer, habits: Habits, at: datetime) -> Notice | None:
    """Return the notice about one transfer; None while there is none. The same seed and reference have the same outcome."""
    draw = random.Random(f"{habits.seed} {transfer.reference}")  # noqa: S311
    chance, delay_share = draw.random(), draw.random()
    if at < transfer.created_at + habits.delay * (0.5 + delay_share):
        return None

    def notice(kind: str, amount: Decimal = transfer.amount) -> Notice:
        return Notice(f"sandbox-{transfer.reference}", kind, transfer.reference, amount, at)  # type: ignore[arg-type]

    if transfer.direction == Direction.REFUND:
        return notice("refund.paid")
    if chance < habits.fail:
        return notice("transfer.failed")
    if chance < habits.fail + habits.late:
        return notice("transfer.cleared") if _is_too_late(transfer, at) else None
    if chance < habits.fail + habits.late + habits.short:
        return notice("transfer.cleared", transfer.amount - CENT)
    return notice("transfer.cleared")


def _is_too_late(transfer: Transfer, at: datetime) -> bool:
    reservation = transfer.reservation
    return reservation.state == ReservationState.CANCELED or (reservation.expires_at is not None and reservation.expires_at <= at)


def signed_request(notice: Notice, secret: str) -> tuple[dict[bytes | str, bytes | str], bytes]:
    """Return the headers and the body of the request that delivers the notice, signed as Standard Webhooks prescribes."""
    at = datetime.now(UTC)
    content = {"id": notice.id, "type": notice.type, "reference": notice.reference}
    body = json.dumps(content | {"amount": str(notice.amount), "occurred_at": notice.occurred_at.isoformat()})
    headers: dict[bytes | str, bytes | str] = {
        "Content-Type": "application/json",
        "webhook-id": notice.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(notice.id, at, body),
    }
    return headers, body.encode()
