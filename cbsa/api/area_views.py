"""Answer questions about areas over HTTP: a CBSA or a division, its ZIPs, and the search by name."""

from typing import Any

from django.db.models import QuerySet
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cbsa.api import schema
from cbsa.api.serializers import AreaZipSerializer
from cbsa.areas import AreaAnswer, Part, area_answer, area_zips, search_areas, shares_in
from cbsa.models import Zip
from peerloans.api.caching import PublicView
from peerloans.api.pagination import KeysetPagination

SEARCH_CHARACTERS = 100
BOOLEANS = {"true": True, "false": False}


class AreaDetail(PublicView):
    known_parameters = ("vintage",)

    @schema.area_detail
    def get(self, request: Request, code: str) -> Response:
        return Response(as_document(area_answer(code, request.query_params.get("vintage"))))


def as_document(area: AreaAnswer) -> dict[str, Any]:
    """Return the area as JSON-ready values."""
    return {
        "cbsa": area.cbsa,
        "name": area.name,
        "kind": area.kind,
        "parent": area.parent and {"cbsa": area.parent.code, "name": area.parent.name},
        "population": area.population,
        "growth_percent": area.growth_percent,
        "divisions": [{"cbsa": part.code, "name": part.name, "population": part.population} for part in area.divisions],
        "counties": [_county(part) for part in area.counties],
        "zips": area.zips,
        "vintage": area.dataset.vintage,
        "imported_at": area.dataset.imported_at,
    }


def _county(part: Part) -> dict[str, Any]:
    return {"fips": part.code, "name": part.name, "division": part.division or None, "population": part.population}


class AreaZipPages(KeysetPagination):
    """Pages that also name the dataset that they come from."""

    area: AreaAnswer

    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        response.data |= {"vintage": self.area.dataset.vintage, "imported_at": self.area.dataset.imported_at}
        return response

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page = super().get_paginated_response_schema(schema)
        page["properties"] |= {
            "vintage": {"type": "string", "example": "2015"},
            "imported_at": {"type": "string", "format": "date-time", "example": "2026-01-02T03:04:05Z"},
        }
        page["required"] += ["vintage", "imported_at"]
        return page


class AreaZipList(PublicView, generics.ListAPIView[Zip]):
    known_parameters = ("vintage", "partial", "cursor", "page_size")
    queryset = Zip.objects.none()
    serializer_class = AreaZipSerializer
    pagination_class = AreaZipPages

    @schema.area_zips
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Zip]:
        partial = self.request.query_params.get("partial", "false")
        if partial not in BOOLEANS:
            raise ValidationError({"partial": ["Either true or false."]})
        self.area = area_answer(self.kwargs["code"], self.request.query_params.get("vintage"))
        return area_zips(self.area, partial=BOOLEANS[partial])

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        self.paginator.area = self.area  # type: ignore[union-attr]
        shares = shares_in(self.area, page)
        return [{"zip": row.zip, "cbsa": row.cbsa, "effective_cbsa": row.effective_cbsa, **shares[row.zip]} for row in page]


class AreaSearch(PublicView):
    known_parameters = ("search", "vintage")

    @schema.area_search
    def get(self, request: Request) -> Response:
        text = request.query_params.get("search", "").strip()
        if not 0 < len(text) <= SEARCH_CHARACTERS:
            raise ValidationError({"search": [f"Words of an area's name, 1 to {SEARCH_CHARACTERS} characters."]})
        answer = search_areas(text, request.query_params.get("vintage"))
        results = [
            {
                "cbsa": found.cbsa,
                "name": found.name,
                "kind": found.kind,
                "latest_population": found.people,
                "zips": found.zips,
                "matched": found.matched,
            }
            for found in answer.results
        ]
        facts = {"count": answer.count, "ambiguous": answer.ambiguous, "results": results}
        return Response(facts | {"vintage": answer.vintage, "imported_at": answer.imported_at})
