import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsa.errors import InvalidZip
from cbsa.rules import Share, effective_cbsa, five_digits, growth_percent, rank

ratios = st.sampled_from([0.0, 0.25, 0.5, 1.0])
codes = st.sampled_from(["10100", "10200", "31084", "99999"])
shares = st.lists(st.builds(Share, codes, ratios, ratios, ratios, ratios), min_size=1, max_size=5, unique_by=lambda share: share.cbsa)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Share("10200", 0.6, 0, 0, 0), Share("10100", 0.4, 1, 1, 1)),
        (Share("99999", 0.6, 0, 0, 0), Share("10100", 0.4, 1, 1, 1)),
        (Share("10200", 0.5, 0.6, 0, 0), Share("10100", 0.5, 0.4, 1, 1)),
        (Share("10100", 0.5, 0.5, 0, 0), Share("10200", 0.5, 0.5, 1, 1)),
    ],
    ids=["total decides", "no CBSA takes part", "residential breaks a tie", "the lowest code breaks the next"],
)
def test_the_choice(first: Share, second: Share) -> None:
    assert sorted([second, first], key=rank) == [first, second]


@given(shares, st.randoms())
def test_the_order_of_rows_decides_nothing(rows: list[Share], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    chosen = min(shuffled, key=rank)
    assert chosen == min(rows, key=rank)
    assert all(chosen.tot_ratio >= share.tot_ratio for share in rows)


def test_a_division_stands_for_its_cbsa() -> None:
    assert effective_cbsa("31084", {"31084": "31080"}) == "31080"
    assert effective_cbsa("27260", {"31084": "31080"}) == "27260"


@pytest.mark.parametrize(
    ("population", "growth"),
    [
        ({"2013": 1, "2014": 13254397, "2015": 13340068}, 0.65),
        ({"2014": 200, "2015": 199}, -0.5),
        ({"2014": 100_000, "2015": 100_005}, 0.01),
        ({"2014": 100, "2015": 100}, 0.0),
        ({"2013": 100, "2015": 110}, None),
        ({"2015": 100}, None),
        ({"2014": 0, "2015": 100}, None),
        ({}, None),
    ],
)
def test_growth(population: dict[str, int], growth: float | None) -> None:
    assert growth_percent(population) == growth


@pytest.mark.parametrize("text", ["90266", "90266-1234", "902661234", " 90266 "])
def test_zip_codes(text: str) -> None:
    assert five_digits(text) == "90266"


@pytest.mark.parametrize("text", ["", "9026", "902666", "9O266", "90266-12", "90266-", "９０２６６", "90266\n1234", "-0266"])
def test_what_is_no_zip_code(text: str) -> None:
    with pytest.raises(InvalidZip):
        five_digits(text)
