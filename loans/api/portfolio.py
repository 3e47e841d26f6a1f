"""Show an investor's totals."""

from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.permissions import investor_of
from loans.api.serializers import PortfolioSerializer
from loans.selectors.portfolio import portfolio
from peerloans.api.caching import ConditionalView
from peerloans.database import replica


class PortfolioDetail(ConditionalView):
    """Show your totals by state, by loan and by market.

    A reservation that has lapsed counts as canceled. `held` is what is reserved, pending or settled.
    """

    serializer_class = PortfolioSerializer

    def get(self, request: Request) -> Response:
        return Response(portfolio(investor_of(request).pk, using=replica.for_user(request.user.pk)))
