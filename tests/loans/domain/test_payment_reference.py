"""The reference of a payment is read from any text that holds one, and from no other."""

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.payment_reference import beginning_of_reference, reference_in, refund_reference, transfer_reference

REFERENCE = "T-A2A6CC29DF81"
references = st.builds("{}-{}".format, st.sampled_from("TR"), st.text("0123456789ABCDEF", min_size=12, max_size=12))


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("T-A2A6CC29DF81", REFERENCE),
        ("t-a2a6cc29df81", REFERENCE),
        ("TA2A6CC29DF81", REFERENCE),
        ("T A2A6 CC29 DF81", REFERENCE),
        ("T - A2A6-CC29-DF81", REFERENCE),
        ("Payment T-A2A6 CC29DF81 thanks", REFERENCE),
        ("/ref:T-A2A6CC29DF81.", REFERENCE),
        ("REF\nT-A2A6CC29\nDF81", REFERENCE),
        ("T-A2A6CC29DF81 and ta2a6cc29df81", REFERENCE),
        ("R-A2A6CC29DF81", "R-A2A6CC29DF81"),
        ("T-A2A6CC29DF81 or T-A2A6CC29DF82", None),
        ("T-A2A6CC29DF81 R-A2A6CC29DF81", None),
        ("T-A2A6CC29DF8", None),
        ("T-A2A6CC29DF811", None),
        ("A2A6CC29DF81", None),
        ("XT-A2A6CC29DF81", None),
        ("T-A2A6CC29DF8G", None),
        ("", None),
        ("\u0131\u017f", None),
    ],
)
def test_examples(text: str, reference: str | None) -> None:
    assert reference_in(text) == reference


def test_a_reference_is_the_first_digits_of_the_id() -> None:
    row_id = UUID("a2a6cc29-df81-4a6e-8f0e-000000000000")
    assert (transfer_reference(row_id), refund_reference(row_id)) == (REFERENCE, "R-A2A6CC29DF81")


@given(st.uuids())
def test_what_is_written_is_read(row_id: UUID) -> None:
    for reference in (transfer_reference(row_id), refund_reference(row_id)):
        assert reference_in(f"Payment {reference} thanks") == reference


@given(references, st.lists(st.sampled_from(["", " ", "-", "  "]), min_size=13, max_size=13), st.booleans())
def test_a_reference_is_read_however_it_is_written(reference: str, separators: list[str], lower: bool) -> None:
    digits = reference.replace("-", "")
    text = "".join(digit + separator for digit, separator in zip(digits, [*separators[:12], ""], strict=True))
    assert reference_in(f"Invoice: {text.lower() if lower else text}, thanks") == reference


@given(references, references)
def test_another_reference_is_never_read(reference: str, other: str) -> None:
    assert (reference_in(f"pay {other}") == reference) == (reference == other)
    assert reference_in(f"{reference}, {other}") == (reference if reference == other else None)


@given(st.text())
def test_what_is_read_is_written_in_the_text(text: str) -> None:
    reference = reference_in(text)
    if reference:
        assert reference.replace("-", "") in re.sub(r"[\s-]", "", text).upper()


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("T-A2A6", "T-A2A6"),
        ("t-a", "T-A"),
        ("ta2a6 cc", "T-A2A6CC"),
        (" R a2a6-CC29-DF8 ", "R-A2A6CC29DF8"),
        ("T-A2A6CC29DF81", None),  # a whole one
        ("Rebecca", None),
        ("ted", None),
        ("T-", None),
        ("T", None),
        ("A2A6", None),
        ("T-A2A6 thanks", None),
        ("", None),
    ],
)
def test_the_beginning_of_a_reference(text: str, beginning: str | None) -> None:
    assert beginning_of_reference(text) == beginning
