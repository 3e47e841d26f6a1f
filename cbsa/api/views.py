"""Answer questions about ZIPs over HTTP: one or several, their history, all vintages, and a whole vintage as CSV."""

import csv
import json
import tempfile
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from io import TextIOWrapper
from typing import IO, Any, cast

from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import http_date
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from cbsa.api import schema
from cbsa.api.serializers import ZIPS_LIMIT, ZipListSerializer
from cbsa.errors import InvalidZip
from cbsa.lookup import (
    REMEMBERED_ZIPS,
    ZipAnswer,
    ZipAnswers,
    dataset_of,
    is_remembered,
    unknown_zip,
    vintages,
    zip_answers,
    zip_history,
)
from cbsa.rules import five_digits
from cbsa.table import COLUMNS, table_rows
from peerloans.api.caching import CrossOriginView, PublicView, allow_any_origin
from peerloans.api.request_body import body_of
from peerloans.api.strict_fields import refuse_unknown_parameters
from peerloans.api.throttling import DownloadThrottle

SHOWN_CHARACTERS = 20  # of what is no ZIP


class ZipToCbsaView(CrossOriginView):
    """Public reads. Caches may keep an answer and ask whether it still holds."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Skip what DRF does first: these calls have no log-in and one media type, and only POST counts towards a limit."""
        if request.method == "POST":
            self.check_throttles(request)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response.headers.setdefault("Cache-Control", "no-store")
        return super().finalize_response(request, response, *args, **kwargs)

    def answer(self, request: Any, texts: list[str], vintage: str | None = None) -> HttpResponseBase:
        """Answer the ZIPs of a GET: one ZIP by itself, several as a list."""
        if len(texts) > ZIPS_LIMIT:
            raise ValidationError({"zip": [f"At most {ZIPS_LIMIT:,} ZIPs at once, not {len(texts):,}."]})
        if len(texts) == 1:
            zip_code = five_digits(texts[0])
            answers = zip_answers([zip_code], vintage)
            if zip_code not in answers.by_zip:
                raise unknown_zip(zip_code, vintage)
            response = json_response(render(answers.by_zip[zip_code]), answers)
        else:
            response = several(texts, vintage)
        response.headers["Cache-Control"] = "public, no-cache"
        return get_conditional_response(request, response.headers["ETag"], None, response) or response


class ZipDetail(ZipToCbsaView):
    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        # A plain question about a remembered ZIP needs none of DRF's checks, and DRF would double the time of the answer.
        if request.method == "GET" and not request.META["QUERY_STRING"] and is_remembered(kwargs["zip_code"]):
            return allow_any_origin(self.answer(request, [kwargs["zip_code"]]))
        return super().dispatch(request, *args, **kwargs)

    @schema.zip_detail
    def get(self, request: Request, zip_code: str) -> HttpResponseBase:
        refuse_unknown_parameters(request, ["vintage"])
        return self.answer(request, split([zip_code]), request.query_params.get("vintage"))


class ZipList(ZipToCbsaView):
    @schema.zip_list
    def get(self, request: Request) -> HttpResponseBase:
        refuse_unknown_parameters(request, ["zip", "vintage"])
        return self.answer(request, split(request.query_params.getlist("zip")), request.query_params.get("vintage"))

    @schema.zip_list_post
    def post(self, request: Request) -> HttpResponseBase:
        refuse_unknown_parameters(request, ["vintage"])
        return several(body_of(request, ZipListSerializer)["zips"], request.query_params.get("vintage"))


def split(values: Sequence[str]) -> list[str]:
    """Return the texts between commas, without empty ones. Raises InvalidZip where none is left."""
    texts = [text for value in values for text in value.split(",") if text.strip()]
    if not texts:
        raise InvalidZip("Which ZIP? Ask for /ziptocbsa/90266 or /ziptocbsa?zip=90266,32003.")
    return texts


def several(texts: Sequence[str], vintage: str | None) -> HttpResponse:
    """Answer several ZIPs in the order asked, as JSON. Each that is malformed or unknown is answered in its own place."""
    zip_codes = [_zip_code(text) for text in texts]
    answers = zip_answers([zip_code for zip_code in zip_codes if zip_code], vintage)
    results = []
    for text, zip_code in zip(texts, zip_codes, strict=True):
        if zip_code is None:
            results.append(json.dumps({"zip": text[:SHOWN_CHARACTERS], "error": "invalid_zip"}, separators=(",", ":")))
        elif answer := answers.by_zip.get(zip_code):
            results.append(render(answer))
        else:
            results.append(f'{{"zip":"{zip_code}","error":"unknown_zip"}}')
    return json_response(f'{{"results":[{",".join(results)}]}}', answers)


def _zip_code(text: str) -> str | None:
    try:
        return five_digits(text)
    except InvalidZip:
        return None


@lru_cache(maxsize=REMEMBERED_ZIPS)
def render(answer: ZipAnswer) -> str:
    """Return the answer as JSON. A remembered answer is rendered once."""
    return json.dumps(as_document(answer), ensure_ascii=False, separators=(",", ":"))


def as_document(answer: ZipAnswer) -> dict[str, Any]:
    """Return the answer as JSON-ready values."""
    matches = [share._asdict() for share in answer.matches]
    return vars(answer) | {"matches": matches, "imported_at": as_instant(answer.imported_at)}


def as_instant(moment: datetime) -> str:
    """Return an instant in UTC as the API writes it, with a Z."""
    return moment.isoformat().removesuffix("+00:00") + "Z"


def json_response(body: str, answers: ZipAnswers) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers={"ETag": f'"{answers.version}"'})


# --- Vintages ------------------------------------------------------------------------------------------------------------------
class VintageList(PublicView):
    @schema.vintages
    def get(self, request: Request) -> Response:
        results = [
            {
                "vintage": dataset.vintage,
                "imported_at": dataset.imported_at,
                "in_use": dataset.active,
                "latest_year": dataset.latest_year,
                "zips": dataset.zips,
            }
            for dataset in vintages()
        ]
        return Response({"results": results})


class ZipHistory(PublicView):
    @schema.zip_history
    def get(self, request: Request, zip_code: str) -> Response:
        zip_code = five_digits(zip_code)
        results = [
            {
                "vintage": entry.vintage,
                "imported_at": entry.imported_at,
                "in_use": entry.in_use,
                "answer": entry.answer and as_document(entry.answer),
                "changes": {name: {"before": before, "after": after} for name, (before, after) in entry.changes.items()},
            }
            for entry in zip_history(zip_code)
        ]
        return Response({"zip": zip_code, "results": results})


class ZipTable(ZipToCbsaView):
    throttle_classes = (DownloadThrottle,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.check_throttles(request)

    @schema.zip_table
    def get(self, request: Request) -> HttpResponseBase:
        refuse_unknown_parameters(request, ["vintage"])
        dataset = dataset_of(request.query_params.get("vintage"))
        headers = {
            "ETag": f'"csv-{dataset.version}"',
            "Last-Modified": http_date(dataset.imported_at.timestamp()),
            "Cache-Control": "public, no-cache",
        }
        checked = get_conditional_response(cast("Any", request), headers["ETag"], None, HttpResponse(headers=headers))
        if checked is not None and checked.status_code != 200:
            return checked
        # A file on disk takes the rows first, so that a slow client holds no connection to the database.
        content = tempfile.TemporaryFile()  # noqa: SIM115  the response closes it
        write_table(content, table_rows(dataset))
        name = f"ziptocbsa-{dataset.vintage}.csv"
        return FileResponse(content, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8", headers=headers)


def write_table(content: IO[bytes], rows: Any) -> None:
    text = TextIOWrapper(content, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    text.flush()
    text.detach()
    content.seek(0)
