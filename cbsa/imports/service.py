"""How does a new pair of files come into use, and an earlier one again? The only writer of this app's tables.

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
from cbsa.imports.parsing import Metros, Rejects, Zips, read_metros, read_zips
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

    Both are a path, `-` or an http(s) address. Without `use` it is only loaded beside the data in use, and `loaded` is
    called with the record in the same transaction. The same files under the same label are not loaded again, only brought
    into use. `force` replaces other files under that label, and accepts the loss of more than a tenth of the ZIPs in
    use. Returns the record of what was done, unsaved after a dry run. Raises ImportRefused, and then nothing has
    changed but that the refusal is recorded.
    """
    record = ImportRun(vintage=vintage.strip(), actor=actor, started_at=timezone.now())
    with _refusal_recorded(record, dry_run), tempfile.TemporaryDirectory(prefix="cbsa-") as name:
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
            census = read_metros(sources["metros"], rejects, progress)
            crosswalk = read_zips(sources["zips"], rejects, progress, rows)
            rejects.check()
            record.rejects = [reject._asdict() for reject in rejects.rows]
            _describe(record, census, crosswalk)
            progress("Loading")
            with transaction.atomic(), _alone():
                _take_over(record, census, crosswalk, rows, force=force, dry_run=dry_run, use=use)
                loaded(record)
    return record


@contextmanager
def _refusal_recorded(record: ImportRun, dry_run: bool) -> Iterator[None]:
    try:
        yield
    except Problem as refusal:
        if not dry_run:
            record.outcome, record.detail, record.dataset = Outcome.REFUSED, refusal.detail, None
            record.rejects = refusal.data.get("rejects", record.rejects)
            record.finished_at = timezone.now()
            record.save()
        raise


def _describe(record: ImportRun, metros: Metros, zips: Zips) -> None:
    """Count what the two files hold together, and list the CBSAs that the census file lacks with their number of ZIPs."""
    kinds: Counter[str] = Counter()
    absent: Counter[str] = Counter()
    for cbsa, count in Counter(zips.chosen.values()).items():
        effective = effective_cbsa(cbsa, metros.divided)
        kind = metros.kinds.get(effective)
        kinds[kind or NO_CBSA] += count
        kinds["divided"] += count * (effective != cbsa)
        if not kind and effective != NO_CBSA:
            absent[effective] += count
    record.absent = dict(sorted(absent.items()))
    record.counts = {
        "zip_rows": zips.rows,
        "zips": len(zips.chosen),
        "metropolitan": kinds[METROPOLITAN],
        "micropolitan": kinds[MICROPOLITAN],
        "no_cbsa": kinds[NO_CBSA] - absent.total(),
        "absent": absent.total(),
        "divided": kinds["divided"],
        "census_rows": len(metros.areas),
        "bad_rows": len(record.rejects),
    }


def _take_over(record: ImportRun, metros: Metros, zips: Zips, rows: IO[str], *, force: bool, dry_run: bool, use: bool) -> None:
    """Bring the checked files into use, or, where they are there already, their dataset."""
    in_use = Dataset.objects.filter(active=True).first()
    same_label = Dataset.objects.filter(vintage=record.vintage).first()
    checksums = {f"{kind}_sha256": file["sha256"] for kind, file in record.files.items()}
    known = same_label is not None and checksums == {name: getattr(same_label, name) for name in checksums}
    if known and (same_label == in_use or not use):
        record.outcome, record.dataset = Outcome.UNCHANGED, same_label
    if same_label and not known and not force:
        replacing = ", or replace them with --force" * use
        raise ImportRefused(f"{record.vintage} holds other files already. Choose another label{replacing}.")
    if in_use and use and not force:
        _check_loss(in_use, zips)
    if record.outcome == Outcome.UNCHANGED:
        return
    if dry_run:
        record.outcome = Outcome.CHECKED
        return
    if known:
        record.outcome, record.dataset = Outcome.ACTIVATED, same_label
    else:
        if same_label:
            same_label.delete()
        dataset = Dataset.objects.create(vintage=record.vintage, **checksums)
        _load(dataset, metros, zips, rows)
        record.outcome, record.dataset = Outcome.IMPORTED, dataset
    if use:
        _switch(record)
    else:
        record.outcome, record.finished_at = Outcome.LOADED, timezone.now()
        record.save()


def _check_loss(in_use: Dataset, zips: Zips) -> None:
    held = Zip.objects.filter(dataset=in_use).values_list("zip", flat=True)
    lost = sum(zip_code not in zips.chosen for zip_code in held)
    if lost > LOSS_TOLERATED * len(held):
        raise ImportRefused(
            f"{lost:,} of the {len(held):,} ZIPs in use would be lost. If that is meant, repeat the import with --force.", lost=lost
        )


def _load(dataset: Dataset, metros: Metros, zips: Zips, rows: IO[str]) -> None:
    """Copy everything beside the data in use. The files' rows are checked, so none needs quoting."""
    from psycopg.types.json import Json

    columns = "dataset_id, cbsa, mdiv, stcou, name, lsad, population"
    with connection.cursor() as cursor, cursor.copy(f"COPY {Area._meta.db_table} ({columns}) FROM STDIN") as copy:
        for area in metros.areas:
            copy.write_row((dataset.pk, *area[:-1], Json(area.population)))
    rows.seek(0)
    _copy_lines(ZipShare._meta.db_table, "zip, cbsa, tot_ratio, res_ratio, bus_ratio, oth_ratio", dataset, rows)
    msa_ids = dict(Area.objects.filter(dataset=dataset, lsad=METROPOLITAN).values_list("cbsa", "pk"))
    _copy_lines(Zip._meta.db_table, "zip, cbsa, effective_cbsa, msa_id", dataset, _answers(metros, zips, msa_ids))


def _answers(metros: Metros, zips: Zips, msa_ids: dict[str, int]) -> Iterator[str]:
    for zip_code, cbsa in zips.chosen.items():
        effective = effective_cbsa(cbsa, metros.divided)
        yield f"{zip_code}\t{cbsa}\t{effective}\t{msa_ids.get(effective, NULL)}\n"


def _copy_lines(table: str, columns: str, dataset: Dataset, lines: Iterator[str] | IO[str]) -> None:
    lead = f"{dataset.pk}\t"
    with connection.cursor() as cursor:
        # A COPY for each batch: within one, what the server has not taken yet would pile up in memory without bound.
        while batch := list(islice(lines, COPY_LINES)):
            with cursor.copy(f"COPY {table} (dataset_id, {columns}) FROM STDIN") as copy:
                copy.write(lead + lead.join(batch))


@dataclass(frozen=True)
class Changes:
    """What another dataset would change: how many ZIPs are new, lost or move to another area, and what follows elsewhere."""

    in_use: Dataset | None
    held: int
    new: int
    lost: int
    moved: int
    follows: list[str]

    @property
    def loses_much(self) -> bool:
        return self.lost > LOSS_TOLERATED * self.held


CHANGES = """
SELECT count(old.zip), count(*) FILTER (WHERE old.zip IS NULL), count(*) FILTER (WHERE new.zip IS NULL),
       count(*) FILTER (WHERE old.effective_cbsa <> new.effective_cbsa)
FROM (SELECT * FROM cbsa_zip WHERE dataset_id = %s) old FULL JOIN (SELECT * FROM cbsa_zip WHERE dataset_id = %s) new USING (zip)
"""


def changes(dataset: Dataset) -> Changes:
    """What bringing the dataset into use would change now."""
    in_use = Dataset.objects.filter(active=True).first()
    with connection.cursor() as cursor:
        cursor.execute(CHANGES, [in_use.pk if in_use else 0, dataset.pk])
        held, new, lost, moved = cursor.fetchone()
    consequences = [line for _, lines in dataset_previewed.send(Dataset, dataset_id=dataset.pk) for line in lines or ()]
    return Changes(in_use, held, new, lost, moved, consequences)


def activate(*, vintage: str, actor: str, reason: str = "", seen: str | None = None, force: bool = True) -> ImportRun:
    """Bring an earlier dataset back into use. Raises ImportRefused where there is none of that label.

    `seen` is the label that the caller saw in use, "" for none; ImportRefused where another one is by now. Without
    `force` the loss of more than a tenth of the ZIPs in use is refused, too.
    """
    record = ImportRun(vintage=vintage, actor=actor, detail=reason, started_at=timezone.now())
    with transaction.atomic(), _alone():
        dataset = Dataset.objects.filter(vintage=vintage).first()
        if dataset is None:
            known = ", ".join(Dataset.objects.values_list("vintage", flat=True)) or "none"
            raise ImportRefused(f"There is no dataset {vintage}. Those imported: {known}.")
        in_use = Dataset.objects.filter(active=True).values_list("vintage", flat=True).first() or ""
        if seen is not None and seen != in_use:
            raise ImportRefused(f"{in_use or 'No dataset'} is in use by now. Look again at what would change.")
        if not force and changes(dataset).loses_much:
            raise ImportRefused("More than a tenth of the ZIPs in use would be lost. Tick the box if that is meant.")
        record.dataset = dataset
        record.outcome = Outcome.UNCHANGED if dataset.active else Outcome.ACTIVATED
        if record.outcome == Outcome.ACTIVATED:
            _switch(record)
    return record


def prune(*, keep: int) -> list[str]:
    """Delete all datasets but the `keep` newest and the one in use; their labels, newest first."""
    with transaction.atomic(), _alone():
        old = [dataset for dataset in Dataset.objects.all()[keep:] if not dataset.active]
        for dataset in old:
            dataset.delete()
    return [dataset.vintage for dataset in old]


def discard(dataset_id: int) -> None:
    """Delete a dataset that is not in use; one in use stays."""
    with transaction.atomic(), _alone():
        for dataset in Dataset.objects.filter(pk=dataset_id, active=False):
            dataset.delete()


def _switch(record: ImportRun) -> None:
    """The record's dataset comes into use, and whoever keeps what was found follows."""
    Dataset.objects.filter(active=True).update(active=False)
    Dataset.objects.filter(vintage=record.vintage).update(active=True)
    lookup.forget()
    dataset_activated.send(Dataset, dataset_id=record.dataset_id)
    record.finished_at = timezone.now()
    record.save()


@contextmanager
def _alone() -> Iterator[None]:
    """One change of the datasets at a time, until the transaction ends; the next waits its turn."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_WAIT_SECONDS}s"])
        try:
            with transaction.atomic():
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        except OperationalError:
            raise ImportRefused(f"Another import has been running for {LOCK_WAIT_SECONDS} seconds. Try again when it has ended.") from None
    yield
