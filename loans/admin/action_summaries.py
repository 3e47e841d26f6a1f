"""Say in one sentence what a staff action does in total, over all rows of its preview."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from loans.admin.action_previews import Preview
from loans.admin.actions import StaffAction
from loans.domain.states import CAUSES, LoanEvent, ReservationEvent, TransferEvent, WaitingListEvent
from loans.models import Transition
from loans.selectors.offers import LoanOffer
from peerloans.wording import dollars_text

# By kind of row and event, in the order of the sentence: what is said of one, and of several. Events without words follow from others.
OneOrMany = tuple[str, str]
_CANCELED = ("{count} reservation becomes canceled", "{count} reservations become canceled")
_LIVE_AGAIN = ("{count} reservation of {dollars} is live again", "{count} reservations of {dollars} are live again")
_OTHER_AMOUNT = ("{count} reservation gets another amount", "{count} reservations get another amount")
_TAKEN_BACK = ("the bank takes back {dollars}", "the bank takes back {dollars}")
_NO_LONGER_DUE = ("a refund of {dollars} is no longer due", "refunds of {dollars} are no longer due")
_PAID = ("{count} refund of {dollars} is paid", "{count} refunds of {dollars} are paid")
_DUE_AGAIN = ("{count} refund of {dollars} is due again", "{count} refunds of {dollars} are due again")
_FUNDED = ("{count} loan becomes funded", "{count} loans become funded")
WORDS: Mapping[tuple[str, str], OneOrMany] = {
    ("loan", LoanEvent.ANNOUNCED): ("{count} loan is announced", "{count} loans are announced"),
    ("loan", LoanEvent.OPENED): ("{count} loan opens", "{count} loans open"),
    ("loan", LoanEvent.EXTENDED): ("{count} loan gets another closing", "{count} loans get another closing"),
    ("loan", LoanEvent.OVERBOOKING_SET): ("the overbooking of {count} loan changes", "the overbooking of {count} loans changes"),
    ("loan", LoanEvent.FUNDED): _FUNDED,
    ("loan", LoanEvent.CLOSED_AT_SETTLED): _FUNDED,
    ("loan", LoanEvent.REOPENED): ("{count} loan opens again", "{count} loans open again"),
    ("loan", LoanEvent.WITHDRAWN): ("{count} loan is withdrawn", "{count} loans are withdrawn"),
    ("reservation", ReservationEvent.EXPIRED): ("{count} lapsed reservation expires", "{count} lapsed reservations expire"),
    **{("reservation", cause): _CANCELED for cause in CAUSES if cause != ReservationEvent.EXPIRED},
    ("reservation", ReservationEvent.REINSTATED_RESERVED): _LIVE_AGAIN,
    ("reservation", ReservationEvent.REINSTATED_PENDING): _LIVE_AGAIN,
    ("reservation", ReservationEvent.REVIVED): _LIVE_AGAIN,
    ("reservation", ReservationEvent.TRANSFER_STARTED): ("{count} reservation becomes pending", "{count} reservations become pending"),
    ("reservation", ReservationEvent.EXTENDED): ("{count} reservation gets a later deadline", "{count} reservations get a later deadline"),
    ("reservation", ReservationEvent.AMOUNT_ACCEPTED): _OTHER_AMOUNT,
    ("reservation", ReservationEvent.AMOUNT_FOLLOWED): _OTHER_AMOUNT,
    ("transfer", TransferEvent.CLEARED): ("{dollars} is received", "{dollars} is received"),
    ("transfer", TransferEvent.FAILED): ("{count} transfer fails", "{count} transfers fail"),
    ("transfer", TransferEvent.RETURNED): _TAKEN_BACK,
    ("transfer", TransferEvent.RETURNED_IN_PART): _TAKEN_BACK,
    ("reservation", ReservationEvent.FUNDED): (
        "{count} reservation of {dollars} becomes funded",
        "{count} reservations of {dollars} become funded",
    ),
    ("reservation", ReservationEvent.UNFUNDED): ("{count} reservation becomes unfunded", "{count} reservations become unfunded"),
    ("reservation", ReservationEvent.SETTLED): ("{count} reservation settles for {dollars}", "{count} reservations settle for {dollars}"),
    ("transfer", TransferEvent.DUE): ("{count} investor is refunded {dollars}", "{count} investors are refunded {dollars}"),
    ("transfer", TransferEvent.VOIDED): _NO_LONGER_DUE,
    ("transfer", TransferEvent.VOIDED_IN_PART): _NO_LONGER_DUE,
    ("transfer", TransferEvent.PAID): _PAID,
    ("transfer", TransferEvent.PAID_IN_PART): _PAID,
    ("transfer", TransferEvent.BOUNCED): _DUE_AGAIN,
    ("transfer", TransferEvent.BOUNCED_IN_PART): _DUE_AGAIN,
    ("reservation", ReservationEvent.LOST): ("{dollars} is lost", "{dollars} is lost"),
    ("reservation", ReservationEvent.RECOVERED): ("{dollars} is recovered", "{dollars} is recovered"),
    ("entry", WaitingListEvent.REMOVED): (
        "{count} entry of a waiting list is removed",
        "{count} entries of waiting lists are removed",
    ),
    ("entry", WaitingListEvent.ENDED): ("{count} entry of a waiting list ends", "{count} entries of waiting lists end"),
    ("reservation", ReservationEvent.RESERVED): ("{count} reservation of {dollars} is made", "{count} reservations of {dollars} are made"),
}


@dataclass
class _Tally:
    """The rows or investors that are concerned, and the dollars."""

    keys: set[object] = field(default_factory=set)
    dollars: Decimal = Decimal(0)


def summary(action: StaffAction, previews: Sequence[Preview]) -> str:
    """Return what the action does to all rows together, as sentences; what awaits an approval and what is refused come last."""
    at_once = [each for each in previews if each.happens]
    requested = [each for each in previews if each.needs_approval and not each.refusal]
    refused = len(previews) - len(at_once) - len(requested)
    rows = f" of {len(previews):,} rows" if len(previews) > 1 else " row"
    sentences = []
    if at_once:
        sentences.append(_sentence(_clauses(action, at_once)) or "No loan, reservation or transfer changes; it may be done already.")
    if requested:
        has, then = "has" if len(requested) == 1 else "have", "; ".join(_clauses(action, requested))
        sentences.append(
            f"{len(requested):,}{rows} {has} to be approved by another member of staff. Once approved: {then or 'nothing changes'}."
        )
    if refused:
        sentences.append(f"{refused:,}{rows} {'is' if refused == 1 else 'are'} refused and stay{'s' * (refused == 1)} as before.")
    return " ".join(sentences)


def loans_in_total(previews: Sequence[Preview]) -> list[tuple[LoanOffer, LoanOffer]]:
    """Return each loan that several rows change, as it is now and as it is after the last of them."""
    followed = {each.offer_after.loan.pk for each in previews if each.follows and each.happens and each.offer_after}
    return [pair for pk, pair in _loans([each for each in previews if each.happens]).items() if pk in followed]


def _loans(previews: Sequence[Preview]) -> dict[int, tuple[LoanOffer, LoanOffer]]:
    """Return each loan before the first row that changes it, and after the last."""
    loans: dict[int, tuple[LoanOffer, LoanOffer]] = {}
    for each in previews:
        if each.offer_before and each.offer_after:
            first, _ = loans.get(each.offer_after.loan.pk, (each.offer_before, None))
            loans[each.offer_after.loan.pk] = first, each.offer_after
    return loans


def _sentence(clauses: Sequence[str]) -> str:
    text = "; ".join(clauses)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _clauses(action: StaffAction, previews: Sequence[Preview]) -> list[str]:
    tallies: dict[OneOrMany, _Tally] = {words: _Tally() for words in WORDS.values()}
    for transition in (transition for each in previews for transition in each.transitions):
        kind, key = _subject(transition)
        if words := WORDS.get((kind, transition.event)):
            tally = tallies[words]
            tally.keys.add(key)
            tally.dollars += _dollars(transition)
    opened = sum(len(each.review_items) for each in previews)
    return [
        *([_filled(action.in_total, len(previews))] if action.in_total else []),
        *(_filled(words, len(tally.keys), tally.dollars) for words, tally in tallies.items() if tally.keys),
        *([_filled(("{count} review item opens", "{count} review items open"), opened)] if opened else []),
        *_available(previews),
    ]


def _dollars(transition: Transition) -> Decimal:
    """Return the dollars that a transition is about. Where a refund bounced before it was paid, none have moved: then the dollars due."""
    if transition.transfer and transition.event == TransferEvent.BOUNCED and not transition.amount:
        return transition.transfer.outstanding
    return transition.amount or Decimal(0)


def _subject(transition: Transition) -> tuple[str, object]:
    """Return what the transition is of, and by what it is counted: refunds that become due by their investors, all else by itself."""
    if transition.transfer_id and transition.reservation:
        is_due = transition.event == TransferEvent.DUE
        return "transfer", transition.reservation.investor_id if is_due else transition.transfer_id
    if transition.waiting_entry_id:
        return "entry", transition.waiting_entry_id
    return ("reservation", transition.reservation_id) if transition.reservation_id else ("loan", transition.loan_id)


def _available(previews: Sequence[Preview]) -> Iterator[str]:
    change = sum((after.available - before.available for before, after in _loans(previews).values()), Decimal(0))
    if change > 0:
        yield f"{dollars_text(change)} becomes available"
    elif change < 0:
        yield f"{dollars_text(-change)} is no longer available"


def _filled(words: OneOrMany, count: int, dollars: Decimal = Decimal(0)) -> str:
    return words[count != 1].format(count=f"{count:,}", dollars=dollars_text(dollars))
