"""Store loans, investors, reservations, transfers and their history.

Only `loans.ledger` writes states, totals and history. Constraints and triggers in the database refuse what breaks a rule.
"""

from loans.models.approval import ApprovalRequest
from loans.models.history import HistoryBlock, Transition
from loans.models.idempotency import KEY_UNIQUE, IdempotencyKey
from loans.models.investor import Investor
from loans.models.loan import ClosingValue, FillValue, Loan
from loans.models.loan_document import LoanDocument, LoanDocumentFile
from loans.models.named_token import NamedToken
from loans.models.notification import Delivery, DeliveryStatus, OutboxCursor, WebhookEndpoint
from loans.models.reservation import Reservation
from loans.models.review_item import ReviewComment, ReviewItem
from loans.models.saved_view import SavedView
from loans.models.staff_group import StaffGroupGrant
from loans.models.standing_order import StandingOrder, StandingOrderTransition
from loans.models.statement import StatementFile, StatementImport
from loans.models.transfer import OPEN_STATUSES, BankEvent, PaymentFile, Transfer
from loans.models.user import User
from loans.models.waiting_list import WaitingListEntry
from loans.models.watch import Watch, WatchedLoan, WatchNotice

__all__ = [
    "KEY_UNIQUE",
    "OPEN_STATUSES",
    "ApprovalRequest",
    "BankEvent",
    "ClosingValue",
    "Delivery",
    "DeliveryStatus",
    "FillValue",
    "HistoryBlock",
    "IdempotencyKey",
    "Investor",
    "Loan",
    "LoanDocument",
    "LoanDocumentFile",
    "NamedToken",
    "OutboxCursor",
    "PaymentFile",
    "Reservation",
    "ReviewComment",
    "ReviewItem",
    "SavedView",
    "StaffGroupGrant",
    "StandingOrder",
    "StandingOrderTransition",
    "StatementFile",
    "StatementImport",
    "Transfer",
    "Transition",
    "User",
    "WaitingListEntry",
    "Watch",
    "WatchNotice",
    "WatchedLoan",
    "WebhookEndpoint",
]
