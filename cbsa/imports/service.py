"""Import a pair of files as a dataset, switch between datasets, and delete old ones. The only writer of datasets.

An import checks everything first, loads beside the data in use and switches over at the end of one transaction, so that
readers see the old data or the new. Imports wait for each other.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from cbsa import lookup
from cbsa.errors import ImportRefused
from cbsa.imports.parsing import Census, Crosswalk, Rejects, read_census, read_crosswalk
from cbsa.imports.sources import Limits, Progress, fetch
from cbsa.models import Area, Dataset, ImportRun, Zip, ZipShare
from cbsa.rules import METROPOLITAN, MICROPOLITAN, NO_CBSA, effective_cbsa
from cbsa.signals import dataset_activated, dataset_previewed
from peerloans.errors import Problem

Outcome = ImportRun.Outcome

LOCK = 0x63627361  # an advisory lock of our own: "cbsa" in ASCII
LOCK_WAIT_SECONDS = 120
LOSS_TOLERATED = 0.1
COPY_LINES = 20_000
NULL = r"\N"  # in the text form of COPY


# --- Import -------------------------------------------------------------------------------------------------------------
def run(
    *,
    zips: str | Path,
    metros: str | Path,
    vintage: str,
    actor: str,
    skip_bad_rows: int = 0,
    force: bool = False,
    dry_run: bool = False,
    use: bool = True,
    loaded: Callable[[ImportRun], object] = lambda record: None,
    progress: Progress = lambda text: None,
    limits: Limits = Limits(),  # noqa: B008  a frozen value
) -> ImportRun:
    """Import HUD's crosswalk `zips` and the Census Bureau's estimates `metros` as the dataset `vintage`, and use it.

    Each file is a path, `-` or an http(s) address. Without `use` the pair is only loaded beside the data in use, and
    `loaded` is called with the record in the same transaction. The same files under the same label are not loaded again,
    only brought into use. `force` replaces other files under that label, and accepts the loss of more than a tenth of
    the ZIPs in use. Returns the record of what was done, unsaved where nothing changed.

    Raises:
        ImportRefused: a file or the label is wrong. Nothing has changed, and the refusal is recorded.
    """
    record = ImportRun(vintage=vintage.strip(), actor=actor, started_at=timezone.now())
    with _record_refusal(record, dry_run), tempfile.TemporaryDirectory(prefix="cbsa-") as name:
        if not record.vintage or len(record.vintage) > 50 or not record.vintage.isprintable():
            raise ImportRefused("The label of a vintage has 1 to 50 printable characters, such as 2015 or 2023q3.")
        if zips == metros == "-":
            raise ImportRefused("Only one of the two files can come from standard input.")
        sources = {}
        for kind, address in (("zips", zips), ("metros", metros)):
            progress(f"Fetching the {kind} file")
            sources[kind] = source = fetch(address, Path(name, kind), limits)
            record.files[kind] = {"name": source.name, "sha256": source.sha256, "bytes": source.size_bytes}
        rejects = Rejects(skip_bad_rows)
        with Path(name, "rows").open("w+", encoding="ascii") as rows:
            census = read_census(sources["metros"], rejects, progress)
            crosswalk = read_crosswalk(sources["zips"], rejects, progress, rows)
            rejects.check()
            record.rejects = [reject._asdict() for reject in rejects.rows]
            _describe(record, census, crosswalk)
            progress("Loading")
            with transaction.atomic(), _exclusive():
                record.outcome = _outcome(record, crosswalk, force=force, dry_run=dry_run, use=use)
                _carry_out(record, census, crosswalk, rows)
                loaded(record)
    return record


@contextmanager
def _record_refusal(record: ImportRun, dry_run: bool) -> Iterator[None]:
    try:
        yield
    except Problem as refusal:
        if not dry_run:
            record.outcome, record.detail, record.dataset = Outcome.REFUSED, refusal.detail, None
            record.rejects = refusal.data.get("rejects", record.rejects)
            record.finished_at = timezone.now()
            record.save()
        raise


def _describe(record: ImportRun, census: Census, crosswalk: Crosswalk) -> None:
    """Count the ZIPs by kind of area, and list the CBSAs that the census file lacks, each with its number of ZIPs."""
    zips_by_kind: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    divided = 0
    for cbsa, zips in Counter(crosswalk.cbsa_of_zip.values()).items():
        effective = effective_cbsa(cbsa, census.divided)
        if effective != cbsa:
            divided += zips
        if effective in census.kinds:
            zips_by_kind[census.kinds[effective]] += zips
        elif effective == NO_CBSA:
            zips_by_kind[NO_CBSA] += zips
        else:
            absent[effective] += zips
    record.absent = dict(sorted(absent.items()))
    record.counts = {
        "zip_rows": crosswalk.rows,
        "zips": len(crosswalk.cbsa_of_zip),
        "metropolitan": zips_by_kind[METROPOLITAN],
        "micropolitan": zips_by_kind[MICROPOLITAN],
        "no_cbsa": zips_by_kind[NO_CBSA],
        "absent": absent.total(),
        "divided": divided,
        "census_rows": len(census.areas),
        "bad_rows": len(record.rejects),
    }


def _outcome(record: ImportRun, crosswalk: Crosswalk, *, force: bool, dry_run: bool, use: bool) -> Outcome:
    """Decide what becomes of the checked files, and note the dataset that holds them already. Raises ImportRefused."""
    in_use = Dataset.objects.filter(active=True).first()
    same_label = Dataset.objects.filter(vintage=record.vintage).first()
    same_files = same_label if same_label and _checksums(record) == _checksums_of(same_label) else None
    if same_label and not same_files and not force:
        remedy = "Choose another label, or replace them with --force." if use else "Choose another label."
        raise ImportRefused(f"{record.vintage} holds other files already. {remedy}")
    if in_use and use and not force:
        _check_loss(in_use, crosswalk)
    record.dataset = same_files
    if same_files and (same_files == in_use or not use):
        return Outcome.UNCHANGED
    if dry_run:
        return Outcome.CHECKED
    if same_files:
        return Outcome.ACTIVATED
    return Outcome.IMPORTED if use else Outcome.LOADED


def _checksums(record: ImportRun) -> dict[str, str]:
    return {f"{kind}_sha256": file["sha256"] for kind, file in record.files.items()}


def _checksums_of(dataset: Dataset) -> dict[str, str]:
    return {"zips_sha256": dataset.zips_sha256, "metros_sha256": dataset.metros_sha256}


def _check_loss(in_use: Dataset, crosswalk: Crosswalk) -> None:
    zip_codes = Zip.objects.filter(dataset=in_use).values_list("zip", flat=True)
    lost = sum(1 for zip_code in zip_codes if zip_code not in crosswalk.cbsa_of_zip)
    if lost > LOSS_TOLERATED * len(zip_codes):
        raise ImportRefused(
            f"{lost:,} of the {len(zip_codes):,} ZIPs in use would be lost. If that is meant, repeat the import with --force.", lost=lost
        )


def _carry_out(record: ImportRun, census: Census, crosswalk: Crosswalk, rows: IO[str]) -> None:
    """Write what the outcome asks for: load the files, bring their dataset into use, both, or neither."""
    if record.outcome in {Outcome.IMPORTED, Outcome.LOADED}:
        Dataset.objects.filter(vintage=record.vintage).delete()
        record.dataset = Dataset.objects.create(vintage=record.vintage, **_checksums(record))
        _load(record.dataset, census, crosswalk, rows)
    if record.outcome in {Outcome.IMPORTED, Outcome.ACTIVATED}:
        _switch(record)
    elif record.outcome == Outcome.LOADED:
        record.finished_at = timezone.now()
        record.save()


def _load(dataset: Dataset, census: Census, crosswalk: Crosswalk, rows: IO[str]) -> None:
    """Copy everything beside the data in use. The rows of both files have been checked, so none needs quoting."""
    from psycopg.types.json import Json

    columns = "dataset_id, cbsa, mdiv, stcou, name, lsad, population"
    with connection.cursor() as cursor, cursor.copy(f"COPY {Area._meta.db_table} ({columns}) FROM STDIN") as copy:
        for area in census.areas:
            copy.write_row((dataset.pk, *area[:-1], Json(area.population)))
    rows.seek(0)
    _copy_lines(ZipShare._meta.db_table, "zip, cbsa, tot_ratio, res_ratio, bus_ratio, oth_ratio", dataset, rows)
    msa_ids = dict(Area.objects.filter(dataset=dataset, lsad=METROPOLITAN).values_list("cbsa", "pk"))
    _copy_lines(Zip._meta.db_table, "zip, cbsa, effective_cbsa, msa_id", dataset, _zip_lines(census, crosswalk, msa_ids))


def _zip_lines(census: Census, crosswalk: Crosswalk, msa_ids: dict[str, int]) -> Iterator[str]:
    for zip_code, cbsa in crosswalk.cbsa_of_zip.items():
        effective = effective_cbsa(cbsa, census.divided)
        yield f"{zip_code}\t{cbsa}\t{effective}\t{msa_ids.get(effective, NULL)}\n"


def _copy_lines(table: str, columns: str, dataset: Dataset, lines: Iterator[str] | IO[str]) -> None:
    lead = f"{dataset.pk}\t"
    with connection.cursor() as cursor:
        # One COPY for each batch: within a single COPY, bytes that the server has not read yet would fill memory without bound.
        while batch := list(islice(lines, COPY_LINES)):
            with cursor.copy(f"COPY {table} (dataset_id, {columns}) FROM STDIN") as copy:
                copy.write(lead + lead.join(batch))


# --- Switch between datasets, and delete old ones ---------------------------------------------------------------------------
@dataclass(frozen=True)
class Changes:
    """What another dataset would change: how many ZIPs are new, lost or in another area, and a line for each other consequence."""

    in_use: Dataset | None
    held: int
    new: int
    lost: int
    moved: int
    consequences: list[str]

    @property
    def loses_much(self) -> bool:
        return self.lost > LOSS_TOLERATED * self.held


CHANGES = """
SELECT count(old.zip), count(*) FILTER (WHERE old.zip IS NULL), count(*) FILTER (WHERE new.zip IS NULL),
       count(*) FILTER (WHERE old.effective_cbsa <> new.effective_cbsa)
FROM (SELECT * FROM cbsa_zip WHERE dataset_id = %s) old FULL JOIN (SELECT * FROM cbsa_zip WHERE dataset_id = %s) new USING (zip)
"""


def changes(dataset: Dataset) -> Changes:
    """Return what bringing the dataset into use would change now."""
    in_use = Dataset.objects.filter(active=True).first()
    with connection.cursor() as cursor:
        cursor.execute(CHANGES, [in_use.pk if in_use else 0, dataset.pk])
        held, new, lost, moved = cursor.fetchone()
    consequences = [line for _, lines in dataset_previewed.send(Dataset, dataset_id=dataset.pk) for line in lines or ()]
    return Changes(in_use, held, new, lost, moved, consequences)


def activate(*, vintage: str, actor: str, reason: str = "", expected_in_use: str | None = None, force: bool = True) -> ImportRun:
    """Bring an earlier dataset back into use. Returns the record, unsaved where the dataset is in use already.

    `expected_in_use` is the label that the caller saw in use, "" for none; None does not check.

    Raises:
        ImportRefused: there is no dataset of that label, another dataset than expected is in use, or, without `force`, more
            than a tenth of the ZIPs in use would be lost.
    """
    record = ImportRun(vintage=vintage, actor=actor, detail=reason, started_at=timezone.now())
    with transaction.atomic(), _exclusive():
        dataset = Dataset.objects.filter(vintage=vintage).first()
        if dataset is None:
            labels = ", ".join(Dataset.objects.values_list("vintage", flat=True)) or "none"
            raise ImportRefused(f"There is no dataset {vintage}. Those imported: {labels}.")
        in_use = Dataset.objects.filter(active=True).values_list("vintage", flat=True).first() or ""
        if expected_in_use is not None and expected_in_use != in_use:
            raise ImportRefused(f"{in_use or 'No dataset'} is in use by now. Look again at what would change.")
        if not force and changes(dataset).loses_much:
            raise ImportRefused("More than a tenth of the ZIPs in use would be lost. Tick the box if that is meant.")
        record.dataset = dataset
        record.outcome = Outcome.UNCHANGED if dataset.active else Outcome.ACTIVATED
        if record.outcome == Outcome.ACTIVATED:
            _switch(record)
    return record


def prune(*, keep: int) -> list[str]:
    """Delete all datasets but the `keep` newest and the one in use. Returns the labels of those deleted, newest first."""
    with transaction.atomic(), _exclusive():
        old = [dataset for dataset in Dataset.objects.all()[keep:] if not dataset.active]
        for dataset in old:
            dataset.delete()
    return [dataset.vintage for dataset in old]


def discard(dataset_id: int) -> None:
    """Delete one dataset, unless it is in use."""
    with transaction.atomic(), _exclusive():
        Dataset.objects.filter(pk=dataset_id, active=False).delete()


def _switch(record: ImportRun) -> None:
    """Bring the record's dataset into use, tell other apps, and save the record."""
    Dataset.objects.filter(active=True).update(active=False)
    Dataset.objects.filter(vintage=record.vintage).update(active=True)
    lookup.forget()
    dataset_activated.send(Dataset, dataset_id=record.dataset_id)
    record.finished_at = timezone.now()
    record.save()


@contextmanager
def _exclusive() -> Iterator[None]:
    """Hold the lock of dataset changes until the transaction ends. Raises ImportRefused where another holds it for too long."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_WAIT_SECONDS}s"])
        try:
            with transaction.atomic():
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        except OperationalError:
            raise ImportRefused(f"Another import has been running for {LOCK_WAIT_SECONDS} seconds. Try again when it has ended.") from None
    yield
