"""Which request bodies are read? JSON no longer than DATA_UPLOAD_MAX_MEMORY_SIZE, and none that could hurt the server."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError


class BoundedJSONParser(parsers.JSONParser):
    """DRF's JSON parser reads a body of any length and any depth; this one reads it through Django's own limit.

    Numbers with a point become Decimal, just as they stand there: money never passes through a float.
    """

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises RequestDataTooBig for a body over the limit and ParseError for anything that is not JSON."""
        if parser_context and "request" in parser_context:
            parser_context["request"]._request.body  # noqa: B018  raises RequestDataTooBig
        try:
            parsed: dict[str, Any] = json.loads(stream.read(), parse_float=Decimal, parse_constant=Decimal)
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except (ValueError, ArithmeticError) as error:
            raise ParseError(f"This is not JSON: {error}") from None
        return parsed
