"""Damaged files: whatever is in them, they are read as the rule says or refused, and never end in a fault."""

import csv
import io
import tempfile
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbsa.errors import ImportRefused
from cbsa.imports.census import read_census
from cbsa.imports.crosswalk import read_crosswalk
from cbsa.imports.findings import Findings
from cbsa.imports.sources import Limits, Source, fetch
from cbsa.rules import Share, rank
from tests.cbsa.publishers import METROS, ZIPS

PIECES = [
    "\n",
    "\r",
    ",",
    '"',
    "\t",
    ";",
    "0",
    "9",
    "1.0",
    "99999",
    "-",
    "nan",
    "é",
    "\u2212",
    "\x96",
    "\x00",
    "\ufeff",
    " ",
    "ZIP",
    "{",
    "<",
]
damage = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 12), st.sampled_from(PIECES)), max_size=6)


def damaged(text: str, edits: list[tuple[int, int, str]]) -> str:
    """Replace some characters of the text."""
    for position, length, piece in edits:
        start = position % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    return text


def source_of(content: bytes, folder: str, name: str) -> Source:
    path = Path(folder, f"{name}.csv")
    path.write_bytes(content)
    return fetch(str(path), Path(folder, name), Limits())


def choose(content: bytes) -> tuple[dict[str, str], Findings]:
    with tempfile.TemporaryDirectory() as folder, Path(folder, "rows").open("w+") as rows:
        findings = Findings(tolerated=1_000)
        crosswalk = read_crosswalk(source_of(content, folder, "zips"), findings, lambda _: None, rows)
        rows.seek(0)
        copied = {line[:5] for line in rows}
        assert set(crosswalk.cbsa_of_zip) <= copied
        assert not crosswalk.left_out & set(crosswalk.cbsa_of_zip)
        return crosswalk.cbsa_of_zip, findings


def by_a_plain_reading(text: str) -> dict[str, str]:
    """The choice for each ZIP of an undamaged file, by the rule alone."""
    shares = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        ratios = (float(row[name]) for name in ("TOT_RATIO", "RES_RATIO", "BUS_RATIO", "OTH_RATIO"))
        shares[row["ZIP"]].append(Share(row["CBSA"], *ratios))
    return {zip_code: min(of_zip, key=rank).cbsa for zip_code, of_zip in shares.items()}


@given(damage)
def test_a_damaged_crosswalk_answers_rightly_or_is_refused(edits: list[tuple[int, int, str]]) -> None:
    """A ZIP whose rows are all as they were keeps its answer."""
    text = damaged(ZIPS, edits)
    try:
        cbsa_of_zip, _ = choose(text.encode())
    except ImportRefused:
        return
    before = by_a_plain_reading(ZIPS)
    lines = text.splitlines()
    for zip_code, cbsa in cbsa_of_zip.items():
        own_rows = [line for line in ZIPS.splitlines() if line.startswith(zip_code)]
        if own_rows and lines[0] == ZIPS.splitlines()[0] and own_rows == [line for line in lines if zip_code in line]:
            assert cbsa == before[zip_code]


@given(damage)
def test_a_damaged_census_file_is_read_or_refused(edits: list[tuple[int, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        findings = Findings(tolerated=1_000)
        try:
            census = read_census([source_of(damaged(METROS, edits).encode(), folder, "metros")], findings, lambda _: None)
        except ImportRefused:
            return
        assert set(census.divided.values()) <= {area.cbsa for area in census.areas}
        assert all(area.name.strip() == area.name != "" for area in census.areas)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ImportRefused):
        choose(content)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 0.75, 1.0]), min_size=1, max_size=4), st.randoms())
def test_only_shares_that_add_up_are_taken(ratios: list[float], random: object) -> None:
    rows = [f"10001,{10100 + number},{ratio},{ratio},{ratio},{ratio}" for number, ratio in enumerate(ratios)]
    random.shuffle(rows)
    text = "\n".join([ZIPS.splitlines()[0], *rows, "10002,10100,1,1,1,1", "10003,10100,1,1,1,1"]) + "\n"
    cbsa_of_zip, findings = choose(text.encode())
    adds_up = abs(sum(ratios) - 1) < 0.01
    assert (findings.bad_rows, "10001" in cbsa_of_zip) == (0 if adds_up else 1, adds_up)
    if adds_up:
        assert cbsa_of_zip["10001"] == by_a_plain_reading(text)["10001"]
