"""Who is settled, and with how much? Tables of examples, and what every rule must hold to whatever the queue."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loans.domain.settlement_rules import DEFAULT_RULE, RULES, Allocation, Claim, fifo, first_funded, pro_rata

START = datetime(2026, 7, 1, tzinfo=UTC)
D = Decimal


def queue(*claims: tuple[str, int | None]) -> list[Claim[int]]:
    """Claims in queue order from pairs of an amount and the minute at which its money came, None where it has not."""
    return [
        Claim(number, number, D(amount), None if minute is None else START + timedelta(minutes=minute))
        for number, (amount, minute) in enumerate(claims, start=1)
    ]


def filled(allocations: list[Allocation[int]]) -> dict[int, str]:
    return {allocation.key: str(allocation.amount) for allocation in allocations}


FIFO = [
    ("nobody's money is here", "100", [("60", None), ("40", None)], {}),
    ("a whole amount settles at once", "100", [("60", None), ("40", 1)], {2: "40"}),
    ("an earlier claim's part is kept free", "100", [("60", None), ("60", 1)], {}),
    ("the rest of the loan once all before are decided", "100", [("60", 2), ("60", 1)], {1: "60", 2: "40"}),
    ("a third gets nothing where two take all", "100", [("60", 2), ("60", 1), ("10", 0)], {1: "60", 2: "40"}),
    ("a partial allocation waits behind an undecided claim", "100", [("30", None), ("60", 1), ("60", 1)], {2: "60"}),
    ("nothing remains", "0", [("60", 1)], {}),
]
FIRST_FUNDED = [
    ("the first money settles first", "100", [("60", None), ("60", 2), ("60", 1)], {3: "60", 2: "40"}),
    ("ties by queue order", "100", [("60", 1), ("60", 1)], {1: "60", 2: "40"}),
    ("nobody's money is here", "100", [("60", None)], {}),
]
PRO_RATA = [
    ("waits until the money reaches what remains", "100", [("60", 1), ("39.99", 2), ("50", None)], {}),
    ("shares by what was asked", "100", [("60", 1), ("60", 2), ("30", 3)], {1: "40.00", 2: "40.00", 3: "20.00"}),
    ("cents to the largest remainders", "100", [("50", 1), ("100", 1), ("50.01", 1)], {1: "25.00", 2: "50.00", 3: "25.00"}),
    ("ties by queue order", "100", [("100", 1), ("100", 1), ("100", 1)], {1: "33.34", 2: "33.33", 3: "33.33"}),
    ("a share of nothing ends the claim", "0.01", [("1000", 1), ("1000", 1)], {1: "0.01", 2: "0.00"}),
]


@pytest.mark.parametrize(
    ("rule", "remaining", "claims", "expected"),
    [
        pytest.param(rule, remaining, claims, expected, id=f"{rule.__name__}: {why}")
        for rule, table in ((fifo, FIFO), (first_funded, FIRST_FUNDED), (pro_rata, PRO_RATA))
        for why, remaining, claims, expected in table
    ],
)
def test_examples(rule, remaining: str, claims, expected: dict[int, str]) -> None:
    assert filled(rule(queue(*claims), D(remaining), False)) == expected


@pytest.mark.parametrize(
    ("closed", "claims", "expected"),
    [
        (False, [("30", 1), ("30", 2)], {}),
        (True, [("30", 1), ("30", 2)], {1: "30.00", 2: "30.00"}),
        (True, [("30", 1), ("30", None)], {}),
    ],
)
def test_pro_rata_past_the_closing_gives_everybody_their_whole_amount(closed: bool, claims, expected: dict[int, str]) -> None:
    assert filled(pro_rata(queue(*claims), D("100"), closed)) == expected


def test_each_loan_names_one_of_these() -> None:
    assert {"fifo": fifo, "first_funded": first_funded, "pro_rata": pro_rata} == RULES
    assert DEFAULT_RULE == "fifo"


# --- What holds for every queue ---------------------------------------------------------------------------------------
amounts = st.one_of(st.integers(1, 12), st.integers(1, 10_000_000)).map(lambda cents: D(cents).scaleb(-2))
queues = st.lists(st.tuples(amounts, st.none() | st.integers(0, 5)), max_size=9).map(lambda claims: queue(*claims))
every_rule = pytest.mark.parametrize("rule", RULES.values())


@every_rule
@given(claims=queues, remaining=amounts, closed=st.booleans())
def test_every_rule(rule, claims: list[Claim[int]], remaining: Decimal, closed: bool) -> None:
    allocations = rule(claims, remaining, closed)
    by_key = {claim.key: claim for claim in claims}
    assert len({allocation.key for allocation in allocations}) == len(allocations), "one outcome for each claim"
    for allocation in allocations:
        assert by_key[allocation.key].funded_at, "only money that is here settles"
        assert 0 <= allocation.amount <= by_key[allocation.key].amount
        assert allocation.amount == allocation.amount.quantize(D("0.01")), "whole cents"
    assert sum(allocation.amount for allocation in allocations) <= remaining
    assert rule(claims, remaining, closed) == allocations, "the same answer again"


@every_rule
@given(claims=queues, remaining=amounts, closed=st.booleans())
def test_a_rule_has_nothing_to_add_to_its_own_outcome(rule, claims: list[Claim[int]], remaining: Decimal, closed: bool) -> None:
    allocations = filled(rule(claims, remaining, closed))
    left = [claim for claim in claims if claim.key not in allocations]
    remaining -= sum(map(D, allocations.values()), D(0))
    assert remaining == 0 or rule(left, remaining, closed) == []


@given(claims=queues, remaining=amounts)
def test_fifo_takes_nothing_from_a_living_earlier_claim(claims: list[Claim[int]], remaining: Decimal) -> None:
    allocations = {allocation.key: allocation.amount for allocation in fifo(claims, remaining, False)}
    left = remaining
    for claim in claims:
        entitled = min(claim.amount, left)
        left -= entitled
        assert allocations.get(claim.key, entitled) == entitled, "all it is entitled to, or nothing yet"
        if claim.funded_at and claim.amount == entitled:
            assert claim.key in allocations, "a whole amount never waits"


@given(claims=queues, remaining=amounts)
def test_fifo_leaves_no_gap(claims: list[Claim[int]], remaining: Decimal) -> None:
    """Where everybody's money is here, the loan is filled, or everybody is settled whole."""
    here = [Claim(claim.key, claim.number, claim.amount, START) for claim in claims]
    allocations = fifo(here, remaining, False)
    assert sum(allocation.amount for allocation in allocations) == min(remaining, sum(claim.amount for claim in claims))


@given(st.data(), queues, amounts)
def test_fifo_gives_the_same_in_whatever_order_the_money_comes(data: st.DataObject, claims: list[Claim[int]], remaining: Decimal) -> None:
    def outcome(arrivals: list[int]) -> dict[int, Decimal]:
        here: set[int] = set()
        given: dict[int, Decimal] = {}
        for key in arrivals:
            here.add(key)
            live = [
                Claim(claim.key, claim.number, claim.amount, START if claim.key in here else None)
                for claim in claims
                if claim.key not in given
            ]
            rest = remaining - sum(given.values(), D(0))
            if rest:
                given |= {allocation.key: allocation.amount for allocation in fifo(live, rest, False)}
        return given

    keys = [claim.key for claim in claims]
    assert outcome(data.draw(st.permutations(keys))) == outcome(keys)


@given(queues, amounts)
def test_pro_rata_is_fair_to_the_cent(claims: list[Claim[int]], remaining: Decimal) -> None:
    allocations = filled(pro_rata(claims, remaining, False))
    asked = sum(claim.amount for claim in claims if claim.funded_at)
    if not allocations:
        assert asked < remaining
        return
    assert sum(map(D, allocations.values())) == remaining
    for claim in claims:
        if claim.funded_at:
            exact = claim.amount * remaining / asked
            assert abs(D(allocations[claim.key]) - exact) < D("0.01")
