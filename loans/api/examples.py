"""Give an example of every body and of every problem of the API, for the OpenAPI document."""

from typing import Any

LOAN = {
    "reference": "PL-0001",
    "title": "Twelve flats",
    "borrower_type": "company",
    "lien_position": 1,
    "property": {"address": "1200 Barton Springs Rd", "city": "Austin", "state": "TX", "zip": "78704"},
    "market": {"cbsa": "12420", "msa": "Austin-Round Rock, TX"},
    "amount": "100000.00",
    "annual_rate": "9.50",
    "term_months": 18,
    "ltv": "65.00",
    "status": "open",
    "minimum": "1000.00",
    "opens_at": "2026-03-02T15:00:00Z",
    "closes_at": "2026-03-23T15:00:00Z",
    "remaining": "10000.00",
    "remaining_as_of": "2026-03-05T15:04:05.678901Z",
}
LOAN_DETAILS = {
    "description": "Twelve flats are renovated one after the other, while the others stay let.",
    "available": "10000.00",
    "rule": "fifo",
    "lottery": None,
    "documents": [
        {
            "title": "Appraisal",
            "url": "https://loans.example.org/loans/PL-0001/documents/7/",
            "size": 183_204,
            "added_at": "2026-03-02T15:00:00Z",
        }
    ],
}
WEBHOOK_ENDPOINT = {
    "id": 7,
    "url": "https://bot.example.org/peerloans",
    "enabled": True,
    "created_at": "2026-07-01T16:00:00Z",
    "former_secret_until": None,
}
DELIVERY = {
    "id": 81,
    "event": "msg_0c6f3a0b9d5e5a0f8a8e4c1f3c6d2b7a",
    "type": "reservation.reserved",
    "status": "sent",
    "attempts": 1,
    "created_at": "2026-07-01T16:00:00Z",
    "next_attempt_at": None,
    "ended_at": "2026-07-01T16:00:01Z",
    "last_error": "",
}
NAMED_TOKEN = {
    "id": "0b7c2a52-6a4e-4a53-9b0c-0f6f2f1e6a12",
    "name": "Portfolio bot",
    "scopes": ["read", "reserve"],
    "created_at": "2026-03-02T15:00:00Z",
    "expires_at": "2026-05-31T15:00:00Z",
}
SIZE_BAND = {
    "from_amount": "10000.00",
    "to_amount": "25000.00",
    "count": 8,
    "demand": "120000.00",
    "settled": "100000.00",
    "whole": 6,
    "part": 1,
    "nothing": 1,
    "unpaid": 0,
}
ALLOTMENT = {
    "loan": "PL-0001",
    "rule": "fifo",
    "rule_in_words": "In queue order: the first to reserve is settled first.",
    "amount": "100000.00",
    "demand": "120000.00",
    "cover_ratio": "1.20",
    "opens_at": "2026-03-02T15:00:00Z",
    "closes_at": "2026-03-23T15:00:00Z",
    "funded_at": "2026-03-09T15:00:00Z",
    "bands": [SIZE_BAND],
    "total": SIZE_BAND | {"from_amount": "0.00", "to_amount": None},
    "settled_ahead": {"count": 0, "amount": "0.00"},
    "last_number": 7,
    "last_payment_at": None,
    "percent": None,
    "base": None,
    "largest_award": None,
    "lottery": None,
}
RESERVED = {
    "id": "5f0c1a52-6a4e-4a53-9b0c-0f6f2f1e6a11",
    "loan": "PL-0001",
    "amount": "5000.00",
    "settled_amount": "0.00",
    "state": "reserved",
    "cause": None,
    "created_at": "2026-03-02T15:00:00Z",
    "expires_at": "2026-03-03T15:00:00Z",
    "transfer": None,
    "refund": None,
}
TRANSFER = {"reference": "T-5B1E0C7A9D21", "method": "ach", "status": "initiated"}
PENDING = RESERVED | {"state": "pending", "expires_at": "2026-03-10T05:00:00Z", "transfer": TRANSFER}
CANCELED = RESERVED | {"state": "canceled", "cause": "canceled_by_investor", "expires_at": None}
WAITING = {
    "id": "0e5f9c43-8a1d-4f3b-b1de-2f4c7f0c5a77",
    "loan": "PL-0001",
    "amount": "5000.00",
    "at_least": "1000.00",
    "state": "waiting",
    "list_position": 2,
    "dollars_before": "10000.00",
    "reservation": None,
    "joined_at": "2026-03-02T15:00:00Z",
    "ended_at": None,
}
LEFT = WAITING | {"state": "left", "list_position": None, "dollars_before": None, "ended_at": "2026-03-03T15:00:00Z"}
WATCH = {"loan": "PL-0001", "since": "2026-03-02T15:00:00Z"}
STANDING_ORDER = {
    "id": "b2c7e5de-1a5b-4d59-8a3e-3f3c2a9d7e10",
    "states": ["CA", "WA"],
    "metros": [],
    "least_rate": "8.00",
    "greatest_ltv": None,
    "longest_term_months": None,
    "amount": "5000.00",
    "at_least": "1000.00",
    "cap": "50000.00",
    "used": "5000.00",
    "state": "active",
    "line_position": 3,
    "created_at": "2026-03-01T15:00:00Z",
    "ended_at": None,
}
STANDING_ORDER_OPENING = {
    "loan": "PL-0001",
    "at": "2026-03-02T15:00:00Z",
    "amount": "5000.00",
    "reservation": "5f0c1a52-6a4e-4a53-9b0c-0f6f2f1e6a11",
    "obstacle": None,
}
OUTLOOK = {
    "queue_position": 3,
    "if_all_ahead_settle": "2000.00",
    "expected_amount": "4512.30",
    "chance_full": "0.8640",
    "chance_nothing": "0.0180",
    "basis": {
        "rule": "fifo",
        "computed_by": "exact",
        "scenarios": 0,
        "standard_error": {"expected_amount": "0.00", "chance_full": "0.0000", "chance_nothing": "0.0000"},
        "reserved_lapse": {"lapse_share": "0.2143", "counted": 36, "counted_of_all": 812},
        "pending_lapse": {"lapse_share": "0.0817", "counted": 29, "counted_of_all": 640},
    },
    "as_of": "2026-03-05T15:04:05.678901Z",
}
MARKET_TOTAL = {"market": {"cbsa": "12420", "msa": "Austin-Round Rock, TX"}, "held": "5000.00", "share": "1.0000"}
PORTFOLIO = {
    "held": "5000.00",
    "by_state": [
        {"state": state, "count": int(state == "settled"), "amount": "5000.00" if state == "settled" else "0.00"}
        for state in ("reserved", "pending", "settled", "canceled")
    ],
    "by_loan": [
        {"loan": "PL-0001", "title": "Twelve flats", "reserved": "0.00", "pending": "0.00", "settled": "5000.00", "held": "5000.00"}
    ],
    "by_market": [MARKET_TOTAL],
}
EVENT = {
    "id": "evt_01HZX3",
    "type": "transfer.cleared",
    "reference": TRANSFER["reference"],
    "amount": "5000.00",
    "occurred_at": "2026-03-05T15:00:00Z",
}
TRANSITION = {
    "at": "2026-03-02T15:00:00Z",
    "event": "reserved",
    "from_state": None,
    "to_state": "reserved",
    "amount": "5000.00",
    "deadline": "2026-03-03T15:00:00Z",
    "transfer": None,
    "rule": None,
    "actor": "investor",
    "reason": None,
}
MESSAGE = {
    "type": "reservation.transfer_started",
    "timestamp": "2026-03-02T16:00:00Z",
    "data": {
        "reservation": RESERVED["id"],
        "standing_order": None,
        "waiting_entry": None,
        "list_position": None,
        "dollars_before": None,
        "loan": "PL-0001",
        "event": "transfer_started",
        "from": "reserved",
        "to": "pending",
        "amount": "5000.00",
        "expires_at": "2026-03-10T05:00:00Z",
        "reference": TRANSFER["reference"],
        "method": "ach",
        "at": "2026-03-02T16:00:00Z",
    },
}
TEST_MESSAGE = {"type": "webhook.test", "timestamp": "2026-03-02T16:00:00Z", "data": {"endpoint": 7}}
FEED_EVENT = {"id": "msg_f2a4c98cb46c51ea9be55b2c954195e5", **MESSAGE}

# By code: a detail, and the data beside it.
PROBLEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "invalid": ("Some values are missing or wrong.", {"errors": {"amount": ["This field is required."]}}),
    "below_minimum": ("Reserve at least 1000.00.", {"minimum": "1000.00"}),
    "invalid_signature": ("Sign the body with the secret agreed on.", {}),
    "not_authenticated": ("Authentication credentials were not provided.", {}),
    "second_factor_required": ("Staff get tokens only with a second factor. Set one up in the admin first.", {}),
    "token_expired": ("This token has expired. Get a new one at /api/v1/auth/token/.", {}),
    "permission_denied": ("Only investors may do this.", {}),
    "scope_missing": ("This token lacks the scope reserve.", {"needed_scope": "reserve", "scopes": ["read"]}),
    "not_accredited": ("Only accredited investors may reserve. Your accreditation is missing or has ended; ask us to renew it.", {}),
    "not_found": ("You have no reservation 5f0c1a52-6a4e-4a53-9b0c-0f6f2f1e6a11.", {}),
    "over_limit": (
        "50000.00 is more than the 12000.00 available of PL-0001. At 2026-03-03T15:00:00+00:00 up to 37000.00 may be available.",
        {"available": "12000.00", "frees_at": "2026-03-03T15:00:00Z", "available_then": "37000.00"}
        | {"waiting_list": {"entries": 3, "dollars": "40000.00"}},
    ),
    "investor_limit": (
        "You hold 248000.00 dollars on all loans whose money we have not received; the most is 250000.00. Try again at "
        "2026-03-03T15:00:00+00:00.",
        {"limited": "unfunded", "limit": "250000.00", "used": "248000.00", "frees_at": "2026-03-03T15:00:00Z"},
    ),
    "loan_not_open": ("PL-0001 takes no reservations: it is funded.", {"loan_status": "funded"}),
    "reservation_expired": (
        "This reservation expired at 2026-03-03T15:00:00Z. Make a new one.",
        {"expired_at": "2026-03-03T15:00:00Z", "state": "canceled"},
    ),
    "illegal_transition": (
        "This is settled; canceled by investor is not possible from there.",
        {"state": "settled", "possible": ["payment_returned", "loan_withdrawn"]},
    ),
    "busy": ("Another request is changing the same loan or investor. Try again in a moment.", {}),
    "request_in_progress": ("The first request with this Idempotency-Key is still running. Try again in a moment.", {}),
    "too_large": ("The body of the request is too large.", {}),
    "unsupported_media_type": ('Unsupported media type "text/plain" in request.', {}),
    "idempotency_key_reused": ("This Idempotency-Key has answered another request. Use a new key for each request.", {}),
    "throttled": ("Request was throttled. Expected available in 7 seconds.", {}),
    "server_error": (
        "The fault is on our side. Send us this id, and we find in our log what happened.",
        {"id": "0b7f0c0e-5a38-4c0e-9a52-6d1c6a8f4f0e"},
    ),
    "unavailable": ("The database does not answer. Try again in a moment, a POST with the same Idempotency-Key.", {}),
}
