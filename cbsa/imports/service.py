"""Import a pair of files as a dataset, switch between datasets, and delete old ones. The only writer of datasets.

An import checks everything first, loads beside the data in use and switches over at the end of one transaction, so that
readers see the old data or the new. Imports wait for each other.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from django.db import OperationalError, connection, transaction
from django.utils import timezone

from cbsa import lookup
from cbsa.errors import ImportRefused
from cbsa.imports.census import Census, read_census
from cbsa.imports.changes import note_changes
from cbsa.imports.crosswalk import Crosswalk, check_codes, read_crosswalk
from cbsa.imports.findings import Findings
from cbsa.imports.loading import load
from cbsa.imports.sources import Limits, Progress, Source, fetch
from cbsa.models import Dataset, ImportRun
from cbsa.rules import METROPOLITAN, MICROPOLITAN, NO_CBSA, effective_cbsa
from cbsa.signals import dataset_activated
from peerloans.errors import Problem

Outcome = ImportRun.Outcome

LOCK = 0x63627361  # an advisory lock of our own: "cbsa" in ASCII
LOCK_WAIT_SECONDS = 120
SWITCH_WAIT_SECONDS = 10  # short, because those who want to keep the dataset in use wait behind it
WHOLE_COUNTRY = 10_000  # ZIPs; the USA have about 39,500, and an extract for a test has a few
LAST_ZIPS = "99"  # the first digits of the highest ZIPs of the USA, in Washington and Alaska
ABSENT_SUSPICIOUS = 0.01  # of the ZIPs; a matching pair lacks only Puerto Rico, 0.004
EXAMPLES = 10
LEFT_OUT_KEPT = 1_000


# --- Import -------------------------------------------------------------------------------------------------------------
def run(
    *,
    zips: str | Path,
    metros: str | Path | Sequence[str | Path],
    vintage: str,
    actor: str,
    sheet: str = "",
    skip_bad_rows: int = 0,
    force: bool = False,
    dry_run: bool = False,
    use: bool = True,
    loaded: Callable[[ImportRun], object] = lambda record: None,
    progress: Progress = lambda text: None,
    limits: Limits = Limits(),  # noqa: B008  a frozen value
) -> ImportRun:
    """Import HUD's crosswalk `zips` and the Census Bureau's estimates `metros` as the dataset `vintage`, and use it.

    Each file is a path, `-` or an http(s) address; `metros` may be several files, and `sheet` names the crosswalk's sheet in
    a workbook. Up to `skip_bad_rows` bad rows are left out with the whole of their ZIPs. Without `use` the pair is only loaded
    beside the data in use, and `loaded` is called with the record in the same transaction. The same files under the same label
    are not loaded again, only brought into use. `force` replaces other files under that label, and accepts that most codes are
    no CBSAs and that many ZIPs in use are lost. A dry run loads the files, looks at what would change, and undoes it. Returns
    the record of what was done, unsaved where nothing changed.

    Raises:
        ImportRefused: a file or the label is wrong. Nothing has changed, and the refusal is recorded.
    """
    record = ImportRun(vintage=vintage.strip(), actor=actor, started_at=timezone.now())
    addresses = [zips, *([metros] if isinstance(metros, str | Path) else metros)]
    with _record_refusal(record, dry_run), tempfile.TemporaryDirectory(prefix="cbsa-") as name:
        if not record.vintage or len(record.vintage) > 50 or not record.vintage.isprintable():
            raise ImportRefused("The label of a vintage has 1 to 50 printable characters, such as 2015 or 2023q3.")
        if addresses.count("-") > 1:
            raise ImportRefused("Only one of the files can come from standard input.")
        sources = _fetch(record, addresses, Path(name), limits, progress)
        findings = Findings(skip_bad_rows)
        with Path(name, "rows").open("w+", encoding="ascii") as rows:
            census = read_census(sources[1:], findings, progress)
            crosswalk = read_crosswalk(sources[0], findings, progress, rows, sheet)
            findings.check()
            if not force:
                check_codes(sources[0], crosswalk, census)
            _describe(record, census, crosswalk, findings)
            progress("Loading")
            with transaction.atomic(), _exclusive():
                checksums = _checksums(record, sheet)
                record.outcome = _outcome(record, checksums, force=force, dry_run=dry_run, use=use)
                dataset = record.dataset or load(checksums, census, crosswalk, rows)
                if use and record.outcome != Outcome.UNCHANGED:
                    note_changes(record, dataset, force=force)
                _finish(record, dataset)
                loaded(record)
    _announce(record)
    return record


def _fetch(record: ImportRun, addresses: Sequence[str | Path], folder: Path, limits: Limits, progress: Progress) -> list[Source]:
    """Fetch the files, the crosswalk first, and note in the record what came."""
    sources = []
    for number, address in enumerate(addresses):
        kind = "zips" if number == 0 else "metros" if number == 1 else f"metros_{number}"
        progress(f"Fetching the {'zips' if number == 0 else 'metros'} file")
        source = fetch(address, folder / kind, limits)
        record.files[kind] = {"name": source.name, "sha256": source.sha256, "bytes": source.size_bytes}
        sources.append(source)
    return sources


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


def _describe(record: ImportRun, census: Census, crosswalk: Crosswalk, findings: Findings) -> None:
    """Note in the record what the checks found: the ZIPs by kind of area, the CBSAs that the census file lacks, and warnings."""
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
        "bad_rows": findings.bad_rows,
    }
    record.rejects = [reject._asdict() for reject in findings.rejects]
    record.left_out = sorted(crosswalk.left_out)[:LEFT_OUT_KEPT]
    record.warnings = findings.warnings
    for file in record.files.values():
        if sheet := findings.sheets.get(file["name"]):
            file["sheet"] = sheet
    if crosswalk.left_out:
        record.warnings.append(f"{_count(len(crosswalk.left_out), 'ZIP')} left out, because of bad rows: {_examples(record.left_out)}.")
    last_zip = max(crosswalk.cbsa_of_zip)
    if len(crosswalk.cbsa_of_zip) > WHOLE_COUNTRY and not last_zip.startswith(LAST_ZIPS):
        record.warnings.append(f"the crosswalk ends with ZIP {last_zip}, but the ZIPs of the USA go up to 99950: was it cut off?")
    if absent.total() > ABSENT_SUSPICIOUS * len(crosswalk.cbsa_of_zip):
        record.warnings.append(
            f"{absent.total():,} ZIPs are in CBSAs that the census file lacks, which is much for a pair of one year: "
            "are both files of the same vintage?"
        )


def _count(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number:,} {noun}s are"


def _examples(texts: Sequence[str]) -> str:
    return ", ".join(texts[:EXAMPLES]) + ", …" * (len(texts) > EXAMPLES)


def _checksums(record: ImportRun, sheet: str) -> dict[str, str]:
    """Return what identifies the content of a dataset: the files' checksums, and the sheet that was asked for."""
    zips, *metros = (file["sha256"] for file in record.files.values())
    return {"zips_sha256": _digest(zips, sheet), "metros_sha256": _digest(*sorted(metros))}


def _digest(first: str, *others: str) -> str:
    """Return one checksum for several texts; a checksum alone stays as it is."""
    return hashlib.sha256("\n".join([first, *others]).encode()).hexdigest() if any(others) else first


def _outcome(record: ImportRun, checksums: dict[str, str], *, force: bool, dry_run: bool, use: bool) -> Outcome:
    """Decide what becomes of the checked files, and note the dataset that holds them already. Raises ImportRefused."""
    same_label = Dataset.objects.filter(vintage=record.vintage).first()
    same_files = same_label if same_label and checksums == {name: getattr(same_label, name) for name in checksums} else None
    if same_label and not same_files and not force:
        raise ImportRefused(
            f"{record.vintage} holds other files already. Choose another label.",
            hint="Or replace them with --force.",
        )
    record.dataset = same_files
    if same_files and (same_files.active or not use):
        return Outcome.UNCHANGED
    if dry_run:
        return Outcome.CHECKED
    if same_files:
        return Outcome.ACTIVATED
    return Outcome.IMPORTED if use else Outcome.LOADED


def _finish(record: ImportRun, dataset: Dataset) -> None:
    """Bring the dataset into use, leave it loaded, or undo the loading, as the outcome says."""
    match record.outcome:
        case Outcome.CHECKED:
            record.dataset = None
            transaction.set_rollback(True)
        case Outcome.IMPORTED:
            _label(record, dataset)
            _switch(record)
        case Outcome.ACTIVATED:
            _switch(record)
        case Outcome.LOADED:
            _label(record, dataset)
            record.finished_at = timezone.now()
            record.save()


def _label(record: ImportRun, dataset: Dataset) -> None:
    """Give the new dataset its label, in place of the dataset that has it."""
    Dataset.objects.filter(vintage=record.vintage).delete()
    dataset.vintage = record.vintage
    dataset.save()
    record.dataset = dataset


# --- Switch between datasets, and delete old ones ---------------------------------------------------------------------------
def activate(*, vintage: str, actor: str, reason: str = "", expected_in_use: str | None = None, force: bool = True) -> ImportRun:
    """Bring an earlier dataset back into use. Returns the record, unsaved where the dataset is in use already.

    `expected_in_use` is the label that the caller saw in use, "" for none; None does not check.

    Raises:
        ImportRefused: there is no dataset of that label, another dataset than expected is in use, or, without `force`, many of
            the ZIPs in use would be lost.
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
        record.dataset = dataset
        record.outcome = Outcome.UNCHANGED if dataset.active else Outcome.ACTIVATED
        if record.outcome == Outcome.ACTIVATED:
            note_changes(record, dataset, force=force)
            _switch(record)
    _announce(record)
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
    """Bring the record's dataset into use, once no other transaction keeps the former one in use, and save the record."""
    _wait_for(lookup.SWITCH_LOCK, SWITCH_WAIT_SECONDS, "Another transaction has kept the data in use")
    Dataset.objects.filter(active=True).update(active=False)
    Dataset.objects.filter(vintage=record.vintage).update(active=True)
    lookup.forget()
    record.finished_at = timezone.now()
    record.save()


def _announce(record: ImportRun) -> None:
    """Tell other apps after the commit that a dataset has come into use."""
    if record.outcome in (Outcome.IMPORTED, Outcome.ACTIVATED):
        dataset_activated.send_robust(Dataset, dataset_id=record.dataset_id)


@contextmanager
def _exclusive() -> Iterator[None]:
    """Hold the lock of dataset changes until the transaction ends. Raises ImportRefused where another holds it for too long."""
    _wait_for(LOCK, LOCK_WAIT_SECONDS, "Another import has been running")
    yield


def _wait_for(lock: int, seconds: float, reason: str) -> None:
    """Take an advisory lock until the transaction ends. Raises ImportRefused, with the reason, where another holds it for too long."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{seconds}s"])
        try:
            with transaction.atomic():
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
        except OperationalError:
            raise ImportRefused(f"{reason} for {seconds} seconds. Try again when it has ended.") from None
