"""Filter the API's lists. An unknown parameter or value is refused, never ignored."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.request import Request

from loans.domain.states import ReservationState, StandingOrderState, WaitingListState
from loans.models import Reservation, StandingOrder, WaitingListEntry, Watch
from loans.models.fields import choices
from peerloans.api.strict_fields import refuse_ambiguous_parameters, refuse_unknown_parameters

PAGING = ("cursor", "page_size")


class StrictFilterBackend(filters.DjangoFilterBackend):
    """Apply a view's filters, after refusing every parameter that neither they nor the pagination read."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filterset_class = self.get_filterset_class(view, queryset)
        refuse_unknown_parameters(request, [*(filterset_class.base_filters if filterset_class else ()), *PAGING])
        refuse_ambiguous_parameters(request)
        if request.query_params.keys() <= set(PAGING):
            return queryset  # an instance of a filter set copies all its fields, which takes longer than a page of 100 rows
        return super().filter_queryset(request, queryset, view)


class ReservationFilter(filters.FilterSet):
    loan = filters.CharFilter("loan__reference", max_length=20, label="The loan's reference.")
    state = filters.ChoiceFilter(choices=choices(ReservationState))

    class Meta:
        model = Reservation
        fields: ClassVar[list[str]] = []


class WaitingListFilter(filters.FilterSet):
    loan = filters.CharFilter("loan__reference", max_length=20, label="The loan's reference.")
    state = filters.ChoiceFilter(choices=choices(WaitingListState))

    class Meta:
        model = WaitingListEntry
        fields: ClassVar[list[str]] = []


class WatchFilter(filters.FilterSet):
    loan = filters.CharFilter("loan__reference", max_length=20, label="The loan's reference.")

    class Meta:
        model = Watch
        fields: ClassVar[list[str]] = []


class StandingOrderFilter(filters.FilterSet):
    state = filters.ChoiceFilter(choices=choices(StandingOrderState))

    class Meta:
        model = StandingOrder
        fields: ClassVar[list[str]] = []
