"""`make simulate`: does the policy `evidence` keep its promise, and does it sell more than fixed rates that keep it too?

Plays a year of 10,000 loans (tests/simulation/market.py) under the evidence and under fixed rates, with the same investors. Prints
the figures as Markdown with the seed. `--write` renews docs/overbooking.md and its chart. The exit status is 1 if the promise is
broken.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from tests.simulation.chart import chart
from tests.simulation.market import KINDS, YEAR_DAYS, Outcome, Policy, play

ROOT = Path(__file__).parents[2]
PAGE, CHART = ROOT / "docs" / "overbooking.md", ROOT / "docs" / "pictures" / "overbooking.svg"
BEGIN, END = "<!-- figures of make simulate -->", "<!-- end of the figures -->"
PROMISE = (3.0, 7.0)  # of 100 loans turn somebody away, where the risk is 5 %
FIXED_PERCENTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
SPREAD_SIZES = [1_000, 2_500, 5_000, 5_000, 5_000, 10_000, 20_000]


class Figures(NamedTuple):
    """Of so many loans: how many of 100 turned somebody away, the percentage that was sold, and the dollars turned away for a loan."""

    loans: int
    over: float
    sold: float
    turned_away: float


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """Return the figures of some loans."""
    count = len(outcomes)
    return Figures(
        count,
        100 * sum(outcome.paid > outcome.dollars for outcome in outcomes) / count,
        100 * sum(outcome.sold for outcome in outcomes) / sum(outcome.dollars for outcome in outcomes),
        sum(outcome.paid - outcome.sold for outcome in outcomes) / count,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--loans", type=int, default=10_000)
    parser.add_argument("--write", action="store_true", help="renew docs/overbooking.md and its chart")
    options = parser.parse_args()
    started = time.monotonic()
    outcomes = play(options.seed, options.loans, Policy())
    evidence = figures(outcomes)
    fixed = {percent: figures(play(options.seed, options.loans, Policy(Decimal(percent) / 100))) for percent in FIXED_PERCENTS}
    parts = [f"Seed {options.seed}, {options.loans:,} loans.", _policies(evidence, fixed), _groups(outcomes)]
    parts += [_assumptions(options.seed, options.loans // 4), _verdict(evidence, fixed)]
    text = "\n\n".join(parts)
    say(text)
    say(f"\nIt took {time.monotonic() - started:.0f} s.")
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")
        points = [(f"{percent} %", kept.over, kept.sold) for percent, kept in fixed.items()]
        CHART.write_text(chart(points, ("evidence", evidence.over, evidence.sold), PROMISE[1]))
    return int(not keeps_its_promise(evidence, fixed))


def keeps_its_promise(evidence: Figures, fixed: dict[int, Figures]) -> bool:
    """Return whether the evidence turned somebody away as seldom as promised, and sold more than each fixed rate that did so too."""
    rivals = [kept.sold for kept in fixed.values() if kept.over <= PROMISE[1]]
    return PROMISE[0] <= evidence.over <= PROMISE[1] and evidence.sold > max(rivals)


def _policies(evidence: Figures, fixed: dict[int, Figures]) -> str:
    rows = [("**evidence, risk 5 %**", evidence), *((f"fixed {percent} %", kept) for percent, kept in fixed.items())]
    return _table("policy", rows)


def _groups(outcomes: Sequence[Outcome]) -> str:
    half = YEAR_DAYS // 2
    groups = [(f"loans {kind}", [outcome for outcome in outcomes if outcome.kind == kind]) for kind in KINDS]
    groups += [(f"{dollars:,} dollars", [outcome for outcome in outcomes if outcome.dollars == dollars]) for dollars in (60_000, 400_000)]
    groups += [
        ("opened before the change", [outcome for outcome in outcomes if outcome.day < half]),
        ("opened within 90 days after it", [outcome for outcome in outcomes if half <= outcome.day < half + 90]),
        ("opened later", [outcome for outcome in outcomes if outcome.day >= half + 90]),
    ]
    return _table("under the evidence", [(name, figures(some)) for name, some in groups])


def _assumptions(seed: int, count: int) -> str:
    weighted = Decimal(sum(size**2 for size in SPREAD_SIZES)) / sum(SPREAD_SIZES)
    variants = [
        ("evidence, as above", Policy()),
        ("evidence, what lapses is replaced once more", Policy(refills=1)),
        ("evidence, … three times more", Policy(refills=3)),
        ("fixed 0 %, … three times more", Policy(Decimal(0), refills=3)),
        ("evidence, sizes from 1,000 to 20,000 dollars", Policy(sizes=SPREAD_SIZES)),
        (f"evidence, … the typical size weighted by dollars, {weighted:,.0f}", Policy(sizes=SPREAD_SIZES, typical=round(weighted))),
    ]
    rows = [(name, figures(play(seed, count, policy))) for name, policy in variants]
    return _table("the assumptions", rows)


def _table(first: str, rows: Sequence[tuple[str, Figures]]) -> str:
    lines = [f"| {first} | loans | turned somebody away, of 100 | sold | turned away, a loan |", "| --- | --: | --: | --: | --: |"]
    lines += [f"| {name} | {kept.loans:,} | {kept.over:.1f} | {kept.sold:.1f} % | ${kept.turned_away:,.0f} |" for name, kept in rows]
    return "\n".join(lines)


def _verdict(evidence: Figures, fixed: dict[int, Figures]) -> str:
    percent, rival = max(((percent, kept) for percent, kept in fixed.items() if kept.over <= PROMISE[1]), key=lambda pair: pair[1].sold)
    if not keeps_its_promise(evidence, fixed):
        return "The promise is broken."
    return (
        f"Under the evidence {evidence.over:.1f} of 100 loans turned somebody away, and {evidence.sold:.1f} % was sold. Of the fixed rates "
        f"with at most {PROMISE[1]:.0f} of 100, {percent} % sold the most: {rival.sold:.1f} %."
    )


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
