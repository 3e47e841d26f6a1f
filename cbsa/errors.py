"""Name the refusals of ZIP questions and of imports.

peerloans/api/error_statuses.py gives each code its HTTP status. The sentences are written where the refusals are raised: of a ZIP in
cbsa/rules.py and cbsa/lookup.py, of an area in cbsa/areas.py, of an import in cbsa/imports/.
"""

from typing import Any

from peerloans.errors import Problem


class InvalidZip(Problem):
    code = "invalid_zip"
    title = "Not a ZIP code"


class UnknownZip(Problem):
    code = "unknown_zip"
    title = "Unknown ZIP code"


class UnknownVintage(Problem):
    code = "unknown_vintage"
    title = "Unknown vintage"


class UnknownArea(Problem):
    code = "unknown_cbsa"
    title = "Unknown CBSA"


class NoDataset(Problem):
    code = "no_dataset"
    title = "No ZIP data imported yet"


class ImportRefused(Problem):
    """An import, or a change of the dataset in use, was not made. Nothing has changed.

    `hint` is a sentence about an option of the command that helps; the admin, which has no options, leaves it out.
    """

    code = "import_refused"
    title = "Import refused"

    def __init__(self, detail: str, *, hint: str = "", **data: Any) -> None:
        super().__init__(detail, **data)
        self.hint = hint
