"""Serve the pages on which an investor manages webhook endpoints, and sees and repeats what was sent to them."""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from loans.domain.errors import NotFound
from loans.models import Delivery, Investor, WebhookEndpoint
from loans.notifications import endpoints
from loans.notifications.messages import message_of
from loans.web.account import READS, account_page
from loans.web.forms import WebhookEndpointForm
from peerloans.api.error_statuses import STATUSES
from peerloans.database.clock import database_now
from peerloans.errors import Problem

DELIVERIES_SHOWN = 50  # the newest


@dataclass(frozen=True)
class Notice:
    """What came of the request, shown on the endpoint's page: a problem, news, or a secret that is shown this once."""

    problem: str = ""
    news: str = ""
    secret: str = ""
    status: int = 200


@dataclass(frozen=True)
class DeliveryRow:
    """A delivery as the page shows it."""

    delivery: Delivery
    type: str


@account_page(*READS, "POST")
def endpoint_list(request: HttpRequest, investor: Investor) -> HttpResponse:
    """List the investor's endpoints, and add one. Its secret is in this answer and in no later one."""
    form, status, problem = WebhookEndpointForm(request.POST or None), 200, ""
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                endpoint = endpoints.add_endpoint(investor_id=investor.pk, url=form.cleaned_data["url"])
                return _endpoint_page(request, investor, endpoint.pk, Notice(news="The endpoint is added.", secret=endpoint.secret))
            except Problem as error:
                problem, status = error.detail, STATUSES.get(error.code, 409)
    own = WebhookEndpoint.objects.filter(investor=investor)
    context = {"section": "webhooks", "form": form, "problem": problem, "endpoints": own, "most_enabled": endpoints.MOST_ENABLED}
    return render(request, "loans/account/webhooks.html", context, status=status)


@account_page(*READS)
def endpoint_detail(request: HttpRequest, investor: Investor, endpoint_id: int) -> HttpResponse:
    """Show an endpoint and the newest messages to it."""
    return _endpoint_page(request, investor, endpoint_id, Notice())


@account_page("POST")
def endpoint_test(request: HttpRequest, investor: Investor, endpoint_id: int) -> HttpResponse:
    """Send a test message now, and show what came of it."""

    def test() -> Notice:
        error = endpoints.send_test(investor_id=investor.pk, endpoint_id=endpoint_id)
        return Notice(problem=f"The test message was not taken. {error}") if error else Notice(news="The endpoint took the test message.")

    return _change(request, investor, endpoint_id, test)


@account_page("POST")
def endpoint_rotate(request: HttpRequest, investor: Investor, endpoint_id: int) -> HttpResponse:
    """Give the endpoint a new secret, which is in this answer and in no later one."""

    def rotate() -> Notice:
        endpoint = endpoints.rotate_secret(investor_id=investor.pk, endpoint_id=endpoint_id)
        return Notice(news="The endpoint has a new secret.", secret=endpoint.secret)

    return _change(request, investor, endpoint_id, rotate)


@account_page("POST")
def endpoint_disable(request: HttpRequest, investor: Investor, endpoint_id: int) -> HttpResponse:
    endpoints.set_enabled(investor_id=investor.pk, endpoint_id=endpoint_id, enabled=False)
    return redirect("loans:webhook", endpoint_id)


@account_page("POST")
def endpoint_enable(request: HttpRequest, investor: Investor, endpoint_id: int) -> HttpResponse:
    def enable() -> None:
        endpoints.set_enabled(investor_id=investor.pk, endpoint_id=endpoint_id, enabled=True)

    return _change(request, investor, endpoint_id, enable)


@account_page("POST")
def delivery_send_again(request: HttpRequest, investor: Investor, endpoint_id: int, delivery_id: int) -> HttpResponse:
    endpoints.send_again(investor_id=investor.pk, endpoint_id=endpoint_id, delivery_id=delivery_id)
    return redirect("loans:webhook", endpoint_id)


def _change(request: HttpRequest, investor: Investor, endpoint_id: int, service: Callable[[], Notice | None]) -> HttpResponse:
    """Call the service, and show its notice or its refusal on the endpoint's page. Without a notice, redirect there."""
    try:
        notice = service()
    except NotFound:
        raise
    except Problem as problem:
        notice = Notice(problem=problem.detail, status=STATUSES.get(problem.code, 409))
    return _endpoint_page(request, investor, endpoint_id, notice) if notice else redirect("loans:webhook", endpoint_id)


def _endpoint_page(request: HttpRequest, investor: Investor, endpoint_id: int, notice: Notice) -> HttpResponse:
    endpoint = endpoints.endpoint_of(investor.pk, endpoint_id)
    deliveries = endpoints.deliveries_to(endpoint)[:DELIVERIES_SHOWN]
    context = {
        "section": "webhooks",
        "endpoint": endpoint,
        "at": database_now(None),
        "notice": notice,
        "rows": [DeliveryRow(delivery, message_of(delivery.announced).type) for delivery in deliveries],
        "deliveries_shown": DELIVERIES_SHOWN,
    }
    return render(request, "loans/account/webhook.html", context, status=notice.status)
