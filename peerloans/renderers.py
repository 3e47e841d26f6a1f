"""How do values look in JSON? Money is a string with its two places, an instant is in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from rest_framework import negotiation, renderers
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


_WRITTEN: dict[type, Callable[[Any], str]] = {Decimal: str, datetime: _instant, UUID: str}


class Encoder(JSONEncoder):
    """DRF's encoder would make a Decimal a float, and ask each value for seven other types before."""

    def default(self, obj: Any) -> Any:
        write = _WRITTEN.get(type(obj))
        return write(obj) if write else super().default(obj)


_encode = Encoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class JSONRenderer(renderers.JSONRenderer):
    encoder_class = Encoder

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        """Always compact: DRF's own heeds an indent in the Accept header, which takes longer than the writing."""
        return b"" if data is None else _encode(data).encode()


class Negotiation(negotiation.DefaultContentNegotiation):
    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        if request.META.get("HTTP_ACCEPT", "*/*") == "*/*":  # what most programs send
            return renderers[0], renderers[0].media_type
        return super().select_renderer(request, renderers, format_suffix)
