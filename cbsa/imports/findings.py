"""Collect what the checks of an import find: bad rows and warnings. Too many bad rows refuse the import.

cbsa/imports/changes.py refuses a dataset that would lose or move too many ZIPs.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from cbsa.errors import ImportRefused
from cbsa.imports.sources import Source

REJECTS_KEPT = 1_000


class Reject(NamedTuple):
    """A row that cannot be used, and the reason."""

    file: str
    line: int
    reason: str


@dataclass
class Findings:
    """The bad rows of all files, and warnings for the operator. The first REJECTS_KEPT bad rows are kept, and all are counted."""

    tolerated: int
    bad_rows: int = 0
    rejects: list[Reject] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    sheets: dict[str, str] = field(default_factory=dict)
    """The sheet that was read of each workbook, by the file's name."""
    _lines: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def reject(self, source: Source, line: int, reason: str) -> None:
        """Count a bad row."""
        self.bad_rows += 1
        if len(self.rejects) < REJECTS_KEPT:
            self.rejects.append(Reject(source.name, line, reason))

    def warn_at(self, line: int, text: str) -> None:
        """Note a line for a warning that many lines may share; `flush_lines` writes it."""
        self._lines[text].append(line)

    def flush_lines(self, source: Source) -> None:
        """Write one warning for each text, with the lines at which it was noted."""
        for text, lines in self._lines.items():
            shown = ", ".join(f"{line:,}" for line in lines[:5])
            rest = f" and {len(lines) - 5:,} more" if len(lines) > 5 else ""
            self.warnings.append(f"{source.name}: {text} (line{'s' if len(lines) > 1 else ''} {shown}{rest}).")
        self._lines.clear()

    def check(self) -> None:
        """Raise ImportRefused with the bad rows where there are more of them than tolerated."""
        if self.bad_rows > self.tolerated:
            count = "1 bad row" if self.bad_rows == 1 else f"{self.bad_rows:,} bad rows"
            raise ImportRefused(
                f"{count}. Correct the file and import it again.",
                hint="Or leave out up to N of them, and the ZIPs that they belong to, with --skip-bad-rows N.",
                rejects=[reject._asdict() for reject in self.rejects],
                bad_rows=self.bad_rows,
            )
