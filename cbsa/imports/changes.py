"""Say what would change if a dataset came into use, and refuse it where too many ZIPs would be lost or move to another area."""

from dataclasses import dataclass

from django.db import connection

from cbsa.errors import ImportRefused
from cbsa.models import Dataset, ImportRun
from cbsa.signals import dataset_previewed

LOSS_TOLERATED = 0.1
TAIL_TOLERATED = 100  # of the last ZIPs; a quarter's news takes away a few, a file that was cut off takes away thousands
MOVED_TOLERATED = 0.25  # of the ZIPs; between 2015 and 2023 0.04 moved to another area
EXAMPLES = 10


@dataclass(frozen=True)
class Changes:
    """How a dataset differs from the one in use: how many ZIPs are new, lost or in another area.

    `lost_tail` counts the lost ZIPs above `last_zip`, the highest of the other dataset.
    """

    in_use: Dataset | None
    held: int
    new: int
    lost: int
    moved: int
    lost_tail: int
    last_zip: str
    lost_examples: list[str]

    @property
    def cut_off(self) -> str:
        """Return a sentence where the lost ZIPs look like the end of a file that was cut off; else ""."""
        if self.lost_tail < 2 or self.lost_tail < self.lost / 2:
            return ""
        return f"{self.lost_tail:,} of the lost ZIPs are all those above {self.last_zip}, the last ZIP of the new file: was it cut off?"

    @property
    def doubtful(self) -> bool:
        """Return whether so many ZIPs are lost, or move, that somebody must confirm it."""
        cut_off = bool(self.cut_off) and self.lost_tail > TAIL_TOLERATED
        return self.lost > LOSS_TOLERATED * self.held or cut_off or self.moves_many

    @property
    def moves_many(self) -> bool:
        """Return whether so many ZIPs move to another area that the crosswalk may be one to other areas."""
        return self.moved > max(TAIL_TOLERATED, MOVED_TOLERATED * self.held)

    def as_document(self) -> dict[str, object]:
        """Return the changes as JSON-ready values."""
        return {
            "in_use": self.in_use and self.in_use.vintage,
            **{name: getattr(self, name) for name in ("held", "new", "lost", "moved", "lost_examples")},
        }


# The join pairs the ZIPs of both datasets; a side without the ZIP is null.
CHANGES = """
SELECT count(old.zip), count(*) FILTER (WHERE old.zip IS NULL), count(*) FILTER (WHERE new.zip IS NULL),
       count(*) FILTER (WHERE old.effective_cbsa <> new.effective_cbsa),
       count(*) FILTER (WHERE new.zip IS NULL AND old.zip > last.zip), coalesce(min(last.zip), ''),
       coalesce((array_agg(old.zip ORDER BY old.zip) FILTER (WHERE new.zip IS NULL))[:%(examples)s], '{}')
FROM (SELECT * FROM cbsa_zip WHERE dataset_id = %(in_use)s) old
FULL JOIN (SELECT * FROM cbsa_zip WHERE dataset_id = %(dataset)s) new USING (zip)
CROSS JOIN (SELECT max(zip) AS zip FROM cbsa_zip WHERE dataset_id = %(dataset)s) last
"""


def compare(dataset: Dataset) -> Changes:
    """Compare the dataset with the one in use now."""
    in_use = Dataset.objects.filter(active=True).first()
    with connection.cursor() as cursor:
        cursor.execute(CHANGES, {"in_use": in_use.pk if in_use else 0, "dataset": dataset.pk, "examples": EXAMPLES})
        held, new, lost, moved, lost_tail, last_zip, lost_examples = cursor.fetchone()
    return Changes(in_use, held, new, lost, moved, lost_tail, last_zip, lost_examples)


def preview_consequences(dataset: Dataset) -> list[str]:
    """Return a line for each change that other apps would make if the dataset came into use."""
    return [line for _, lines in dataset_previewed.send(Dataset, dataset_id=dataset.pk) for line in lines or ()]


def note_changes(record: ImportRun, dataset: Dataset, *, force: bool) -> None:
    """Note in the record what would change.

    Raises:
        ImportRefused: it looks like a mistake, and `force` is not set.
    """
    changes = compare(dataset)
    record.changes = changes.as_document()
    if changes.cut_off:
        record.warnings.append(changes.cut_off)
    if changes.doubtful and not force:
        count, fate = (changes.moved, "move to another area") if changes.moves_many else (changes.lost, "be lost")
        detail = f"{count:,} of the {changes.held:,} ZIPs in use would {fate}."
        raise ImportRefused(
            " ".join(filter(None, [detail, changes.cut_off])), hint="If that is meant, repeat the import with --force.", lost=changes.lost
        )
    record.changes["consequences"] = preview_consequences(dataset)
