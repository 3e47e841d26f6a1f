"""Answer questions about ZIPs over HTTP."""

import json
from functools import lru_cache
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
    inline_serializer,
)
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from cbsa.api.serializers import ZIPS_LIMIT, UnknownZipSerializer, ZipAnswerSerializer, ZipsSerializer
from cbsa.errors import InvalidZip, UnknownZip
from cbsa.lookup import REMEMBERED_ZIPS, ZipAnswer, ZipAnswers, is_remembered, zip_answers
from cbsa.rules import five_digits
from peerloans.api.caching import CrossOriginView, allow_any_origin
from peerloans.api.strict_fields import refuse_unknown_parameters

ANSWER = {
    "zip": "90266",
    "cbsa": "31084",
    "effective_cbsa": "31080",
    "msa": "Los Angeles-Long Beach-Anaheim, CA",
    "population": {"2014": 13254397, "2015": 13340068},
    "growth_percent": 0.65,
    "matches": [{"cbsa": "31084", "tot_ratio": 1.0, "res_ratio": 1.0, "bus_ratio": 1.0, "oth_ratio": 1.0}],
    "vintage": "2015",
}
ONE = OpenApiExample("One ZIP", value=ANSWER, response_only=True, status_codes=["200"])
SEVERAL = OpenApiExample(
    "Several ZIPs", value={"results": [ANSWER, {"zip": "00000", "error": "unknown_zip"}]}, response_only=True, status_codes=["200"]
)
RESULTS = inline_serializer(
    "ZipResults",
    {
        "results": PolymorphicProxySerializer(
            component_name="ZipResult",
            serializers=[ZipAnswerSerializer, UnknownZipSerializer],
            resource_type_field_name=None,
            many=True,
        )
    },
)
ONE_OR_SEVERAL = PolymorphicProxySerializer("ZipAnswers", [ZipAnswerSerializer, RESULTS], None)
PROBLEM = (OpenApiTypes.OBJECT, "application/problem+json")
REFUSALS = {
    (status, PROBLEM[1]): OpenApiResponse(PROBLEM[0], description)
    for status, description in (
        (400, "`invalid_zip` or `invalid`"),
        (404, "`unknown_zip`, where one ZIP was asked about"),
        (500, "`server_error`"),
        (503, "`no_dataset`: nothing imported yet; `unavailable`: try again after `Retry-After` seconds"),
    )
}


class ZipToCbsaView(CrossOriginView):
    """Public reads. Caches may keep an answer and ask whether it still holds."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Skip what DRF does first: these calls have no log-in, no throttle and one media type."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response.headers.setdefault("Cache-Control", "no-store")
        return super().finalize_response(request, response, *args, **kwargs)

    def answer(self, request: Any, zips: list[str]) -> HttpResponseBase:
        """Answer the ZIPs of a GET: one ZIP by itself, several as a list."""
        if len(zips) > ZIPS_LIMIT:
            raise ValidationError({"zip": [f"At most {ZIPS_LIMIT:,} ZIPs at once, not {len(zips):,}."]})
        zip_codes = [five_digits(text) for text in zips]
        answers = zip_answers(zip_codes)
        if len(zip_codes) > 1:
            body = results(answers, zip_codes)
        elif zip_codes[0] in answers.by_zip:
            body = render(answers.by_zip[zip_codes[0]])
        else:
            raise UnknownZip(f"ZIP {zip_codes[0]} is not in the data in use.", zip=zip_codes[0])
        response = json_response(body, answers)
        response.headers["Cache-Control"] = "public, no-cache"
        return get_conditional_response(request, response.headers["ETag"], None, response) or response


class ZipDetail(ZipToCbsaView):
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        # A plain question about a remembered ZIP needs none of DRF's checks, and DRF would double the time of the answer.
        if request.method == "GET" and not request.META["QUERY_STRING"] and is_remembered(kwargs["zip_code"]):
            return allow_any_origin(self.answer(request, [kwargs["zip_code"]]))
        return super().dispatch(request, *args, **kwargs)

    @extend_schema(
        operation_id="ziptocbsa_retrieve",
        summary="The CBSA and the metropolitan area of a ZIP",
        tags=["ziptocbsa"],
        auth=[],
        parameters=[OpenApiParameter("zip_code", str, "path", description="Five digits, or ZIP+4.")],
        responses={200: ZipAnswerSerializer, **REFUSALS},
        examples=[ONE],
    )
    def get(self, request: Request, zip_code: str) -> HttpResponseBase:
        refuse_unknown_parameters(request)
        return self.answer(request, zip_code.split(","))


class ZipList(ZipToCbsaView):
    @extend_schema(
        operation_id="ziptocbsa_list",
        summary="The same for one ZIP or several",
        tags=["ziptocbsa"],
        auth=[],
        parameters=[OpenApiParameter("zip", str, required=True, description="One ZIP, several with commas, or repeated; up to 1,000.")],
        responses={200: ONE_OR_SEVERAL, **REFUSALS},
        examples=[ONE, SEVERAL],
    )
    def get(self, request: Request) -> HttpResponseBase:
        refuse_unknown_parameters(request, ["zip"])
        zips = [text for value in request.query_params.getlist("zip") for text in value.split(",")]
        if not zips:
            raise InvalidZip("Which ZIP? Ask for /ziptocbsa/90266 or /ziptocbsa?zip=90266,32003.")
        return self.answer(request, zips)

    @extend_schema(
        operation_id="ziptocbsa_create",
        summary="The same for a list too long for an address",
        tags=["ziptocbsa"],
        auth=[],
        request=ZipsSerializer,
        responses={200: RESULTS, **REFUSALS},
        examples=[OpenApiExample("Two ZIPs", value={"zips": ["90266", "00000"]}, request_only=True), SEVERAL],
    )
    def post(self, request: Request) -> HttpResponseBase:
        refuse_unknown_parameters(request)
        question = ZipsSerializer(data=request.data)
        question.is_valid(raise_exception=True)
        zip_codes = [five_digits(text) for text in question.validated_data["zips"]]
        answers = zip_answers(zip_codes)
        return json_response(results(answers, zip_codes), answers)


def results(answers: ZipAnswers, zip_codes: list[str]) -> str:
    """Return the answers in the order of `zip_codes`, as JSON."""
    results = (
        render(answers.by_zip[zip_code]) if zip_code in answers.by_zip else f'{{"zip":"{zip_code}","error":"unknown_zip"}}'
        for zip_code in zip_codes
    )
    return f'{{"results":[{",".join(results)}]}}'


@lru_cache(maxsize=REMEMBERED_ZIPS)
def render(answer: ZipAnswer) -> str:
    """Return the answer as JSON. A remembered answer is rendered once."""
    fields = vars(answer) | {"matches": [share._asdict() for share in answer.matches]}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def json_response(body: str, answers: ZipAnswers) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers={"ETag": f'"{answers.version}"'})
