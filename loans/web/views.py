"""What does a person see who opens the site? The market, each loan by itself, and the metropolitan area of a ZIP."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from cbsa import lookup
from cbsa.errors import InvalidZip, UnknownZip
from cbsa.rules import NO_CBSA, five_digits
from loans import remaining_cache
from loans.charts import fill_curve_chart
from loans.domain import limits
from loans.domain.errors import NotFound
from loans.domain.fill_curve import FillPoint
from loans.domain.states import LoanStatus
from loans.models import Loan
from loans.selectors.loan_filter import LoanFilter
from loans.selectors.loans import PUBLIC, loan_fill_curve, market_loans, public_places
from loans.selectors.offers import LoanOffer, loan_offer, loan_offers
from peerloans.api.caching import page_for_anyone
from peerloans.errors import Problem
from peerloans.web import charts

LOANS_ON_A_PAGE = 24
CURVE_SECONDS = 60
"""How old a loan's curve may be: so its history is read at most so often, however many look at it."""

ORDERINGS = (
    ("", "closing next"),
    ("-opens_at", "newest"),
    ("-annual_rate", "highest rate"),
    ("ltv", "lowest loan to value"),
    ("term_months", "shortest term"),
    ("-remaining", "most remaining"),
    ("-amount", "largest"),
)
RULES_TOLD = {
    "fifo": "In queue order: who reserved first is settled first.",
    "first_funded": "In the order in which the money comes.",
    "pro_rata": "Everybody whose money is here gets the same part of what they asked for.",
}


@dataclass(frozen=True)
class Card:
    """A loan on offer, as it is drawn. `remaining` is the value that is shown, in lists the one from Redis."""

    offer: LoanOffer
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

    @property
    def overbooking_percent(self) -> Decimal:
        return 100 * self.loan.overbooking_rate

    @property
    def pieces(self) -> int:
        """Of the minimum, in what remains."""
        return limits.pieces(self.remaining, self.loan.minimum)

    @property
    def closing_piece(self) -> Decimal:
        """What remains beside those."""
        return self.remaining - self.pieces * self.loan.minimum


def cards(loan_ids: Sequence[int]) -> list[Card]:
    offers = loan_offers(loan_ids)
    values = remaining_cache.read([offer.loan for offer in offers], offers[0].at) if offers else {}
    return [Card(offer, values[offer.loan.pk].amount) for offer in offers]


# --- The market -----------------------------------------------------------------------------------------------------
@page_for_anyone
def market_page(request: HttpRequest) -> HttpResponse:
    """The front page. Without a word on the status it shows the open loans; a wrong filter lists none and is explained."""
    asked = request.GET.copy()
    number = _page(asked.pop("page", ["1"])[-1])
    context = {
        "asked": asked.dict(),
        "filtered": any(asked.values()),
        "query": asked.urlencode(),
        "orderings": ORDERINGS,
        "statuses": (*((status, str(status)) for status in PUBLIC), ("", "open and funded")),
        "places": public_places(),
        "page": number,
    }
    asked.setdefault("status", LoanStatus.OPEN)
    context["status"] = asked["status"]
    chosen = LoanFilter(asked, market_loans())
    context["wrong"] = chosen.errors
    if not chosen.is_valid():
        return render(request, "market.html", context, status=400)
    ids = chosen.qs.values_list("pk", flat=True)
    start, count = (number - 1) * LOANS_ON_A_PAGE, ids.count()
    context |= {
        "count": count,
        "cards": cards(list(ids[start : start + LOANS_ON_A_PAGE])),
        "pages": -(-count // LOANS_ON_A_PAGE),
        "previous_page": number - 1,
        "next_page": number + 1 if start + LOANS_ON_A_PAGE < count else None,
    }
    return render(request, "market.html", context)


def _page(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= len("9999") and int(text)):
        raise Http404("There is no such page of loans.")
    return int(text)


# --- A loan ---------------------------------------------------------------------------------------------------------
@page_for_anyone
def loan_page(request: HttpRequest, reference: str) -> HttpResponse:
    try:
        offer = loan_offer(reference)
    except NotFound as error:
        raise Http404(error.detail) from None
    if offer.loan.status not in PUBLIC:
        raise Http404(f"There is no loan {reference}.")
    context = {
        "card": Card(offer, offer.loan.remaining),
        "rule": RULES_TOLD[offer.loan.settlement_rule],
        "chart": _filled(offer),
        "metro": _metro(offer.loan.zip) if offer.loan.market_cbsa else None,
    }
    return render(request, "loan.html", context)


def _filled(offer: LoanOffer) -> str:
    read = partial(loan_fill_curve, offer)
    points: list[FillPoint] = cache.get_or_set(f"curve:{offer.loan.pk}", read, CURVE_SECONDS) or read()
    return fill_curve_chart(offer.loan, points)


def _metro(zip_code: str) -> dict[str, Any] | None:
    """What the ZIP data say; None where they say nothing by now."""
    try:
        return _known(zip_code)
    except Problem:
        return None


# --- A ZIP ----------------------------------------------------------------------------------------------------------
@page_for_anyone
def zip_form_page(request: HttpRequest) -> HttpResponse:
    """Where the box leads: to the page of the ZIP, or to why there is none."""
    asked = request.GET.get("zip", "").strip()
    if not asked:
        return render(request, "zip.html")
    try:
        return redirect("zip-page", five_digits(asked))
    except InvalidZip as problem:
        return render(request, "zip.html", {"asked": asked, "problem": problem}, status=problem.status)


@page_for_anyone
def zip_page(request: HttpRequest, asked: str) -> HttpResponse:
    try:
        code = five_digits(asked)
        if code != asked:
            return redirect("zip-page", code)
        answer = _known(code)
    except Problem as problem:
        return render(request, "zip.html", {"asked": asked, "problem": problem}, status=problem.status)
    there = {"market_cbsa": answer["effective_cbsa"]} if answer["msa"] else {"zip": code}
    ids = market_loans().filter(status=LoanStatus.OPEN, **there).values_list("pk", flat=True)[: LOANS_ON_A_PAGE + 1]
    shown = cards(list(ids))
    context = {
        "asked": code,
        "answer": answer,
        "chart": _people(answer),
        "cards": shown[:LOANS_ON_A_PAGE],
        "more": len(shown) > LOANS_ON_A_PAGE,
    }
    return render(request, "zip.html", context)


def _people(answer: dict[str, Any]) -> str:
    told = f"How many people live in {answer['msa']}, by year."
    return charts.bars("People by year", told, sorted(answer["population"].items()))


def _known(code: str) -> dict[str, Any]:
    """What is known of a ZIP of five digits, as the API answers it, and the latest estimate of its people."""
    answers = lookup.find([code]).answers
    if code not in answers:
        raise UnknownZip(f"ZIP {code} is not in the data in use.")
    answer: dict[str, Any] = json.loads(answers[code])
    answer["year"], answer["people"] = max(answer["population"].items(), default=(None, None))
    answer["nowhere"] = answer["cbsa"] == NO_CBSA
    answer["shares"] = [(cbsa, [100 * ratio for ratio in ratios]) for cbsa, *ratios in (match.values() for match in answer["matches"])]
    return answer
