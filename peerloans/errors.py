"""What is an expected error? A class that knows its code, its HTTP status and what helps the caller."""

from typing import Any, ClassVar


class Problem(Exception):
    """A refusal that the caller can act on. Each kind is a subclass; nothing here knows how it is shown.

    `code` is stable and for programs, `title` names the kind and `detail` this case in whole sentences for people;
    `data` holds what helps beside them (amounts, instants), as values that the JSON renderer knows.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]
    retry_after_seconds: ClassVar[int | None] = None
    """How soon the same request may succeed, sent as `Retry-After`; None where waiting does not help."""

    def __init__(self, detail: str, **data: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.data = data
