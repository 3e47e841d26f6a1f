"""How is a ZIP asked about over HTTP?"""

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
from cbsa.lookup import Found, find, is_remembered
from cbsa.rules import five_digits
from peerloans.api.caching import FromAnyPage, open_to_any_page
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


class ZipToCbsaView(FromAnyPage):
    """Reads for everyone; caches may keep an answer and ask whether it still holds."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """There is nobody to authenticate, nothing to throttle, and one form of the answer whatever is accepted."""

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response.headers.setdefault("Cache-Control", "no-store")
        return super().finalize_response(request, response, *args, **kwargs)

    def answer(self, request: Any, asked: list[str]) -> HttpResponseBase:
        """The answer to the ZIPs asked about in a GET: one by itself, several as a list."""
        if len(asked) > ZIPS_LIMIT:
            raise ValidationError({"zip": [f"At most {ZIPS_LIMIT:,} ZIPs at once, not {len(asked):,}."]})
        zip_codes = [five_digits(text) for text in asked]
        found = find(zip_codes)
        if len(zip_codes) > 1:
            body = results(found, zip_codes)
        elif zip_codes[0] in found.answers:
            body = found.answers[zip_codes[0]]
        else:
            raise UnknownZip(f"ZIP {zip_codes[0]} is not in the data in use.", zip=zip_codes[0])
        response = ready(body, found)
        response.headers["Cache-Control"] = "public, no-cache"
        return get_conditional_response(request, response.headers["ETag"], None, response) or response


class ZipDetail(ZipToCbsaView):
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        # With a plain question about a ZIP that is remembered nothing can be wrong; DRF would double the time of its answer.
        if request.method == "GET" and not request.META["QUERY_STRING"] and is_remembered(kwargs["zip_code"]):
            return open_to_any_page(self.answer(request, [kwargs["zip_code"]]))
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
        asked = [text for value in request.query_params.getlist("zip") for text in value.split(",")]
        if not asked:
            raise InvalidZip("Which ZIP? Ask for /ziptocbsa/90266 or /ziptocbsa?zip=90266,32003.")
        return self.answer(request, asked)

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
        asked = ZipsSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        zip_codes = [five_digits(text) for text in asked.validated_data["zips"]]
        found = find(zip_codes)
        return ready(results(found, zip_codes), found)


def results(found: Found, zip_codes: list[str]) -> str:
    """The answers in the order asked, as JSON."""
    answers = [found.answers.get(zip_code) or f'{{"zip":"{zip_code}","error":"unknown_zip"}}' for zip_code in zip_codes]
    return f'{{"results":[{",".join(answers)}]}}'


def ready(body: str, found: Found) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers={"ETag": f'"{found.version}"'})
