"""Answer the calls about watched loans: list one's own, watch a loan, stop watching it."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.filters import StrictFilterBackend, WatchFilter
from loans.api.permissions import investor_of
from loans.api.serializers import EmptySerializer
from loans.models import Watch
from loans.selectors.watches import watches_of
from loans.services.watches import stop_watching, watch_loan
from peerloans.api.caching import ConditionalView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.request_body import body_of
from peerloans.database import replica


class WatchSerializer(serializers.Serializer[Watch]):
    """A loan that you watch."""

    loan = serializers.CharField(help_text="The loan's reference.")
    since = serializers.DateTimeField()

    def to_representation(self, watch: Watch) -> dict[str, Any]:
        return {"loan": watch.loan.reference, "since": watch.since}


class WatchList(ConditionalView, generics.ListAPIView[Watch]):
    """List the loans that you watch, newest first.

    Withdrawn loans are left out.
    """

    serializer_class = WatchSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = WatchFilter
    queryset = Watch.objects.none()  # for the schema, which is made without an investor

    def get_queryset(self) -> QuerySet[Watch]:
        watches = watches_of(investor_of(self.request).pk).using(replica.for_user(self.request.user.pk))
        return watches.select_related("loan").only("since", "loan__reference").order_by("-since")


class LoanWatch(ConditionalView):
    operations = {"PUT": "WatchLoan", "DELETE": "StopWatching"}

    @extend_schema(request=EmptySerializer, responses=WatchSerializer)
    def put(self, request: Request, reference: str) -> Response:
        """Watch a loan.

        You get an e-mail when the loan opens, and when dollars of it are available again; then no other for 24 hours, unless you look at
        the loan's page or repeat this call, which says that you know what the loan offers now. You watch at most 200 loans.
        """
        body_of(request, EmptySerializer)
        watch = watch_loan(investor_id=investor_of(request).pk, reference=reference)
        replica.mark_write(request.user.pk)
        return Response(WatchSerializer(watch).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        """Stop watching a loan.

        A repeat changes nothing, and so does a loan that you do not watch.
        """
        stop_watching(investor_id=investor_of(request).pk, reference=reference)
        replica.mark_write(request.user.pk)
        return Response(status=204)
