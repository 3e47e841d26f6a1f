"""Write the reference of a transfer or refund, and read it from the text that a bank passes on.

A reference is T or R, a hyphen and twelve hexadecimal digits, as in T-A2A6CC29DF81. Payers write it in lower case, leave its hyphen
out, break it up by spaces and hyphens, or add words.
"""

import re
from uuid import UUID

_SEPARATORS = r"[\s-]*"
_REFERENCE = re.compile(rf"(?<![^\W_])([TR]){_SEPARATORS}((?:[0-9A-F]{_SEPARATORS}){{11}}[0-9A-F])(?![^\W_])", re.ASCII | re.IGNORECASE)
_BEGINNING = re.compile(rf"\s*([TR])(-?)({_SEPARATORS}(?:[0-9A-F]{_SEPARATORS}){{1,11}})", re.ASCII | re.IGNORECASE)


def transfer_reference(transfer_id: UUID) -> str:
    """Return the reference of an inbound transfer, which the investor writes on the payment."""
    return f"T-{_digits(transfer_id)}"


def refund_reference(refund_id: UUID) -> str:
    """Return the reference of a refund, by which the bank reports it."""
    return f"R-{_digits(refund_id)}"


def _digits(row_id: UUID) -> str:
    # These digits have to be random, so transfers have ids of version 4. Those of version 7 that are made in one millisecond begin alike.
    return row_id.hex[:12].upper()


def reference_in(text: str) -> str | None:
    """Return the one reference in the text as it is stored; None if there is none, or more than one."""
    references = {f"{kind}-{re.sub(_SEPARATORS, '', digits)}".upper() for kind, digits in _REFERENCE.findall(text)}
    return references.pop() if len(references) == 1 else None


def beginning_of_reference(text: str) -> str | None:
    """Return the beginning of a reference as it is stored, where the text is one; None otherwise.

    It needs its hyphen or a digit, since some names have only the letters of references, as Rebecca has.
    """
    beginning = _BEGINNING.fullmatch(text)
    if not beginning:
        return None
    kind, hyphen, digits = beginning.groups()
    digits = re.sub(_SEPARATORS, "", digits)
    return f"{kind}-{digits}".upper() if hyphen or any(map(str.isdecimal, digits)) else None
