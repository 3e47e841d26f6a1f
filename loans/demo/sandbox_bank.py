"""How does the demo's bank treat the transfers that it sees? As its habits and luck have it, the same way for the same seed."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from standardwebhooks import Webhook

from loans.domain.states import Direction, State, TransferStatus
from loans.models import Transfer
from loans.services.payments import Notice

MOST_AT_ONCE = 1_000
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
CENT = Decimal("0.01")


@dataclass(frozen=True)
class Habits:
    """How the bank behaves. `delay` is usual and varies by half; `fail`, `late` and `short` are probabilities.

    Transfers from before `since` are none of its business.
    """

    delay: timedelta
    fail: float
    late: float
    short: float
    seed: int
    since: datetime = BEGINNING


def notices(habits: Habits, at: datetime) -> Iterator[Notice]:
    """What the bank has to say at `at` of transfers that wait for it, the oldest first."""
    waiting = Transfer.objects.filter(
        status__in=[TransferStatus.INITIATED, TransferStatus.DUE], created_at__gte=habits.since
    ).select_related("reservation")
    for transfer in waiting.order_by("created_at", "id")[:MOST_AT_ONCE]:
        notice = notice_of(transfer, habits, at)
        if notice:
            yield notice


def notice_of(transfer: Transfer, habits: Habits, at: datetime) -> Notice | None:
    """What the bank says of one transfer; None while it has nothing to say."""
    draw = random.Random(f"{habits.seed} {transfer.reference}")  # noqa: S311
    luck, patience = draw.random(), draw.random()
    if at < transfer.created_at + habits.delay * (0.5 + patience):
        return None

    def says(kind: str, amount: Decimal = transfer.amount) -> Notice:
        return Notice(f"sandbox-{transfer.reference}", kind, transfer.reference, amount, at)  # type: ignore[arg-type]

    if transfer.direction == Direction.REFUND:
        return says("refund.paid")
    if luck < habits.fail:
        return says("transfer.failed")
    if luck < habits.fail + habits.late:
        return says("transfer.cleared") if _too_late(transfer, at) else None
    if luck < habits.fail + habits.late + habits.short:
        return says("transfer.cleared", transfer.amount - CENT)
    return says("transfer.cleared")


def _too_late(transfer: Transfer, at: datetime) -> bool:
    reservation = transfer.reservation
    return reservation.state == State.CANCELED or (reservation.expires_at is not None and reservation.expires_at <= at)


def signed(notice: Notice, secret: str) -> tuple[dict[bytes | str, bytes | str], bytes]:
    """The headers and the body that tell it, signed as Standard Webhooks prescribes."""
    at = datetime.now(UTC)
    body = json.dumps(vars(notice) | {"amount": str(notice.amount), "occurred_at": notice.occurred_at.isoformat()})
    headers: dict[bytes | str, bytes | str] = {
        "Content-Type": "application/json",
        "webhook-id": notice.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(notice.id, at, body),
    }
    return headers, body.encode()
