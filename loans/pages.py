"""What does a person see who opens the site? The loans on offer, and the metropolitan area of a ZIP."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from cbsa import lookup
from cbsa.errors import UnknownZip
from cbsa.rule import five_digits
from loans import limits, remaining, selectors
from loans.models import Loan
from loans.selectors import Offer
from peerloans.errors import Problem

LOANS_ON_A_PAGE = 24


@dataclass(frozen=True)
class Card:
    """A loan on offer, as it is drawn. `remaining` is the value that is shown everywhere, from Redis."""

    offer: Offer
    remaining: Decimal

    @property
    def loan(self) -> Loan:
        return self.offer.loan

    @property
    def settled(self) -> Decimal:
        return max(Decimal(0), self.loan.amount - self.remaining)

    @property
    def limit(self) -> Decimal:
        return limits.limit(self.remaining, self.loan.overbooking_rate)

    @property
    def settled_percent(self) -> int:
        """Whole percents of the loan, rounded down, so that 100 means all of it."""
        return int(100 * self.settled / self.loan.amount)

    @property
    def bar(self) -> dict[str, str]:
        """Where the parts of the bar begin and end, in percents of its width. It ends where overbooking does."""
        width = max(self.loan.amount, self.settled + max(self.limit, self.offer.claimed))
        ends = {"settled": self.settled, "claimed": self.offer.claimed, "amount": self.loan.amount}
        return {name: f"{100 * end / width:.2f}%" for name, end in ends.items()}


@require_safe
def front(request: HttpRequest) -> HttpResponse:
    """The front page; with `?zip=` it answers a ZIP, too, and its status is that of the answer."""
    page = _page(request.GET.get("page", "1"))
    offers = selectors.offers_closing_next((page - 1) * LOANS_ON_A_PAGE, LOANS_ON_A_PAGE + 1)
    shown = offers[:LOANS_ON_A_PAGE]
    as_of = shown[0].at if shown else timezone.now()
    values = remaining.shown([offer.loan for offer in shown], as_of)
    asked = request.GET.get("zip", "").strip()
    answer, problem = _zip_answer(asked) if asked else (None, None)
    context = {
        "cards": [Card(offer, values[offer.loan.pk].amount) for offer in shown],
        "as_of": as_of,
        "page": page,
        "previous_page": page - 1,
        "next_page": page + 1 if len(offers) > len(shown) else None,
        "asked": asked,
        "answer": answer,
        "problem": problem,
    }
    return render(request, "front.html", context, status=problem.status if problem else 200)


def _page(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len("9999") and int(text)):
        raise Http404("There is no such page of loans.")
    return int(text)


def _zip_answer(asked: str) -> tuple[dict[str, Any] | None, Problem | None]:
    """What is known of the ZIP, or why nothing is."""
    try:
        zip_code = five_digits(asked)
        answers = lookup.find([zip_code]).answers
        if zip_code not in answers:
            raise UnknownZip(f"ZIP {zip_code} is not in the data in use.")
    except Problem as problem:
        return None, problem
    answer = json.loads(answers[zip_code])
    answer["year"], answer["people"] = max(answer["population"].items(), default=(None, None))
    return answer, None
