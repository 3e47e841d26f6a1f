"""Let those who try their programs in a sandbox move its clock. peerloans/urls.py has the route only where DEBUG is on."""

from datetime import timedelta
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loans.api.serializers import InstantField
from loans.demo.sandbox_clock import let_time_pass
from loans.domain.errors import Invalid
from peerloans.api.request_body import body_of
from peerloans.api.strict_fields import StrictSerializer
from peerloans.database.clock import database_now

ONE_OF_BOTH = 'Give either "advance" or "at".'


class ClockSerializer(StrictSerializer):
    advance = serializers.DurationField(
        required=False,
        max_value=timedelta(days=366),
        error_messages={"invalid": 'Give days, hours, minutes and seconds as in ISO 8601, such as "P1D" or "PT30M".'},
    )
    at = InstantField(required=False)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if len(fields) != 1:
            raise serializers.ValidationError({"advance": [ONE_OF_BOTH], "at": [ONE_OF_BOTH]})
        return fields


class SandboxClock(APIView):
    """Tell the time of the sandbox, or move it forward and do what fell due."""

    authentication_classes = ()
    permission_classes = ()
    schema = None  # production has no such path

    def get(self, request: Request) -> Response:
        return Response({"at": database_now(None)})

    def post(self, request: Request) -> Response:
        ((name, value),) = body_of(request, ClockSerializer).items()
        by = value if name == "advance" else value - database_now(None)
        if by <= timedelta(0):
            raise Invalid(problem := "The clock only moves forward.", errors={name: [problem]})
        jobs = let_time_pass(by)
        return Response({"at": database_now(None), "jobs": jobs})
