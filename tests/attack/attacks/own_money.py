"""As Operations, record money on one's own reservation, make oneself accredited, and approve what one has requested oneself."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import uuid4

from django.utils.timezone import localtime

from tests.attack.browser import Browser
from tests.attack.site import PASSWORD, Result, Site, make_loans

TITLE = "Operations record money for themselves and approve their own requests"
LOAN = "AT-OWN"
ROUNDS = 5
RESERVATIONS, APPROVALS = "/admin/loans/reservation/", "/admin/loans/approvalrequest/"


def prepare(site: Site) -> None:
    """Make olga an investor with a reservation whose transfer is on the way, and another investor with a larger one."""
    from loans.domain.actors import Actor
    from loans.models import Investor, User
    from loans.services.reservations import reserve, start_transfer

    make_loans([LOAN])
    site.new_token("buyer")
    accredited_until = datetime(2099, 1, 1, tzinfo=UTC).date()
    olga = Investor.objects.create(user=User.objects.get(username="olga"), name="Olga", accredited_until=accredited_until)
    for investor, amount in ((olga, 5_000), (Investor.objects.get(user__username="buyer"), 20_000)):
        made = reserve(reference=LOAN, investor=investor, amount=Decimal(amount))
        start_transfer(reservation_id=made.pk, method="wire", actor=Actor("investor"), investor_id=investor.pk)


def attack(site: Site) -> Result:
    from loans.models import ApprovalRequest, Investor, Reservation

    result = Result(0)
    own, others = Reservation.objects.filter(loan__reference=LOAN).order_by("number")
    olga = Browser(site, "olga", PASSWORD, "203.0.113.210")
    for _ in range(ROUNDS):
        result.times += 4
        money = {"notice_id": str(uuid4()), "occurred_at": f"{localtime():%Y-%m-%dT%H:%M}"}
        olga.act(RESERVATIONS, "record_money", own.pk, amount="5000.00", **money)
        olga.act(RESERVATIONS, "settle_ahead", own.pk)
        olga.act(RESERVATIONS, "record_money", others.pk, amount="20000.00", **money)
        for request in ApprovalRequest.objects.filter(loan__reference=LOAN):
            olga.act(APPROVALS, "approve", request.pk)
        olga.post(f"/admin/loans/investor/{own.investor_id}/change/", {"name": "Olga", "accredited_until": "2199-01-01"})
    own.refresh_from_db()
    others.refresh_from_db()
    if own.received or own.settled_amount:
        result.broken.append("she recorded money on her own reservation")
    if others.received:
        result.broken.append("she recorded $20,000 without a second person")
    requests = ApprovalRequest.objects.filter(loan__reference=LOAN)
    if not requests or requests.exclude(state="waiting"):
        result.broken.append(f"her requests are {sorted(requests.values_list('state', flat=True))}, not waiting")
    if Investor.objects.get(pk=own.investor_id).accredited_until.year > 2099:
        result.broken.append("she prolonged her own accreditation")
    return result
