"""How do values look in JSON? Money is a string with its two places, an instant is in UTC."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rest_framework import renderers
from rest_framework.utils.encoders import JSONEncoder


class Encoder(JSONEncoder):
    """DRF's encoder would make a Decimal a float."""

    def default(self, obj: Any) -> Any:
        if isinstance(obj, Decimal):
            return str(obj)
        if isinstance(obj, datetime):
            return obj.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"
        return super().default(obj)


class JSONRenderer(renderers.JSONRenderer):
    encoder_class = Encoder
