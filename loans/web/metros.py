"""Serve the public pages of metropolitan and micropolitan areas: the search by name, and each area with its loans."""

from collections.abc import Sequence
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from cbsa import areas, lookup
from cbsa.errors import NoDataset, UnknownArea, UnknownVintage
from cbsa.rules import growth_percent
from loans.domain.states import LoanStatus
from loans.selectors.loans import market_loans
from loans.web.loan_cards import loan_cards
from loans.web.paging import LOANS_PER_PAGE
from peerloans.api.caching import public_page
from peerloans.web import charts

SEARCH_CHARACTERS = 100
ZIPS_SHOWN_OPEN = 60  # more are folded away, since New York has nine hundred


@public_page
def metro_search(request: HttpRequest) -> HttpResponse:
    """Show the areas that match the search, or the largest ones where the field is empty."""
    text = request.GET.get("search", "").strip()[:SEARCH_CHARACTERS]
    try:
        answer = areas.search_areas(text) if text else None
        context = {"answer": answer, "results": answer.results if answer else areas.largest_areas()}
    except NoDataset as problem:
        return _metro_problem(request, problem, 503, search=text)
    return render(request, "loans/metros.html", {"search": text, **context})


@public_page
def metro_detail(request: HttpRequest, code: str) -> HttpResponse:
    """Show an area of the data in use, or of the vintage that is asked for."""
    vintage = request.GET.get("vintage")
    try:
        area = areas.area_answer(code, vintage)
    except NoDataset as problem:
        return _metro_problem(request, problem, 503)
    except UnknownArea as problem:
        return _metro_problem(request, problem, 404)
    except UnknownVintage as problem:
        raise Http404(problem.detail) from None
    ids = market_loans().filter(status=LoanStatus.OPEN, market_cbsa=area.cbsa).values_list("pk", flat=True)[: LOANS_PER_PAGE + 1]
    cards = loan_cards(list(ids))
    year = max(area.population, default=None)
    zips = areas.area_zip_codes(area)
    context = {
        "area": area,
        "dataset": area.dataset,
        "year": year,
        "people": area.population.get(year or ""),
        "counties": _part_rows(area.counties),
        "divisions": _part_rows(area.divisions),
        "chart": charts.bars("Population by year", f"Population of {area.name}, by year.", sorted(area.population.items())),
        "zips": zips,
        "fold_zips": len(zips) > ZIPS_SHOWN_OPEN,
        "other_vintages": [dataset.vintage for dataset in lookup.vintages() if dataset != area.dataset],
        "cards": cards[:LOANS_PER_PAGE],
        "more": len(cards) > LOANS_PER_PAGE,
    }
    return render(request, "loans/metro.html", context)


def metro_values(answer: lookup.ZipAnswer) -> dict[str, Any]:
    """Return the template values about a ZIP's metropolitan area; `year` and `people` are of its latest population estimate."""
    year, people = max(answer.population.items(), default=(None, None))
    return {"answer": answer, "year": year, "people": people}


def _part_rows(parts: Sequence[areas.Part]) -> list[dict[str, Any]]:
    """Return the template values of divisions or counties, the largest first."""
    rows = [
        {"part": part, "people": part.population[max(part.population)], "growth_percent": growth_percent(part.population)} for part in parts
    ]
    return sorted(rows, key=lambda row: -row["people"])


def _metro_problem(request: HttpRequest, problem: NoDataset | UnknownArea, status: int, search: str = "") -> HttpResponse:
    return render(request, "loans/metros.html", {"problem": problem, "search": search}, status=status)
