"""Take in the bank's signed reports of transfers and refunds."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loans.api.bank_signature import verify_bank_signature
from loans.api.schema import SIGNATURE
from loans.api.serializers import BankEventOutcomeSerializer, BankEventSerializer
from loans.services.bank_events import AWAITING_STAFF, Notice, record_bank_event
from peerloans.api.request_body import body_of


class BankEventCreate(APIView):
    """Report, as the bank, what became of a transfer or a refund.

    Sign it as [Standard Webhooks](https://www.standardwebhooks.com/) prescribes. The same event again changes nothing. The status
    is 202 if staff have to decide: the reference is not ours, or it may be a duplicate.
    """

    authentication_classes = ()  # the signature authenticates the bank
    permission_classes = ()

    @extend_schema(
        parameters=SIGNATURE,
        request=BankEventSerializer,
        responses={200: BankEventOutcomeSerializer, 202: BankEventOutcomeSerializer},
    )
    def post(self, request: Request) -> Response:
        verify_bank_signature(request._request.body, request.headers)
        notice = Notice(**body_of(request, BankEventSerializer))
        outcome = record_bank_event(notice)
        return Response({"id": notice.id, "outcome": outcome}, status=202 if outcome in AWAITING_STAFF else 200)
