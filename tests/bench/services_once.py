"""Call each service, each job and each list of the API once, on rows of its own, and collect the statements that it sends."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from celery import Task
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from knox.models import AuthToken

from loans import tasks
from loans.audit.history_chain import check_chain
from loans.audit.verify_history import verify_loan_history
from loans.domain.actors import Actor
from loans.domain.first_answer import Key
from loans.models import BankEvent, Reservation, ReviewItem, Transfer
from loans.notifications import deliveries, endpoints
from loans.services import (
    approvals,
    bank_events,
    batches,
    cache_refresh,
    closing_values,
    expiry,
    fill_values,
    investor_limits,
    loan_documents,
    loans,
    markets,
    named_tokens,
    overbooking,
    payment_files,
    refunds,
    reservations,
    retention,
    review_items,
    run_job_now,
    settlement,
    staff_groups,
    staff_invitations,
    staff_overrides,
    standing_orders,
    statement_imports,
    waiting_list,
    watches,
)
from tests import factories as make
from tests.loans.statement_formats.files import Payment, csv

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(str(ROOT / package) for package in ("loans", "peerloans", "cbsa"))
DOLLARS = Decimal(5_000)


@dataclass(frozen=True)
class Statement:
    """A statement as a service sent it: from where in the code, its text, and the text with its values."""

    service: str
    place: str
    text: str
    sql: str


class Recorder:
    """Calls services, and collects the statements that they send. `statements` has each text of a service once."""

    def __init__(self) -> None:
        self.statements: dict[tuple[str, str, str], Statement] = {}
        self.services: list[str] = []

    def __call__(self, service: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """Call a service, and return what it returns. Its statements go by its own name."""
        module = service.__module__.removeprefix("loans.")
        return self.call(f"{module}.{service.__name__}", service, *arguments, **named)

    def call(self, name: str, service: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        self.services.append(name)

        def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
            values = parameters[0] if many else parameters
            with_values = str(connection.ops.compose_sql(str(sql), values)) if values else str(sql)  # type: ignore[attr-defined]
            statement = Statement(name, _place(), str(sql), with_values)
            self.statements.setdefault((name, statement.place, statement.text), statement)
            return execute(sql, parameters, many, context)

        with connection.execute_wrapper(note):
            return service(*arguments, **named)


def _place() -> str:
    """Return the file and function of the project that sends a statement."""
    for frame, _ in traceback.walk_stack(None):
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return f"{Path(file).relative_to(ROOT)}:{frame.f_code.co_name}"
    return "Django"


def play(record: Recorder) -> None:
    """Call each service once. Every part makes what it needs first, by services that are not recorded."""
    staff = Actor("staff", make.UserFactory(is_staff=True, is_superuser=True).pk)
    for part in (_reserve, _wait_and_watch, _order, _pay, _overrule, _manage, _work_of_staff, _read, _run_jobs):
        part(record, staff)


def _investor_of(reservation: Reservation) -> dict[str, Any]:
    investor = reservation.investor
    return {"actor": Actor("investor", investor.user_id), "investor_id": investor.pk}


def _reserve(record: Recorder, staff: Actor) -> None:
    loan, investor = _loan(), make.InvestorFactory()
    key = Key(investor.user_id, "a key", "a digest")
    reservation = record(reservations.reserve, reference=loan.reference, investor=investor, amount=DOLLARS, key=key)
    orders = [batches.Order(loan.reference, DOLLARS), batches.Order(_loan().reference, DOLLARS)]
    record(batches.reserve_many, investor=investor, orders=orders)
    record(reservations.start_transfer, reservation_id=reservation.pk, method="ach", **_investor_of(reservation))
    other = make.reserved(loan, DOLLARS, now=None)
    record(reservations.cancel_reservation, reservation_id=other.pk, **_investor_of(other))
    # The loan is full but for a reservation that has lapsed: the second attempt, under lock, cancels it first.
    full = _loan(overbooking_rate=0)
    make.reserved(full, 100_000, now=timezone.now() - timedelta(hours=25), investor=make.InvestorFactory(**make.UNLIMITED))
    lapsed_first = make.InvestorFactory(**make.UNLIMITED)
    record.call(
        "services.reservations.reserve, under lock", reservations.reserve, reference=full.reference, investor=lapsed_first, amount=DOLLARS
    )


def _wait_and_watch(record: Recorder, staff: Actor) -> None:
    full, unlimited = _full_loan(), make.UNLIMITED
    investor = make.InvestorFactory()
    entry = record(waiting_list.join_waiting_list, reference=full.reference, investor=investor, amount=DOLLARS)
    record(waiting_list.leave_waiting_list, entry_id=entry.pk, investor=investor)
    removed = make.waiting(full, DOLLARS, now=None)
    record(waiting_list.remove_from_waiting_list, entry_id=removed.pk, actor=staff, reason="a test")
    make.waiting(full, DOLLARS, now=None, investor=make.InvestorFactory(**unlimited))
    _make_room(full)
    record(waiting_list.serve_waiting_lists)
    watched = _full_loan()
    for service in (watches.watch_loan, watches.note_that_seen):
        record(service, investor_id=investor.pk, reference=watched.reference)
    _make_room(watched)
    record.call("notifications.watches.notify_watchers", tasks.notify_watchers)
    record(watches.stop_watching, investor_id=investor.pk, reference=watched.reference)


def _order(record: Recorder, staff: Actor) -> None:
    investor = make.InvestorFactory()
    order = record(standing_orders.create_standing_order, investor=investor, amount=DOLLARS, cap=Decimal(1_000_000))
    for change in (standing_orders.pause_standing_order, standing_orders.resume_standing_order):
        record(change, order_id=order.pk, investor=investor)
    draft = make.DraftFactory(now=None)
    record(loans.open_loan, reference=draft.reference, actor=staff)
    record(standing_orders.end_standing_order, order_id=order.pk, investor=investor)


def _pay(record: Recorder, staff: Actor) -> None:
    loan = _loan()
    paid = make.pending(loan, DOLLARS, now=None)
    notice = make.notice("transfer.cleared", make.inbound(paid).reference, DOLLARS, occurred_at=timezone.now())
    record(bank_events.record_bank_event, notice)
    record.call("services.bank_events.record_bank_event, repeated", bank_events.record_bank_event, notice)
    record(settlement.settle_due)
    record(settlement.settle_ahead_of_turn, reservation_id=make.funded(_loan(), now=timezone.now()).pk, actor=staff, reason="a test")
    failing = make.pending(loan, DOLLARS, now=None)
    failed = make.notice("transfer.failed", make.inbound(failing).reference, DOLLARS, occurred_at=timezone.now())
    record.call("services.bank_events.record_bank_event, of a failure", bank_events.record_bank_event, failed)
    stray = make.notice("transfer.cleared", "rent", DOLLARS, occurred_at=timezone.now(), event="stray")
    record.call("services.bank_events.record_bank_event, of an unknown reference", bank_events.record_bank_event, stray)
    expected = make.pending(loan, DOLLARS, now=None)
    reference = make.inbound(expected).reference
    record(bank_events.assign_bank_event, bank_event_id="stray", reference=reference, actor=staff, reason="a test")
    first, second = _refund(), _refund()
    record(payment_files.send_refunds, refund_ids=[first.pk, second.pk], actor=staff, reason="a test")
    by_hand = {"occurred_at": timezone.now(), "actor": staff, "reason": "a test"}
    record(refunds.mark_refund_paid, transfer_id=first.pk, notice_id=uuid4(), **by_hand)
    record(refunds.mark_refund_bounced, transfer_id=second.pk, notice_id=uuid4(), **by_hand)
    for answer in (bank_events.answer_same_payment, bank_events.answer_another_payment):
        record(answer, bank_event_id=_possible_duplicate().pk, actor=staff, reason="a test")


def _overrule(record: Recorder, staff: Actor) -> None:
    loan = _loan()
    by_staff = {"actor": staff, "reason": "a test"}
    reservation = make.reserved(loan, DOLLARS, now=None)
    later = timezone.now() + timedelta(days=3)
    record(staff_overrides.extend_reservation, reservation_id=reservation.pk, expires_at=later, **by_staff)
    record(staff_overrides.cancel_by_staff, reservation_id=reservation.pk, **by_staff)
    record(staff_overrides.reinstate_reservation, reservation_id=reservation.pk, **by_staff)
    paid = make.pending(loan, DOLLARS, now=None)
    by_hand = {"reservation_id": paid.pk, "occurred_at": timezone.now(), **by_staff}
    record(staff_overrides.record_money, notice_id=uuid4(), **by_hand)
    record(staff_overrides.reverse_payment, notice_id=uuid4(), **by_hand)
    less = make.pending(loan, DOLLARS, now=None)
    make.money_comes(less, DOLLARS - 1_000, now=timezone.now())
    record(staff_overrides.accept_amount, reservation_id=less.pk, **by_staff)


def _manage(record: Recorder, staff: Actor) -> None:
    draft, by_staff = make.DraftFactory.build(), {"actor": staff, "reason": "a test"}
    opens_at = timezone.now() - timedelta(minutes=1)
    before = {"now": opens_at - timedelta(minutes=1)}
    loan = record(loans.create_loan, draft, actor=staff, **before)
    record(loans.edit_loan, reference=loan.reference, facts={"title": "Five flats"}, actor=staff, **before)
    record(loans.announce_loan, reference=loan.reference, opens_at=opens_at, **by_staff, **before)
    record(loans.open_announced_loans)
    closes_at = timezone.now() + timedelta(days=60)
    record(loans.extend_loan, reference=loan.reference, closes_at=closes_at, **by_staff)
    record(overbooking.set_overbooking, reference=loan.reference, overbooking_policy="evidence", **by_staff)
    record(overbooking.set_overbooking_by_evidence)
    user = {"loan_id": loan.pk, "user_id": staff.user_id}
    document, _ = record(loan_documents.add_document, title="Appraisal", content=b"%PDF-1.7", **user)
    record(loan_documents.remove_document, loan_id=loan.pk, document_id=document.pk)
    make.reserved(loan, DOLLARS, now=None)
    record(loans.withdraw_loan, reference=loan.reference, **by_staff)
    ended = _loan(now=timezone.now() - timedelta(hours=2), closes_at=timezone.now() - timedelta(hours=1))
    make.settled(ended, DOLLARS, now=timezone.now() - timedelta(minutes=90))
    record(loans.close_loan_at_settled, reference=ended.reference, **by_staff)
    record(markets.preview_market_changes, 0)
    record(investor_limits.change_investor_limits, investor_id=make.InvestorFactory().pk, let_go_limit=7, **by_staff)


def _work_of_staff(record: Recorder, staff: Actor) -> None:
    colleague = Actor("staff", make.UserFactory(is_staff=True, is_superuser=True).pk)
    for decide in (approvals.approve, approvals.reject):
        reservation = make.funded(_loan(), now=timezone.now())
        values = {"act": "settle_ahead", "arguments": {"reservation_id": reservation.pk}, "loan_id": reservation.loan_id}
        request = record(approvals.request_approval, **values, description=str(reservation.pk), actor=staff, reason="a test")
        record(decide, request_id=request.pk, actor=colleague, reason="a test")
    item = ReviewItem.objects.filter(resolved_at=None).latest("id").pk
    record(review_items.take_review_item, review_item_id=item, owner_shown=None, actor=staff)
    record(review_items.comment_on_review_item, review_item_id=item, comment_id=uuid4(), text="I have called.", actor=staff)
    record(review_items.give_back_review_item, review_item_id=item, actor=staff)
    record(review_items.resolve_review_item, review_item_id=item, actor=staff, reason="a test")
    user = make.UserFactory()
    token, _ = AuthToken.objects.create(user)
    generation = record(named_tokens.generation_of_log_in, user_id=user.pk, digest=token.digest)
    create = transaction.atomic(named_tokens.create_named_token)
    named, _ = record(create, user_id=user.pk, generation=generation, name="A program", scopes=["read"], days=1)
    record.call("services.named_tokens.named_tokens_of", lambda: list(named_tokens.named_tokens_of(user.pk)))
    record(named_tokens.revoke_named_token, user_id=user.pk, token_id=named.pk)
    record(run_job_now.run_scheduled_job, job_id=PeriodicTask.objects.earliest("id").pk, actor=staff, reason="a test")
    record(staff_groups.repair_groups)
    record(staff_invitations.invite_colleague, email="new@example.org", first_name="", last_name="", role="Operations", actor=staff)
    _import_statement(record)
    endpoint = record(endpoints.add_endpoint, investor_id=make.InvestorFactory().pk, url="https://example.org/")
    own = {"investor_id": endpoint.investor_id, "endpoint_id": endpoint.pk}
    record(endpoints.rotate_secret, **own)
    record(endpoints.set_enabled, **own, enabled=False)
    record.call("audit.verify_history.verify_loan_history", _verify_loan_history, _loan().reference)
    record(check_chain)


def _verify_loan_history(reference: str) -> list[Any]:
    return list(verify_loan_history([reference]))


def _import_statement(record: Recorder) -> None:
    reference = make.inbound(make.pending(_loan(), DOLLARS, now=None)).reference
    content = csv(Payment(str(DOLLARS), reference, "1")).encode()
    request = {"file_name": "july.csv", "content": content, "requested_by": "olga", "send": lambda _: None}
    canceled = statement_imports.request_import(**request)
    record(statement_imports.cancel_import, import_id=canceled.pk, canceled_by="olga", reason="a test")
    statement = record(statement_imports.request_import, **request)
    record.call("services.statement_imports.run_import, checking", statement_imports.run_import, statement.pk)
    booking = {"booked_by": "otto", "reason": "a test", "accept_doubtful": False, "send": lambda _: None}
    record(statement_imports.request_booking, import_id=statement.pk, **booking)
    record.call("services.statement_imports.run_import, booking", statement_imports.run_import, statement.pk)
    finished = {"file_name": "june.csv", "content": content, "booked_by": "otto", "statement_format": "csv"}
    record(statement_imports.record_finished_booking, **finished, outcomes=[])


def _read(record: Recorder, staff: Actor) -> None:
    """Ask the API for each list and each single thing of an investor who has some of everything."""
    deliveries.deliver_due()
    investor = make.InvestorFactory()
    loan = _loan()
    funded = make.settled(_loan(amount=DOLLARS), DOLLARS, now=timezone.now())
    reservation = make.pending(loan, DOLLARS, now=None, investor=investor)
    make.waiting(_full_loan(), DOLLARS, now=None, investor=investor)
    order = make.standing_order(now=None, investor=investor)
    endpoint = endpoints.add_endpoint(investor_id=investor.pk, url="https://example.org/")
    endpoints.set_enabled(investor_id=investor.pk, endpoint_id=endpoint.pk, enabled=False)  # so that no message goes there
    _, secret = AuthToken.objects.create(investor.user)
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    for path in (
        "loans/",
        f"loans/{loan.reference}/",
        f"loans/{funded.loan.reference}/allotment/",
        "reservations/",
        f"reservations/{reservation.pk}/",
        f"reservations/{reservation.pk}/history/",
        f"reservations/{reservation.pk}/outlook/",
        "waiting-list/",
        "standing-orders/",
        f"standing-orders/{order.pk}/",
        f"standing-orders/{order.pk}/openings/",
        "events/",
        "portfolio/",
        "tokens/",
        "webhook-endpoints/",
        f"webhook-endpoints/{endpoint.pk}/deliveries/",
    ):
        shown = path.replace(str(reservation.pk), "…").replace(str(order.pk), "…").replace(f"/{endpoint.pk}/", "/…/")
        shown = shown.replace(funded.loan.reference, "…").replace(loan.reference, "…")
        response = record.call(f"GET {shown}", client.get, f"/api/v1/{path}")
        assert response.status_code == 200, (path, response.content)


def _run_jobs(record: Recorder, staff: Actor) -> None:
    """Run each job, with something to do for each."""
    make.reserved(_loan(), DOLLARS, now=timezone.now() - timedelta(hours=25))
    make.funded(_loan(), DOLLARS, now=timezone.now())
    record(expiry.expire_due)
    make.reserved(_loan(), DOLLARS, now=timezone.now() - timedelta(hours=25))
    loan = _loan(now=timezone.now() - timedelta(days=9))
    make.reserved(loan, DOLLARS, now=timezone.now() - timedelta(minutes=5))
    record(fill_values.record_new_fill_values, least_new=1)
    record(closing_values.record_due_closing_values)
    record(markets.resolve_loan_markets)
    record(cache_refresh.refresh_remaining_cache)
    record(retention.delete_old_idempotency_keys)
    record(retention.delete_ended_access_data)
    make.UserFactory()
    jobs = [job for job in vars(tasks).values() if isinstance(job, Task) and job.__module__ == "loans.tasks"]
    for job in sorted(jobs, key=lambda job: job.name):
        match job.__name__:
            case "settle_loan" | "serve_waiting_list":
                record.call(f"tasks.{job.__name__}", job, loan.pk)
            case "run_statement_import":
                continue  # recorded as the service
            case name:
                record.call(f"tasks.{name}", job)


# --- What the parts start from ----------------------------------------------------------------------------------------------
def _loan(**fields: Any) -> Any:
    return make.LoanFactory(**{"now": None, **fields})


def _full_loan() -> Any:
    loan = _loan(overbooking_rate=0)
    make.reserved(loan, 100_000, now=None, investor=make.InvestorFactory(**make.UNLIMITED))
    return loan


def _make_room(loan: Any) -> None:
    reservation = loan.reservations.filter(state="reserved").earliest("number")
    reservations.cancel_reservation(reservation_id=reservation.pk, **_investor_of(reservation))


def _refund() -> Transfer:
    reservation = make.funded(_loan(), DOLLARS, now=timezone.now())
    staff_overrides.cancel_by_staff(reservation_id=reservation.pk, actor=make.STAFF, reason="a test")
    return reservation.transfers.get(direction="refund")


def _possible_duplicate() -> BankEvent:
    """Return a report of the bank that looks like another one of the same payment."""
    loan, at = _loan(), timezone.now()
    reservation = make.funded(loan, DOLLARS, now=at)
    make.money_comes(reservation, now=at)
    return make.inbound(reservation).bank_events.latest("number")
