"""Describe the calls about ZIPs and areas in the OpenAPI document."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
    inline_serializer,
)

from cbsa.api import serializers

Decorated = Callable[[Any], Any]

DATASET: dict[str, Any] = {"vintage": "2015", "imported_at": "2026-01-02T03:04:05Z"}
ANSWER = {
    "zip": "90266",
    "cbsa": "31084",
    "effective_cbsa": "31080",
    "kind": "metropolitan",
    "msa": "Los Angeles-Long Beach-Anaheim, CA",
    "population": {"2014": 13254397, "2015": 13340068},
    "growth_percent": 0.65,
    "matches": [{"cbsa": "31084", "tot_ratio": 1.0, "res_ratio": 1.0, "bus_ratio": 1.0, "oth_ratio": 1.0}],
    **DATASET,
}
RESULTS_EXAMPLE = {"results": [ANSWER, {"zip": "00000", "error": "unknown_zip"}, {"zip": "9026", "error": "invalid_zip"}]}
VINTAGE = {**DATASET, "in_use": True, "latest_year": 2015, "zips": 39464}
HISTORY = {
    "zip": "88338",
    "results": [
        {**DATASET, "in_use": False, "answer": ANSWER | {"zip": "88338", "kind": "none", "msa": None}, "changes": {}},
        {
            "vintage": "2023q3",
            "imported_at": "2026-01-02T03:05:00Z",
            "in_use": True,
            "answer": None,
            "changes": {"kind": {"before": "none", "after": None}},
        },
    ],
}
AREA = {
    "cbsa": "31080",
    "name": "Los Angeles-Long Beach-Anaheim, CA",
    "kind": "metropolitan",
    "parent": None,
    "population": {"2014": 13254397, "2015": 13340068},
    "growth_percent": 0.65,
    "divisions": [{"cbsa": "11244", "name": "Anaheim-Santa Ana-Irvine, CA", "population": {"2015": 3169776}}],
    "counties": [{"fips": "06059", "name": "Orange County, CA", "division": "11244", "population": {"2015": 3169776}}],
    "zips": 537,
    **DATASET,
}
SHARES = {"tot_ratio": 1.0, "res_ratio": 1.0, "bus_ratio": 1.0, "oth_ratio": 1.0}
AREA_ZIP = {"zip": "90266", "cbsa": "31084", "effective_cbsa": "31080", **SHARES}
FOUND = {
    "cbsa": "38900",
    "name": "Portland-Vancouver-Hillsboro, OR-WA",
    "kind": "metropolitan",
    "latest_population": 2389228,
    "zips": 140,
    "matched": "Portland-Vancouver-Hillsboro, OR-WA",
}
SEARCH = {"count": 2, "ambiguous": True, "results": [FOUND], **DATASET}

RESULTS = inline_serializer(
    "ZipResults",
    {
        "results": PolymorphicProxySerializer(
            component_name="ZipResult",
            serializers=[serializers.ZipAnswerSerializer, serializers.ZipErrorSerializer],
            resource_type_field_name=None,
            many=True,
        )
    },
)
ONE_OR_SEVERAL = PolymorphicProxySerializer("ZipAnswers", [serializers.ZipAnswerSerializer, RESULTS], None)

PROBLEM = "application/problem+json"
REFUSALS = {
    400: "`invalid_zip` or `invalid`",
    404: "`unknown_zip`, where one ZIP was asked about; `unknown_vintage`, with `vintages`",
    500: "`server_error`",
    503: "`no_dataset`: nothing imported yet; `unavailable`: try again after `Retry-After` seconds",
}
LIMITED = {429: "`throttled`: try again after `Retry-After` seconds"}
AREA_REFUSALS = REFUSALS | LIMITED | {400: "`invalid`", 404: "`unknown_cbsa`; `unknown_vintage`, with `vintages`"}
UNCHANGED = {304: OpenApiResponse(description="The answer with the ETag in `If-None-Match` still holds.")}

IN_VINTAGE = OpenApiParameter("vintage", str, description="The label of a dataset in place of the one in use.")
ZIP_CODE = OpenApiParameter("zip_code", str, "path", description="Five digits, or ZIP+4.")
CODE = OpenApiParameter("code", str, "path", description="Five digits: of a CBSA, or of a metropolitan division.")


def call(
    operation: str,
    summary: str,
    answer: Any,
    *examples: dict[str, Any],
    media_type: str = "application/json",
    refusals: dict[int, str] = REFUSALS,
    conditional: bool = True,
    **options: Any,
) -> Decorated:
    """Describe a call that needs no log-in: its answer, with examples, and its refusals."""
    refused = {(status, PROBLEM): OpenApiResponse(OpenApiTypes.OBJECT, description) for status, description in refusals.items()}
    answers = [
        OpenApiExample(f"Example {number}", value=example, response_only=True, status_codes=["200"])
        for number, example in enumerate(examples, 1)
    ]
    options["examples"] = [*answers, *options.get("examples", [])]
    responses: dict[Any, Any] = {(200, media_type): answer, **(UNCHANGED if conditional else {}), **refused}
    return extend_schema(operation_id=operation, summary=summary, tags=["ziptocbsa"], auth=[], responses=responses, **options)


zip_detail = call(
    "ziptocbsa_retrieve",
    "The CBSA and the metropolitan area of a ZIP, or of several with commas between",
    ONE_OR_SEVERAL,
    ANSWER,
    parameters=[ZIP_CODE, IN_VINTAGE],
)
zip_list = call(
    "ziptocbsa_list",
    "The same for one ZIP or several",
    ONE_OR_SEVERAL,
    ANSWER,
    RESULTS_EXAMPLE,
    parameters=[
        OpenApiParameter("zip", str, required=True, description="One ZIP, several with commas, or repeated; up to 1,000."),
        IN_VINTAGE,
    ],
)
zip_list_post = call(
    "ziptocbsa_create",
    "The same for a list too long for an address",
    RESULTS,
    RESULTS_EXAMPLE,
    conditional=False,
    refusals=REFUSALS | LIMITED | {413: "`too_large`: the body is too large"},
    request=serializers.ZipListSerializer,
    parameters=[IN_VINTAGE],
    examples=[OpenApiExample("Three ZIPs", value={"zips": ["90266", "00000", "9026"]}, request_only=True)],
)
zip_history = call(
    "ziptocbsa_history",
    "What each vintage says of a ZIP",
    serializers.ZipHistorySerializer,
    HISTORY,
    parameters=[ZIP_CODE],
    refusals=REFUSALS | LIMITED,
)
vintages = call(
    "ziptocbsa_vintages",
    "The vintages, the earliest data first",
    serializers.VintagesSerializer,
    {"results": [VINTAGE]},
    refusals=LIMITED | {400: "`invalid`", 500: REFUSALS[500], 503: REFUSALS[503]},
)
zip_table = call(
    "ziptocbsa_csv",
    "The whole of a vintage as one CSV file",
    OpenApiTypes.STR,
    media_type="text/csv",
    parameters=[IN_VINTAGE],
    refusals=REFUSALS | LIMITED | {400: "`invalid`", 404: "`unknown_vintage`, with `vintages`"},
)
area_detail = call(
    "cbsa_retrieve",
    "A CBSA or a metropolitan division, with its counties",
    serializers.AreaSerializer,
    AREA,
    parameters=[CODE, IN_VINTAGE],
    refusals=AREA_REFUSALS,
)
area_zips = call(
    "cbsa_zips",
    "The ZIPs of an area, with the shares of their addresses that lie there",
    serializers.AreaZipSerializer(many=True),
    AREA_ZIP,
    parameters=[
        CODE,
        IN_VINTAGE,
        OpenApiParameter("partial", bool, description="Also ZIPs of which a part lies there, but which the rule places elsewhere."),
    ],
    refusals=AREA_REFUSALS,
)
area_search = call(
    "cbsa_search",
    "CBSAs by name, for a field in which somebody types",
    serializers.AreaSearchSerializer,
    SEARCH,
    parameters=[
        OpenApiParameter(
            "search", str, required=True, description="Words of a name, each of which may be cut short; up to 100 characters."
        ),
        IN_VINTAGE,
    ],
    refusals=AREA_REFUSALS,
)
