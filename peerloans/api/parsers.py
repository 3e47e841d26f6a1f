"""Which request bodies are read? JSON no longer than DATA_UPLOAD_MAX_MEMORY_SIZE, and none that could hurt the server."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

LONGEST_INTEGER = 100  # digits; Python reads longer ones ever more slowly, and then not at all


class BoundedJSONParser(parsers.JSONParser):
    """DRF's JSON parser reads a body of any length and any depth; this one reads it through Django's own limit.

    Numbers with a point become Decimal, just as they stand there: money never passes through a float.
    """

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises RequestDataTooBig for a body over the limit and ParseError for anything that is not JSON."""
        if parser_context and "request" in parser_context:
            parser_context["request"]._request.body  # noqa: B018  raises RequestDataTooBig
        body = stream.read()
        try:
            parsed: dict[str, Any] = json.loads(
                body, parse_int=_integer, parse_float=Decimal, parse_constant=Decimal, object_pairs_hook=_fields_once
            )
            if b"\\u" in body:
                json.dumps(parsed, ensure_ascii=False, default=str).encode()
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except UnicodeError:
            raise ParseError("This is not JSON in UTF-8, or half of a character is escaped in it.") from None
        except (ValueError, ArithmeticError) as error:
            raise ParseError(f"This is not JSON: {error}") from None
        return parsed


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= LONGEST_INTEGER else Decimal(digits)


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two amounts in one body nobody knows which was meant."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ParseError(f"The field {next(name for name in names if names.count(name) > 1)!a} stands there more than once.")
    return fields
