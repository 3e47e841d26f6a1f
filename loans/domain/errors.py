"""What can go wrong with a loan or a reservation, and what does the caller learn of it?

Each class carries its code and HTTP status; `data` holds what helps the caller to go on.
"""

from peerloans.errors import Problem


class NotFound(Problem):
    code = "not_found"
    status = 404
    title = "Not found"


class NotAccredited(Problem):
    code = "not_accredited"
    status = 403
    title = "Not accredited"


class BelowMinimum(Problem):
    code = "below_minimum"
    status = 400
    title = "Below the minimum"


class Invalid(Problem):
    code = "invalid"
    status = 400
    title = "Invalid request"


class OverLimit(Problem):
    code = "over_limit"
    status = 409
    title = "More than is available"


class LoanNotOpen(Problem):
    code = "loan_not_open"
    status = 409
    title = "Loan not open"


class ReservationExpired(Problem):
    code = "reservation_expired"
    status = 409
    title = "Reservation expired"


class IllegalTransition(Problem):
    """The state allows no such step; `state` and `possible` say what it allows."""

    code = "illegal_transition"
    status = 409
    title = "Not possible in this state"


class Busy(Problem):
    """A lock did not come in time; the same request may succeed a moment later."""

    code = "busy"
    status = 409
    title = "Busy"
    retry_after_seconds = 1


class InvalidSignature(Problem):
    code = "invalid_signature"
    status = 400
    title = "Invalid signature"


class IdempotencyKeyReused(Problem):
    """The key has answered another request."""

    code = "idempotency_key_reused"
    status = 422
    title = "Idempotency-Key reused"


class RequestInProgress(Problem):
    """The first request with this key is not done yet."""

    code = "request_in_progress"
    status = 409
    title = "Request in progress"
    retry_after_seconds = 1
