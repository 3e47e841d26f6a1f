"""Define the base class of expected errors."""

from typing import Any, ClassVar


class Problem(Exception):
    """An expected error: the request cannot be granted, and the caller can do something about it.

    Each kind is a subclass with a stable `code` for programs and a `title` that names the kind. `detail` describes the
    case at hand in whole sentences for people, and `data` holds the values (amounts, instants) that help to go on.
    A problem knows nothing of HTTP: peerloans/api/error_statuses.py maps its code to a status.
    """

    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data
