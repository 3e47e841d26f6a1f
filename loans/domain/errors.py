"""Define the refusals of the loan rules.

Each class has a stable code for programs. Its docstring names the entries of `data`, which tell the caller what is possible instead.
The service that refuses writes the sentence that people read; those of the rules for investors are in loans/services/refusal_wording.py.
peerloans/api/error_statuses.py gives each code its HTTP status.

Where a docstring says `Raises: NotFound, Busy.` without more, these have the meaning that they have here.
"""

from peerloans.errors import Problem


class NotFound(Problem):
    """There is no such object, or it belongs to another investor."""

    code = "not_found"
    title = "Not found"


class NotAccredited(Problem):
    """The investor is not active, or not accredited on this day."""

    code = "not_accredited"
    title = "Not accredited"


class BelowMinimum(Problem):
    """The amount is below the loan's minimum and is not the closing piece. `minimum`: the smallest amount that is accepted."""

    code = "below_minimum"
    title = "Below the minimum"


class Invalid(Problem):
    """A value of the request is not acceptable."""

    code = "invalid"
    title = "Invalid request"


class OverLimit(Problem):
    """The amount is more than is available.

    `available`: in dollars; `frees_at`: when more may be available, or None; `available_then`: how much at that instant;
    `waiting_list`: how many `entries` wait for the loan, and for how many `dollars`.
    """

    code = "over_limit"
    title = "More than is available"


class InvestorLimit(Problem):
    """The reservation would exceed a limit of its investor.

    `limited`: what is limited (`unfunded`, `unfunded_on_loan` or `let_go`); `limit`: how much of it; `used`: what is taken of it.
    Both are texts, of dollars or of reservations (`let_go`). `frees_at`: when the same reservation may be within the limit, or None.
    """

    code = "investor_limit"
    title = "Limit of the investor"


class LoanNotOpen(Problem):
    """The loan takes no reservations. `loan_status`: its state."""

    code = "loan_not_open"
    title = "Loan not open"


class ReservationExpired(Problem):
    """The deadline of the reservation has passed. `expired_at`: that deadline; `state`: the present state."""

    code = "reservation_expired"
    title = "Reservation expired"


class IllegalTransition(Problem):
    """The present state does not allow the event. `state`: the present state; `possible`: the events that it allows."""

    code = "illegal_transition"
    title = "Not possible in this state"


class NotPermitted(Problem):
    """The user may not do it. Mostly since it is the user's own request or reservation, on which somebody else has to decide."""

    code = "permission_denied"
    title = "Not permitted"


class ScopeMissing(Problem):
    """The token does not have the scope that the request needs. `needed_scope`: that scope; `scopes`: those of the token."""

    code = "scope_missing"
    title = "Scope missing"


class ApprovalNeeded(Problem):
    """A second member of staff has to approve it. `limit`: how many dollars one person may move alone."""

    code = "approval_needed"
    title = "Approval needed"


class Busy(Problem):
    """A lock did not come in time. The same request may succeed a moment later."""

    code = "busy"
    title = "Busy"


class InvalidSignature(Problem):
    """The request is not signed by the bank, or its timestamp differs too much from the present time."""

    code = "invalid_signature"
    title = "Invalid signature"


class IdempotencyKeyReused(Problem):
    """The key was used before, with another request."""

    code = "idempotency_key_reused"
    title = "Idempotency-Key reused"


class RequestInProgress(Problem):
    """The first request with this key is still running."""

    code = "request_in_progress"
    title = "Request in progress"


class StatementRefused(Problem):
    """A bank statement is not read, or not booked. No line of it was booked.

    `bad_lines`: the first lines that cannot be read, each with `file`, `line` and `reason`; `bad_lines_count`: how many there are.
    """

    code = "statement_refused"
    title = "Statement refused"
