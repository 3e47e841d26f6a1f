"""Let investors manage the webhook endpoints of their own systems."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from uuid import uuid4

from django.core.cache import cache
from django.db import transaction
from django.db.models import QuerySet

from loans.domain.errors import Busy, Invalid, NotFound
from loans.models import Delivery, DeliveryStatus, Investor, WebhookEndpoint
from loans.models.fields import new_secret
from loans.notifications import webhooks
from peerloans import safe_http
from peerloans.api.renderers import as_json
from peerloans.database.clock import database_now

TEST_TYPE = "webhook.test"
MOST_ENABLED = 5
BOTH_SECRETS_FOR = timedelta(days=1)
TEST_SECONDS = 5.0  # A test holds a thread of the web server while it waits for the endpoint.
LARGEST_ID = 2**63 - 1


def add_endpoint(*, investor_id: int, url: str) -> WebhookEndpoint:
    """Add an enabled endpoint with a secret of its own, and return it.

    Raises:
        Invalid: webhooks are never sent to this URL, or MOST_ENABLED are enabled already.
    """
    try:
        webhooks.check_url(url)
    except safe_http.Refused as refusal:
        raise Invalid(str(refusal), errors={"url": [str(refusal)]}) from None
    with transaction.atomic():
        _lock(investor_id)
        return WebhookEndpoint.objects.create(investor_id=investor_id, url=url)


def set_enabled(*, investor_id: int, endpoint_id: int, enabled: bool) -> WebhookEndpoint:
    """Enable or disable an endpoint. A disabled one gets no new messages. A repeat changes nothing.

    Raises:
        NotFound: the investor has no such endpoint.
        Invalid: MOST_ENABLED are enabled already.
    """
    with transaction.atomic():
        endpoint = endpoint_of(investor_id, endpoint_id)
        if endpoint.enabled != enabled:
            if enabled:
                _lock(investor_id)
            endpoint.enabled = enabled
            endpoint.save(update_fields=["enabled"])
        return endpoint


def rotate_secret(*, investor_id: int, endpoint_id: int, now: datetime | None = None) -> WebhookEndpoint:
    """Give an endpoint a new secret. For a day, messages are signed with the former one too, so that none is lost meanwhile.

    Raises:
        NotFound: the investor has no such endpoint.
    """
    with transaction.atomic():
        endpoint = endpoint_of(investor_id, endpoint_id, lock=True)
        endpoint.former_secret, endpoint.secret = endpoint.secret, new_secret()
        endpoint.former_secret_until = database_now(now) + BOTH_SECRETS_FOR
        endpoint.save(update_fields=["secret", "former_secret", "former_secret_until"])
        return endpoint


def send_test(*, investor_id: int, endpoint_id: int) -> str:
    """Send a message of the type `webhook.test` now, and return what went wrong; an empty text if it was taken.

    Raises:
        NotFound: the investor has no such endpoint.
        Busy: another test of this investor is still under way.
    """
    endpoint = endpoint_of(investor_id, endpoint_id)
    with _one_at_a_time(investor_id):
        at = database_now(None)
        content = {"type": TEST_TYPE, "timestamp": at, "data": {"endpoint": endpoint.pk}}
        body = as_json(content).decode()
        try:
            webhooks.send(url=endpoint.url, secrets=endpoint.secrets(at), message_id=f"msg_{uuid4().hex}", body=body, seconds=TEST_SECONDS)
        except (safe_http.Refused, safe_http.Failed) as error:
            return str(error)
        return ""


def endpoint_of(investor_id: int, endpoint_id: int, *, lock: bool = False) -> WebhookEndpoint:
    """Return the investor's endpoint. Raises: NotFound."""
    endpoints = WebhookEndpoint.objects.select_for_update() if lock else WebhookEndpoint.objects
    endpoint = endpoints.filter(pk=endpoint_id, investor_id=investor_id).first() if endpoint_id <= LARGEST_ID else None
    if endpoint is None:
        raise NotFound("You have no such webhook endpoint.")
    return endpoint


def deliveries_to(endpoint: WebhookEndpoint) -> QuerySet[Delivery]:
    """Return the deliveries to the endpoint, newest first."""
    # Deliveries have no index by endpoint. The condition on the investor lets that of the investor be used.
    return Delivery.objects.filter(investor=endpoint.investor_id, endpoint=endpoint).select_related("transition").order_by("-id")


def send_again(*, investor_id: int, endpoint_id: int, delivery_id: int, now: datetime | None = None) -> Delivery:
    """Make a delivery due again that was sent or given up. The receiver recognizes it by its id. One that waits is left as it is.

    Raises:
        NotFound: the investor's endpoint has no such delivery.
    """
    with transaction.atomic():
        own = deliveries_to(endpoint_of(investor_id, endpoint_id)).select_for_update(of=("self",))
        delivery = own.filter(pk=delivery_id).first() if delivery_id <= LARGEST_ID else None
        if delivery is None:
            raise NotFound("This endpoint has no such delivery.")
        if delivery.status != DeliveryStatus.WAITING:
            delivery.status, delivery.next_attempt_at, delivery.ended_at = DeliveryStatus.WAITING, database_now(now), None
            delivery.save(update_fields=["status", "next_attempt_at", "ended_at"])
        return delivery


def _lock(investor_id: int) -> None:
    """Let one request at a time decide about the investor's endpoints. Raises Invalid where no further one may be enabled."""
    Investor.objects.select_for_update(no_key=True).get(pk=investor_id)
    if WebhookEndpoint.objects.filter(investor=investor_id, enabled=True).count() >= MOST_ENABLED:
        raise Invalid(f"You have {MOST_ENABLED} enabled endpoints, the most there may be. Disable one first.")


@contextmanager
def _one_at_a_time(investor_id: int) -> Iterator[None]:
    """Hold a mark in Redis, so that one investor cannot occupy several threads with endpoints that answer slowly.

    Raises: Busy.
    """
    mark = f"webhook-test:{investor_id}"
    if not cache.add(mark, 1, timeout=2 * TEST_SECONDS):
        raise Busy("Another test is still under way. Try again in a few seconds.")
    try:
        yield
    finally:
        cache.delete(mark)
