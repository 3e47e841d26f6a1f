"""Which of a list are asked for? A value or a name that is not known is refused, never ignored."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from loans.domain.states import State
from loans.models import Reservation
from loans.models.fields import choices
from peerloans.api.strict_fields import refuse_unknown_parameters


class StrictFilterBackend(filters.DjangoFilterBackend):
    """Refuses parameters that nothing here reads, so that a misspelled filter does not answer with everything."""

    paging = ("cursor", "page_size")

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        # A set of filters copies all of its fields, which takes longer than a page of a hundred rows.
        if set(request.query_params) <= set(self.paging):
            refuse_unclear(request)
            return queryset
        return super().filter_queryset(request, queryset, view)

    def get_filterset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filterset = super().get_filterset(request, queryset, view)
        refuse_unknown_parameters(request, [*(filterset.filters if filterset else []), *self.paging])
        refuse_unclear(request)
        return filterset


def refuse_unclear(request: Request) -> None:
    """Raises ValidationError where a parameter is empty or stands there twice."""
    if unclear := sorted(name for name, values in request.query_params.lists() if len(values) > 1 or not values[0]):
        raise ValidationError({name: ["Give it one value, or leave it out."] for name in unclear})


class ReservationFilter(filters.FilterSet):
    loan = filters.CharFilter("loan__reference", max_length=20, label="The loan's reference.")
    state = filters.ChoiceFilter(choices=choices(State))

    class Meta:
        model = Reservation
        fields: ClassVar[list[str]] = []
