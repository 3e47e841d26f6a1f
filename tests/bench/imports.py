"""Measure an import: the whole command beside `psql \\copy` of the same rows and the same build of answers."""

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import psycopg

from tests.bench.figures import GROWTH, Figure, Ratio, figure, in_turn
from tests.bench.servers import ROOT, Databases, psql

REAL = ROOT.parent / "shared" / "data"
MADE_ZIPS, MADE_AREAS = 39_464, 900
A_ZIP = "10001"  # one of those that are made
ZIP_OF_LOANS = ("90266", "31080", "Los Angeles-Long Beach-Anaheim, CA")  # as in the rows of the bench: no loan's market changes
A_NAME = "town12"  # the beginning of eleven names of areas that are made
CSV = {"newline": "", "encoding": "latin-1"}

# The same rows into the same indexed tables, and the same answers worked out from them, in one transaction.
BASELINE = """
SET client_encoding = 'LATIN1';
INSERT INTO cbsa_dataset (id, vintage, active, imported_at, zips_sha256, metros_sha256, zips)
    VALUES (0, 'baseline', false, now(), '', '', 0);
\\copy cbsa_area (dataset_id, cbsa, mdiv, stcou, name, lsad, population, people, zips, search_text) FROM '{areas}' CSV
\\copy cbsa_zipshare (dataset_id, zip, cbsa, res_ratio, bus_ratio, oth_ratio, tot_ratio) FROM '{shares}' CSV
ANALYZE cbsa_area, cbsa_zipshare;
INSERT INTO cbsa_zip (dataset_id, zip, cbsa, effective_cbsa, area_id)
    SELECT 0, best.zip, best.cbsa, COALESCE(division.cbsa, best.cbsa), area.id
    FROM (
        SELECT DISTINCT ON (zip) zip, cbsa FROM cbsa_zipshare WHERE dataset_id = 0 ORDER BY zip, tot_ratio DESC, res_ratio DESC, cbsa
    ) best
    LEFT JOIN (SELECT DISTINCT mdiv, cbsa FROM cbsa_area WHERE dataset_id = 0 AND mdiv <> '') division ON division.mdiv = best.cbsa
    LEFT JOIN cbsa_area area ON area.dataset_id = 0 AND area.cbsa = COALESCE(division.cbsa, best.cbsa)
        AND area.lsad IN ('Metropolitan Statistical Area', 'Micropolitan Statistical Area');
UPDATE cbsa_dataset SET active = false WHERE active;
UPDATE cbsa_dataset SET active = true WHERE id = 0;
"""

_labels = count(1)


def figures(databases: Databases) -> Iterator[Figure]:
    url = databases.full.url
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zips, metros = REAL / "zip_to_cbsa.csv", REAL / "cbsa_to_msa.csv"
        if not zips.exists():
            zips, metros = make_files(folder, times=1)
        _ready_for_copy(zips, metros, folder)
        rows = sum(1 for _ in (folder / "shares.csv").open())
        tenfold, its_metros = make_files(folder, times=10)
        ours, copied = in_turn(lambda: _import(url, zips, metros), lambda: (_copy(url, folder), 0.0))
        once, more = in_turn(lambda: _import(url, zips, metros), lambda: _import(url, tenfold, its_metros), rounds=2, warm_up=False)
    seconds, _ = zip(*ours, strict=True)
    once_seconds, peaks = zip(*once, strict=True)
    more_seconds, more_peaks = zip(*more, strict=True)
    one = figure("import_cbsa / psql \\copy and build", f"{rows:,} ZIP rows", "s", seconds, [s for s, _ in copied], 2.5, at_most=True)
    yield replace(one, growth=Ratio.of(more_seconds, [10 * s for s in once_seconds], GROWTH, at_most=True))
    yield figure("  its peak memory / at a tenth of the rows", f"{rows * 10:,} ZIP rows", "MiB", more_peaks, peaks, 1.5, at_most=True)


def _import(url: str, zips: Path, metros: Path) -> tuple[float, float]:
    """Return the seconds of the command and its peak memory in MiB, and delete what it imported."""
    label = f"bench-{next(_labels)}"
    command = [sys.executable, ROOT / "manage.py", "import_cbsa", "--zips", zips, "--metros", metros, "--vintage", label, "--force"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"import_cbsa ended with status {status}.")
    _clear(url)
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _copy(url: str, folder: Path) -> float:
    script = BASELINE.format(areas=folder / "areas.csv", shares=folder / "shares.csv")
    start = time.perf_counter()
    subprocess.run([psql(), url, "-1", "-q", "-X", "-v", "ON_ERROR_STOP=1"], input=script, text=True, check=True)
    seconds = time.perf_counter() - start
    _clear(url)
    return seconds


def _clear(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE cbsa_dataset, cbsa_area, cbsa_zipshare, cbsa_zip, cbsa_importrun CASCADE")


def _ready_for_copy(zips: Path, metros: Path, folder: Path) -> None:
    """Write the same rows as the plain CSV that psql reads."""
    with zips.open(newline="", encoding="utf-8-sig") as source, (folder / "shares.csv").open("w", **CSV) as target:
        csv.writer(target).writerows(["0", *row] for row in list(csv.reader(source))[1:])
    with metros.open(**CSV) as source, (folder / "areas.csv").open("w", **CSV) as target:
        rows = csv.reader(source)
        header = next(rows)
        years = [(position, name[-4:]) for position, name in enumerate(header) if name.startswith("POPESTIMATE")]
        column = {name: header.index(name) for name in ("CBSA", "MDIV", "STCOU", "NAME", "LSAD")}
        writer = csv.writer(target, quoting=csv.QUOTE_ALL)
        for row in rows:
            if row[column["LSAD"]]:
                population = "{" + ",".join(f'"{year}":{row[position]}' for position, year in years) + "}"
                people, words = row[years[-1][0]], " ".join(row[column["NAME"]].lower().replace(",", "").split("-"))
                writer.writerow(["0", *(row[index] for index in column.values()), population, people, 0, words])


def make_files(folder: Path, times: int) -> tuple[Path, Path]:
    """Make files of the same shape with `times` as many ZIP rows, and return their paths."""
    zips, metros = folder / f"made-zips-{times}.csv", folder / f"made-metros-{times}.csv"
    with zips.open("w", **CSV) as file:
        writer = csv.writer(file)
        writer.writerow(["ZIP", "CBSA", "RES_RATIO", "BUS_RATIO", "OTH_RATIO", "TOT_RATIO"])
        zip_codes, rows = min(MADE_ZIPS * times, 99_000), MADE_ZIPS * times * 46_632 // 39_464
        for number in range(rows):
            zip_code, turn = number % zip_codes, number // zip_codes
            if f"{zip_code + 501:05}" == ZIP_OF_LOANS[0]:
                continue
            ratio = f"{1 / (rows // zip_codes + (zip_code < rows % zip_codes)):.9f}"  # those of a ZIP add up to 1
            writer.writerow([f"{zip_code + 501:05}", f"{10180 + (zip_code * 7 + turn) % MADE_AREAS * 40:05}", ratio, ratio, ratio, ratio])
        writer.writerow([*ZIP_OF_LOANS[:2], 1, 1, 1, 1])
    with metros.open("w", **CSV) as file:
        writer = csv.writer(file)
        writer.writerow(["CBSA", "MDIV", "STCOU", "NAME", "LSAD", *(f"POPESTIMATE{year}" for year in range(2010, 2016))])
        writer.writerow([ZIP_OF_LOANS[1], "", "", ZIP_OF_LOANS[2], "Metropolitan Statistical Area", *range(100_000, 100_006)])
        for area in range(MADE_AREAS):
            code, kind = 10180 + area * 40, "Metropolitan" if area % 2 else "Micropolitan"
            writer.writerow([code, "", "", f"Town{area}-Port{area % 40}, CA", f"{kind} Statistical Area", *range(100_000, 100_006)])
            writer.writerows(
                [code, "", f"{area * 2 + county:05}", f"County {county}, ST", "County or equivalent", *range(6)] for county in (1, 2)
            )
    return zips, metros
