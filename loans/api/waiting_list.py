"""Answer the calls about waiting lists: join a loan's, list one's own entries, leave."""

from typing import Any
from uuid import UUID

from django.db.models import F, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from loans.api.filters import StrictFilterBackend, WaitingListFilter
from loans.api.idempotency import idempotent
from loans.api.permissions import investor_of
from loans.api.serializers import EmptySerializer, MoneyField, RequestedAmountSerializer
from loans.domain.states import WaitingListState
from loans.models import WaitingListEntry
from loans.selectors.waiting_list import Place, places_of
from loans.services.waiting_list import join_waiting_list, leave_waiting_list
from peerloans.api.caching import ConditionalView
from peerloans.api.pagination import KeysetPagination
from peerloans.api.request_body import body_of
from peerloans.database import replica


class WaitingListCreateSerializer(RequestedAmountSerializer):
    """The same amounts as those of a reservation."""


class WaitingListEntrySerializer(serializers.Serializer[Any]):
    """An entry of a waiting list, with its place while it waits."""

    # What is written is an entry or a row of these columns, and the place.
    COLUMNS = ("pk", "loan_reference", "amount", "at_least", "state", "reservation_id", "joined_at", "ended_at")

    id = serializers.UUIDField()
    loan = serializers.CharField(help_text="The loan's reference.")
    amount = MoneyField(help_text="What you wait for.")
    at_least = MoneyField(help_text="The least that it may become.")
    state = serializers.ChoiceField(list(WaitingListState))
    list_position = serializers.IntegerField(allow_null=True, help_text="1 is next; null once it does not wait any more.")
    dollars_before = MoneyField(allow_null=True, help_text="The dollars that wait before it.")
    reservation = serializers.UUIDField(allow_null=True, help_text="The reservation that it became.")
    joined_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True, help_text="When it became a reservation, or ended in another way.")

    def to_representation(self, entry_with_place: tuple[Any, Place | None]) -> dict[str, Any]:
        entry, place = entry_with_place
        return {
            "id": entry.pk,
            "loan": entry.loan_reference,
            "amount": entry.amount,
            "at_least": entry.at_least,
            "state": entry.state,
            "list_position": place.position if place else None,
            "dollars_before": place.dollars_before if place else None,
            "reservation": entry.reservation_id,
            "joined_at": entry.joined_at,
            "ended_at": entry.ended_at,
        }


def _shown(entry: WaitingListEntry) -> dict[str, Any]:
    return dict(WaitingListEntrySerializer((entry, places_of([entry.pk]).get(entry.pk))).data)


class WaitingListJoin(ConditionalView):
    """Join a loan's waiting list.

    What becomes available is offered to the list before anybody else, in the order of joining: your entry becomes a reservation of
    `amount`, or of what there is, if that is at least `at_least`; otherwise it keeps its place. Where enough is available now that
    nobody before you needs, it becomes one at once. You wait once for each loan; a repeat shows the entry that waits.
    """

    @extend_schema(request=WaitingListCreateSerializer, responses={201: WaitingListEntrySerializer})
    @idempotent
    def post(self, request: Request, reference: str) -> Response:
        body = body_of(request, WaitingListCreateSerializer)
        entry = join_waiting_list(reference=reference, investor=investor_of(request), **body)
        return Response(_shown(entry), status=201)


class WaitingListMine(ConditionalView, generics.ListAPIView[Any]):
    """List your entries of waiting lists, newest first.

    `list_position` and `dollars_before` are counted at this moment.
    """

    serializer_class = WaitingListEntrySerializer
    pagination_class = KeysetPagination
    filter_backends = (StrictFilterBackend,)
    filterset_class = WaitingListFilter
    queryset = WaitingListEntry.objects.annotate(loan_reference=F("loan__reference")).order_by("-joined_at")  # type: ignore[no-redef]

    def get_queryset(self) -> QuerySet[Any]:
        entries = super().get_queryset().using(replica.for_user(self.request.user.pk)).filter(investor=investor_of(self.request))
        return entries.values_list(*WaitingListEntrySerializer.COLUMNS, named=True)

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset) or []
        places = places_of([entry.pk for entry in page], queryset.db)
        return [(entry, places.get(entry.pk)) for entry in page]


class WaitingListLeave(ConditionalView):
    """Leave a waiting list.

    A repeat shows the entry as it is.
    """

    @extend_schema(request=EmptySerializer, responses=WaitingListEntrySerializer)
    @idempotent
    def post(self, request: Request, entry_id: UUID) -> Response:
        body_of(request, EmptySerializer)
        return Response(_shown(leave_waiting_list(entry_id=entry_id, investor=investor_of(request))))
