"""Show the history of all loans, and the closing values of each day."""

from itertools import chain

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loans.admin.search import SearchAsPrinted
from loans.admin.tables import dollars_column
from loans.domain.actors import ACTOR_KINDS
from loans.domain.states import LoanEvent, ReservationEvent, TransferEvent, WaitingListEvent
from loans.models import ClosingValue, Transition, User
from peerloans.admin.base import ReadOnlyAdmin

EVENTS = set(chain(LoanEvent, ReservationEvent, TransferEvent, WaitingListEvent))


@admin.register(Transition)
class TransitionAdmin(SearchAsPrinted, ReadOnlyAdmin):
    list_display = [
        "at",
        "loan",
        "reservation",
        "waiting_entry",
        "transfer",
        "event",
        "from_state",
        "to_state",
        dollars_column("amount"),
        "rule",
        "actor",
        "user",
        "approved_by",
        "reason",
    ]
    list_select_related = ["loan", "reservation__loan", "waiting_entry__loan", "transfer", "user", "approved_by"]
    list_filter = ["at"]
    search_fields = ["event"]  # only shows the field: `search_words` searches
    search_help_text = "A loan or a transfer, a reservation such as PL-0010 #6, an event such as canceled_by_staff, an actor or a user"
    to_loan, to_reservation, to_transfer = "loan", "reservation__", "transfer__"
    ordering = ["-id"]

    def search_words(self, request: HttpRequest, queryset: QuerySet[Transition], text: str) -> tuple[QuerySet[Transition], bool]:
        """Find what has the event, the kind of actor or the user of this name. An index answers each, or the end of history is read."""
        word = text.strip()
        if word in EVENTS:
            return queryset.filter(event=word), False
        if word in ACTOR_KINDS:
            return queryset.filter(actor=word), False
        if user := User.objects.filter(username=word).first():
            return queryset.filter(pk__in=_ids_of_acts(user)), False
        return queryset.none() if word else queryset, False


def _ids_of_acts(user: User) -> QuerySet[Transition, int]:
    """Return the ids of what the user did as staff, with own reservations, and on waiting lists. An index finds each of the three."""
    acts = Transition.objects.filter(user=user).order_by().values_list("pk", flat=True)
    with_reservations = acts.filter(reservation__investor__user=user)
    on_waiting_lists = acts.filter(waiting_entry__investor__user=user)
    return acts.filter(actor="staff").union(with_reservations, on_waiting_lists)


@admin.register(ClosingValue)
class ClosingValueAdmin(ReadOnlyAdmin):
    list_display = ["loan", "day", *map(dollars_column, ("remaining", "settled", "claimed"))]
    list_select_related = ["loan"]
    list_filter = ["day"]
    search_fields = ["loan__reference__istartswith"]
    ordering = ["-day", "-loan_id"]
