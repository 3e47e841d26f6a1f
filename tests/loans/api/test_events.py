"""The event feed: real transactions, of several connections where their order matters."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from loans.models import Investor, Loan, Reservation, Transfer, Transition
from loans.notifications import deliveries, feed, outbox
from loans.notifications.feed import START, Position, position_after, read_feed
from tests import factories
from tests.factories import InvestorFactory, LoanFactory
from tests.loans.api.conftest import Caller, problem
from tests.loans.notifications.conftest import OTHER_NUMBERS, add_endpoint, open_transaction, restore_from_another_server
from tests.loans.notifications.listener import Listener

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def reader(db: None) -> Investor:
    return InvestorFactory()


def read_on(reader: Investor, position: Position, at_least: int = 0) -> tuple[list[Decimal | None], Position]:
    """The amounts of what is new, read one event a page until there are `at_least` so many, and the position after it.

    A transaction of another database that ends while the feed looks which are open holds it back until the next look.
    """
    amounts, give_up_at = [], time.monotonic() + 10
    while (page := read_feed(reader.pk, position, 1)).transitions or (len(amounts) < at_least and time.monotonic() < give_up_at):
        amounts += [transition.amount for transition in page.transitions]
        position = position_after(page, position)
    return amounts, position


def pages(caller: Caller, size: int) -> Iterator[dict[str, Any]]:
    page = caller.get("events/", page_size=size).json()
    yield page
    while page["has_more"]:
        page = caller.get("events/", page_size=size, after=page["next_after"]).json()
        yield page


def test_the_feed_has_what_the_webhooks_say(investor: Caller, loan: Loan, listener: Listener) -> None:
    add_endpoint(investor.investor, listener.url)
    made = investor.post(f"loans/{loan.reference}/reservations/", {"amount": 5000}).json()
    investor.post(f"reservations/{made['id']}/transfer/", {"method": "ach"})
    deliveries.deliver_due()
    deliveries.deliver_due()
    events = investor.get("events/").json()["results"]
    assert [event["type"] for event in events] == ["reservation.reserved", "reservation.transfer_started"]
    assert events[1]["data"]["reference"] == Transfer.objects.get().reference
    assert events == [{"id": headers["webhook-id"], **json.loads(body)} for headers, body in listener.got]


def test_each_event_comes_once_in_bounded_pages_and_other_investors_do_not_show(
    investor: Caller, new_investor: Callable[..., Caller]
) -> None:
    loan, now = LoanFactory(now=None), timezone.now()
    for amount in range(1_000, 1_007):
        factories.reserved(loan, amount, investor=investor.investor, now=now)
        factories.reserved(loan, now=now)
    read = list(pages(investor, 3))
    assert [len(page["results"]) for page in read] == [3, 3, 1]
    assert [event["data"]["amount"] for page in read for event in page["results"]] == [f"{amount}.00" for amount in range(1_000, 1_007)]
    assert new_investor().get("events/").json()["results"] == []


def test_the_reader_goes_on_where_it_stood(investor: Caller) -> None:
    loan, now = LoanFactory(now=None), timezone.now()
    begin = investor.get("events/").json()
    assert (begin["results"], begin["has_more"]) == ([], False)
    factories.reserved(loan, 5_000, investor=investor.investor, now=now)
    page = investor.get("events/", after=begin["next_after"]).json()
    assert len(page["results"]) == 1
    end = investor.get("events/", after=page["next_after"])
    assert (end.json()["results"], end.json()["next_after"]) == ([], page["next_after"])
    same = investor.get("events/", after=page["next_after"], headers={"If-None-Match": end.headers["ETag"]})
    assert same.status_code == 304


@pytest.fixture
def reservations(reader: Investor) -> list[Reservation]:
    """Two of the reader's, of 11,000 and 22,000 dollars. Their transfers may be started at once, since that locks only their loans."""
    return [factories.reserved(LoanFactory(), amount, investor=reader) for amount in (11_000, 22_000)]


def test_nothing_is_skipped_when_a_later_transaction_commits_first(reader: Investor, reservations: list[Reservation]) -> None:
    _, position = read_on(reader, START, at_least=2)
    with open_transaction(lambda: factories.start_transfer(reservations[0])) as commit:
        factories.start_transfer(reservations[1])
        amounts, position = read_on(reader, position)
        assert amounts == []  # the open transaction comes before it
        commit()
    assert read_on(reader, position, at_least=2)[0] == [11_000, 22_000]


def test_without_the_limit_at_open_transactions_an_event_would_be_skipped(
    reader: Investor, reservations: list[Reservation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_READ", feed._READ.replace(feed.OLDEST_OPEN, "'9223372036854775807'::xid8"))
    _, position = read_on(reader, START, at_least=2)
    with open_transaction(lambda: factories.start_transfer(reservations[0])) as commit:
        factories.start_transfer(reservations[1])
        during, position = read_on(reader, position, at_least=1)
        commit()
    assert during + read_on(reader, position)[0] == [22_000]


def test_nothing_is_skipped_when_a_lower_id_appears_after_a_higher_one_was_read(reader: Investor, reservations: list[Reservation]) -> None:
    """The younger transaction writes first, so it has the lower id, and it commits last."""
    _, position = read_on(reader, START, at_least=2)
    with ExitStack() as younger:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()")
            commit = younger.enter_context(open_transaction(lambda: factories.start_transfer(reservations[1])))
            factories.start_transfer(reservations[0])
        during, position = read_on(reader, position, at_least=1)
        assert during == [11_000]
        commit()
    assert read_on(reader, position, at_least=1)[0] == [22_000]
    by_id = Transition.objects.filter(event="transfer_started").order_by("id")
    assert list(by_id.values_list("amount", flat=True)) == [22_000, 11_000]


@pytest.mark.parametrize("parameters", [{"after": "1"}, {"after": ""}, {"page_size": "1001"}, {"page_size": "0"}, {"before": "1"}])
def test_a_position_that_was_not_given_out_is_refused(investor: Caller, parameters: dict[str, str]) -> None:
    response = investor.get("events/", **parameters)
    assert problem(response) == (400, "invalid")
    assert list(response.json()["errors"]) == list(parameters)


def test_a_position_that_the_server_has_not_come_to_is_refused() -> None:
    with pytest.raises(feed.Invalid, match="from its beginning"):
        read_feed(InvestorFactory().pk, Position(2**62, 1), 1)


def test_the_reader_goes_on_after_a_dump_was_restored_into_another_server(reader: Investor) -> None:
    loan = LoanFactory()
    factories.reserved(loan, 1_000, investor=reader)
    amounts, position = read_on(reader, START, at_least=1)
    factories.reserved(loan, 2_000, investor=reader)
    restore_from_another_server()
    outbox.fan_out_all()
    factories.reserved(loan, 3_000, investor=reader)
    assert amounts == [1_000]
    position = Position(position.txid + OTHER_NUMBERS, position.transition_id)  # as the other server gave it out
    assert read_on(reader, position, at_least=2)[0] == [2_000, 3_000]
    assert read_on(reader, START, at_least=3)[0] == [1_000, 2_000, 3_000]


def test_a_position_that_was_lost_in_a_restore_is_refused(reader: Investor) -> None:
    factories.reserved(LoanFactory(), 1_000, investor=reader)
    restore_from_another_server()
    outbox.fan_out_all()
    last = Transition.objects.latest("id")
    with pytest.raises(feed.Invalid, match="from its beginning"):
        read_feed(reader.pk, Position(last.txid + 10, last.pk + 10), 1)
