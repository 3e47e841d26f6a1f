"""Give every error code its HTTP status, and say how soon the same request may succeed."""

# Every code that an answer can carry, from the apps and from libraries.
STATUSES = {
    "below_minimum": 400,
    "invalid": 400,
    "invalid_signature": 400,
    "invalid_zip": 400,
    "not_authenticated": 401,
    "second_factor_required": 401,
    "token_expired": 401,
    "not_accredited": 403,
    "permission_denied": 403,
    "not_found": 404,
    "unknown_cbsa": 404,
    "unknown_vintage": 404,
    "unknown_zip": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "too_slow": 408,
    "busy": 409,
    "illegal_transition": 409,
    "investor_limit": 409,
    "loan_not_open": 409,
    "over_limit": 409,
    "request_in_progress": 409,
    "reservation_expired": 409,
    "too_large": 413,
    "unsupported_media_type": 415,
    "idempotency_key_reused": 422,
    "import_refused": 422,
    "statement_refused": 422,
    "throttled": 429,
    "server_error": 500,
    "no_dataset": 503,
    "unavailable": 503,
}
# How soon the same request may succeed. `throttled` knows it for each request.
RETRY_AFTER_SECONDS = {"busy": 1, "request_in_progress": 1, "unavailable": 2}
