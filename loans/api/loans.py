"""List the loans that everybody may see, and show each."""

from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Now
from rest_framework import generics
from rest_framework.request import Request
from rest_framework.response import Response

from loans import remaining_cache
from loans.api.filters import StrictFilterBackend
from loans.api.loan_documents import loan_documents
from loans.api.serializers import LoanDetailSerializer, LoanSerializer
from loans.domain.errors import NotFound
from loans.domain.states import PUBLIC_STATUSES
from loans.selectors.loan_filter import LoanFilter
from loans.selectors.loans import PUBLIC_LOANS
from loans.selectors.offers import loan_offer
from peerloans.api.caching import PublicView
from peerloans.api.pagination import KeysetPagination
from peerloans.database import replica


class LoanList(PublicView, generics.ListAPIView):
    """List the upcoming, open and funded loans."""

    serializer_class = LoanSerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = LoanFilter
    # Rows, since a hundred instances of a model cost as much as reading them does. Made once: that takes an eighth of a request's time.
    queryset = PUBLIC_LOANS.annotate(read_at=Now()).values_list(
        "pk", "remaining", "version", "read_at", *LoanSerializer.COLUMNS, named=True
    )

    def get_queryset(self) -> QuerySet[Any]:
        return super().get_queryset().using(replica.for_anyone())

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        values = remaining_cache.read(page, page[0].read_at) if page else {}
        return [(loan, values[loan.pk]) for loan in page]


class LoanDetail(PublicView):
    """Show a loan.

    `remaining` and `available` come from one read and are true at `remaining_as_of`.
    """

    serializer_class = LoanDetailSerializer

    def get(self, request: Request, reference: str) -> Response:
        offer = loan_offer(reference)
        loan = offer.loan
        if loan.status not in PUBLIC_STATUSES:
            raise NotFound(f"There is no loan {reference}.")
        remaining = remaining_cache.Remaining(loan.remaining, offer.at, loan.version)
        return Response(LoanDetailSerializer((loan, remaining, offer.available, loan_documents(request, loan))).data)
