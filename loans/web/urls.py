"""Route the public pages, and the pages of an investor's account."""

from django.contrib import admin
from django.urls import path

from loans.web import (
    account,
    allotments,
    documents,
    loan_documents,
    loan_page,
    market,
    metros,
    reservations,
    standing_orders,
    tokens,
    waiting_list,
    watches,
    webhook_endpoints,
    zips,
)

app_name = "loans"
urlpatterns = [
    path("", market.market, name="market"),
    path("loans/<slug:reference>/", loan_page.loan_detail, name="loan-detail"),
    path("loans/<slug:reference>", loan_page.loan_detail),
    path("admin/loans/loan/<int:loan_id>/public-page/", admin.site.admin_view(loan_page.loan_preview), name="loan-preview"),
    path(
        "admin/loans/loan/<int:loan_id>/documents/<int:document_id>/",
        admin.site.admin_view(loan_documents.loan_document_preview),
        name="loan-document-preview",
    ),
    path("loans/<slug:reference>/documents/<int:document_id>/", loan_documents.loan_document, name="loan-document"),
    path("loans/<slug:reference>/allotment.csv", allotments.allotment_csv, name="loan-allotment"),
    path("zip/", zips.zip_search, name="zip-search"),
    path("zip/<str:zip_code>/", zips.zip_detail, name="zip-detail"),
    path("zip/<str:zip_code>", zips.zip_detail),
    path("metros/", metros.metro_search, name="metro-search"),
    path("metros/<str:code>/", metros.metro_detail, name="metro-detail"),
    path("metros/<str:code>", metros.metro_detail),
    path("account/log-in/", account.log_in, name="log-in"),
    path("account/log-out/", account.log_out, name="log-out"),
    path("account/", reservations.reservation_list, name="account"),
    path("account/waiting-list/", waiting_list.waiting_list, name="waiting-list"),
    path("account/waiting-list/<uuid:entry_id>/leave/", waiting_list.waiting_list_leave, name="waiting-list-leave"),
    path("account/wait/<slug:reference>/", waiting_list.wait_page, name="wait"),
    path("account/watches/", watches.watch_list, name="watches"),
    path("account/watch/<slug:reference>/", watches.watch, name="watch"),
    path("account/watch/<slug:reference>/stop/", watches.watch_stop, name="watch-stop"),
    path("account/standing-orders/", standing_orders.standing_orders, name="standing-orders"),
    path("account/standing-orders/new/", standing_orders.standing_order_new, name="standing-order-new"),
    path("account/standing-orders/<uuid:order_id>/", standing_orders.standing_order, name="standing-order"),
    *(
        path(
            f"account/standing-orders/<uuid:order_id>/{change}/",
            standing_orders.standing_order_change,
            {"change": change},
            name=f"standing-order-{change}",
        )
        for change in standing_orders.CHANGES
    ),
    path("account/money/", documents.money, name="money"),
    path("account/messages/", documents.message_list, name="messages"),
    path("account/statement/", documents.statement, name="statement"),
    path("account/statement.csv", documents.statement_csv, name="statement-csv"),
    path("account/tokens/", tokens.token_list, name="tokens"),
    path("account/tokens/<uuid:token_id>/revoke/", tokens.token_revoke, name="token-revoke"),
    path("account/webhooks/", webhook_endpoints.endpoint_list, name="webhooks"),
    path("account/webhooks/<int:endpoint_id>/", webhook_endpoints.endpoint_detail, name="webhook"),
    path("account/webhooks/<int:endpoint_id>/test/", webhook_endpoints.endpoint_test, name="webhook-test"),
    path("account/webhooks/<int:endpoint_id>/rotate/", webhook_endpoints.endpoint_rotate, name="webhook-rotate"),
    path("account/webhooks/<int:endpoint_id>/disable/", webhook_endpoints.endpoint_disable, name="webhook-disable"),
    path("account/webhooks/<int:endpoint_id>/enable/", webhook_endpoints.endpoint_enable, name="webhook-enable"),
    path(
        "account/webhooks/<int:endpoint_id>/deliveries/<int:delivery_id>/send-again/",
        webhook_endpoints.delivery_send_again,
        name="webhook-send-again",
    ),
    path("account/password/", documents.password_change, name="password"),
    path("account/password/done/", documents.password_done, name="password-done"),
    path("account/reserve/<slug:reference>/", reservations.reserve_page, name="reserve"),
    path("account/reservations/<uuid:reservation_id>/", reservations.reservation_detail, name="reservation"),
    path("account/reservations/<uuid:reservation_id>/transfer/", reservations.transfer_start, name="transfer-start"),
    path("account/reservations/<uuid:reservation_id>/cancel/", reservations.reservation_cancel, name="reservation-cancel"),
]
