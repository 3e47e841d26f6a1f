"""Route the API of loans, below /api/v1/."""

from django.urls import path, register_converter
from django.urls.converters import UUIDConverter

from loans.api import loans, log_in, reservations, tokens
from loans.api import standing_orders as orders
from loans.api import webhook_endpoints as hooks
from loans.api.allotments import AllotmentDetail
from loans.api.bank_events import BankEventCreate
from loans.api.batches import BatchCreate
from loans.api.events import EventList
from loans.api.outlooks import OutlookDetail
from loans.api.portfolio import PortfolioDetail
from loans.api.waiting_list import WaitingListJoin, WaitingListLeave, WaitingListMine
from loans.api.watches import LoanWatch, WatchList


class AnyCaseUUID(UUIDConverter):
    """Match UUIDs in capital letters, too. Django's own converter matches lower case only."""

    regex = "[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"


register_converter(AnyCaseUUID, "any-uuid")

app_name = "api"
urlpatterns = [
    # This one comes first, since it is called most: a route is compared with all those above it.
    path("loans/<slug:reference>/reservations/", reservations.ReservationCreate.as_view(), name="reservation-create"),
    path("auth/token/", log_in.TokenCreate.as_view(), name="token-create"),
    path("auth/logout/", log_in.TokenRevoke.as_view(), name="token-revoke"),
    path("tokens/", tokens.NamedTokens.as_view(), name="named-token-list"),
    path("tokens/<any-uuid:token_id>/revoke/", tokens.NamedTokenRevoke.as_view(), name="named-token-revoke"),
    path("webhook-endpoints/", hooks.WebhookEndpoints.as_view(), name="webhook-endpoint-list"),
    path("webhook-endpoints/<int:endpoint_id>/test/", hooks.WebhookEndpointTest.as_view(), name="webhook-endpoint-test"),
    path("webhook-endpoints/<int:endpoint_id>/rotate/", hooks.WebhookEndpointRotate.as_view(), name="webhook-endpoint-rotate"),
    path("webhook-endpoints/<int:endpoint_id>/disable/", hooks.WebhookEndpointDisable.as_view(), name="webhook-endpoint-disable"),
    path("webhook-endpoints/<int:endpoint_id>/enable/", hooks.WebhookEndpointEnable.as_view(), name="webhook-endpoint-enable"),
    path("webhook-endpoints/<int:endpoint_id>/deliveries/", hooks.DeliveryList.as_view(), name="delivery-list"),
    path(
        "webhook-endpoints/<int:endpoint_id>/deliveries/<int:delivery_id>/send-again/",
        hooks.DeliverySendAgain.as_view(),
        name="delivery-send-again",
    ),
    path("loans/", loans.LoanList.as_view(), name="loan-list"),
    path("loans/<slug:reference>/", loans.LoanDetail.as_view(), name="loan-detail"),
    path("loans/<slug:reference>/allotment/", AllotmentDetail.as_view(), name="allotment-detail"),
    path("loans/<slug:reference>/waiting-list/", WaitingListJoin.as_view(), name="waiting-list-join"),
    path("loans/<slug:reference>/watch/", LoanWatch.as_view(), name="watched-loan"),
    path("reservations/", reservations.ReservationList.as_view(), name="reservation-list"),
    path("reservations/batch/", BatchCreate.as_view(), name="batch-create"),
    path("reservations/<any-uuid:reservation_id>/", reservations.ReservationDetail.as_view(), name="reservation-detail"),
    path("reservations/<any-uuid:reservation_id>/history/", reservations.ReservationHistory.as_view(), name="reservation-history"),
    path("reservations/<any-uuid:reservation_id>/outlook/", OutlookDetail.as_view(), name="outlook-detail"),
    path("reservations/<any-uuid:reservation_id>/transfer/", reservations.TransferCreate.as_view(), name="transfer-create"),
    path("reservations/<any-uuid:reservation_id>/cancel/", reservations.ReservationCancel.as_view(), name="reservation-cancel"),
    path("waiting-list/", WaitingListMine.as_view(), name="waiting-list"),
    path("waiting-list/<any-uuid:entry_id>/leave/", WaitingListLeave.as_view(), name="waiting-list-leave"),
    path("watches/", WatchList.as_view(), name="watch-list"),
    path("standing-orders/", orders.StandingOrders.as_view(), name="standing-order-list"),
    path("standing-orders/preview/", orders.StandingOrderPreview.as_view(), name="standing-order-preview"),
    path("standing-orders/<any-uuid:order_id>/", orders.StandingOrderDetail.as_view(), name="standing-order-detail"),
    path("standing-orders/<any-uuid:order_id>/openings/", orders.StandingOrderOpenings.as_view(), name="standing-order-openings"),
    path("standing-orders/<any-uuid:order_id>/pause/", orders.StandingOrderPause.as_view(), name="standing-order-pause"),
    path("standing-orders/<any-uuid:order_id>/resume/", orders.StandingOrderResume.as_view(), name="standing-order-resume"),
    path("standing-orders/<any-uuid:order_id>/end/", orders.StandingOrderEnd.as_view(), name="standing-order-end"),
    path("events/", EventList.as_view(), name="event-list"),
    path("portfolio/", PortfolioDetail.as_view(), name="portfolio-detail"),
    path("bank-events/", BankEventCreate.as_view(), name="bank-event-create"),
]
