"""Parse request bodies: JSON of bounded size that has exactly one meaning."""

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any

from rest_framework import parsers
from rest_framework.exceptions import ParseError

SHOWN_CHARACTERS = 100  # of a field's name
LONGEST_INTEGER = 100  # digits; Python reads longer ones ever more slowly, and refuses those above 4,300


class BoundedJSONParser(parsers.JSONParser):
    """Parse a body no longer than DATA_UPLOAD_MAX_MEMORY_SIZE. DRF's parser has no limit of length.

    Numbers with a decimal point become Decimal with the digits that were sent: money never passes through a float.
    """

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the parsed body.

        Raises: RequestDataTooBig, ParseError for anything that is not JSON in UTF-8.
        """
        if parser_context and "request" in parser_context:
            parser_context["request"]._request.body  # noqa: B018  raises RequestDataTooBig
        body = stream.read()
        try:
            # json.loads would let half of a surrogate pair pass where it decodes the bytes itself.
            parsed: dict[str, Any] = json.loads(
                body.decode(), parse_int=_integer, parse_float=Decimal, parse_constant=Decimal, object_pairs_hook=_fields_once
            )
            if b"\\u" in body:
                json.dumps(parsed, ensure_ascii=False, default=str).encode()  # fails for half of a surrogate pair
        except RecursionError:
            raise ParseError("The JSON is nested too deeply.") from None
        except UnicodeError:
            raise ParseError("This is not JSON in UTF-8, or an escape in it is half of a character.") from None
        except (ValueError, ArithmeticError) as error:
            raise ParseError(f"This is not JSON: {error}") from None
        return parsed


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= LONGEST_INTEGER else Decimal(digits)


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a field twice: it could mean either value."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = next(name for name, count in counts.items() if count > 1)
        raise ParseError(f"The field {repeated[:SHOWN_CHARACTERS]!a} appears more than once.")
    return fields
