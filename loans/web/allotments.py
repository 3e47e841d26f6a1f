"""Show how a funded loan was shared out: on the loan's page, and as CSV."""

import csv
from collections.abc import Iterator
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse

from loans.domain.allotment import SizeBand
from loans.domain.errors import NotFound
from loans.selectors.allotment import LoanAllotment, loan_allotment
from loans.selectors.offers import loan_offer
from peerloans.api.caching import public_page
from peerloans.web.downloads import limited_download
from peerloans.wording import dollars_text, instant_text


@public_page
@limited_download
def allotment_csv(request: HttpRequest, reference: str) -> HttpResponse:
    """Return the size bands of the allotment as CSV, and a last row for all reservations."""
    try:
        allotment = loan_allotment(loan_offer(reference).loan)
    except NotFound as error:
        raise Http404(error.detail) from None
    headers = {"Content-Disposition": f'attachment; filename="allotment-{allotment.loan.reference}.csv"'}
    response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
    writer = csv.writer(response)
    writer.writerow(SizeBand.__slots__)
    for band in (*allotment.basis.bands, allotment.basis.total):
        writer.writerow(getattr(band, name) for name in SizeBand.__slots__)
    return response


def allotment_context(allotment: LoanAllotment) -> dict[str, Any]:
    """Return what the loan's page shows of the allotment."""
    return {"basis": allotment.basis, "funded_at": allotment.funded_at, "facts": list(_facts(allotment))}


def _facts(allotment: LoanAllotment) -> Iterator[tuple[str, str]]:
    """Yield the figures of the loan's rule, each with its label."""
    figures = allotment.basis.figures
    if figures.last_number is not None:
        yield "Last number in the queue that was served", f"{figures.last_number:,}"
    if figures.last_payment_at is not None:
        yield "Last payment that was served", instant_text(figures.last_payment_at, year=True)
    if figures.base is not None:
        yield "Each got first", dollars_text(figures.base)
        yield "Then, of what was asked for beyond that", f"{figures.percent} %"
    elif figures.percent is not None:
        yield "Each got of its amount", f"{figures.percent} %"
    if figures.largest_award is not None:
        yield "The most that one reservation got", dollars_text(figures.largest_award)
    if figures.last_ticket is not None:
        yield "Last ticket that was served", figures.last_ticket
    if allotment.basis.settled_ahead_count:
        yield "Settled ahead of turn by staff", dollars_text(allotment.basis.settled_ahead)
