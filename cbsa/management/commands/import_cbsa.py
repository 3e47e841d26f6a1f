"""Import ZIP data, list what was imported, go back to an earlier dataset, and delete old ones."""

import getpass
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from cbsa.imports import service
from cbsa.models import Dataset, ImportRun
from peerloans.errors import Problem

EPILOG = """
A FILE is a path, - for standard input, or an http(s) address; CSV, .xlsx or the JSON of HUD's API; plain, .gz or .zip.
http_proxy and the like are not used: behind a proxy, download with another program and pipe it to -.

Everything is checked first. The new data is loaded beside the data in use, which readers see until the switch at the end.

Exit status: 0 done, also where there was nothing to do; 1 refused, and nothing has changed; 2 wrong use of the options;
130 interrupted.

examples:
  manage.py import_cbsa --zips ZIP_CBSA_122015.xlsx --metros cbsa-est2015-alldata.csv --vintage 2015
  manage.py import_cbsa --list
  manage.py import_cbsa --activate 2015
"""


INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Command(BaseCommand):
    help = "Import HUD's ZIP-to-CBSA crosswalk and the Census Bureau's CBSA estimates, and answer from them."
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        import argparse

        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.epilog, parser.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        new = parser.add_argument_group("import a pair of files")
        new.add_argument("--zips", metavar="FILE", help="HUD's crosswalk, ZIP to CBSA")
        new.add_argument(
            "--metros",
            metavar="FILE",
            action="append",
            help="the Census Bureau's estimates, CBSA-EST…-alldata; once more for a further file, such as Puerto Rico's",
        )
        new.add_argument("--vintage", metavar="LABEL", help="the name of this pair, such as 2015 or 2023q3")
        new.add_argument("--sheet", metavar="NAME", default="", help="the sheet of HUD's workbook, where several have its columns")
        new.add_argument(
            "--skip-bad-rows", metavar="N", type=count, default=0, help="leave out up to N bad rows, and their whole ZIPs (default: none)"
        )
        new.add_argument(
            "--force",
            action="store_true",
            help="go on where many ZIPs in use would be lost or most codes are no CBSAs, and replace other files under the same label",
        )
        new.add_argument("--dry-run", action="store_true", help="check and report, but change nothing")
        kept = parser.add_argument_group("earlier datasets, instead of an import").add_mutually_exclusive_group()
        kept.add_argument("--list", action="store_true", help="list the datasets, newest first; * is in use")
        kept.add_argument("--activate", metavar="LABEL", help="go back (or on) to a dataset imported earlier")
        kept.add_argument("--prune", metavar="N", type=count, help="delete all but the N newest and the one in use")
        parser.add_argument("--json", action="store_true", help="print the outcome as one JSON document")

    def handle(self, **options: Any) -> None:
        new: dict[str, Any] = {name: options[name] for name in ("zips", "metros", "vintage")}
        other = options["list"] or options["activate"] is not None or options["prune"] is not None
        missing = [f"--{name}" for name, value in new.items() if value is None]
        if other and len(missing) < len(new):
            raise CommandError("--list, --activate and --prune stand alone, without files.", returncode=2)
        if not other and missing:
            raise CommandError(f"An import needs {' and '.join(missing)}, too. --help shows all options.", returncode=2)
        try:
            document, text = self.act(new, options)
        except Problem as refusal:
            if options["json"]:
                self.stdout.write(
                    json.dumps(
                        {"outcome": "refused", "detail": refusal.detail, "hint": getattr(refusal, "hint", ""), **refusal.data}, indent=2
                    )
                )
            rejects = refusal.data.get("rejects", [])
            for reject in rejects:
                self.stderr.write("{file}:{line}: {reason}".format(**reject))
            if more := refusal.data.get("bad_rows", 0) - len(rejects):
                self.stderr.write(f"… and {more:,} more bad rows.")
            raise CommandError(f"{refusal.detail} {getattr(refusal, 'hint', '')}".rstrip()) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Nothing has changed.", returncode=INTERRUPTED) from None
        self.stdout.write(json.dumps(document, indent=2) if options["json"] else text)

    def act(self, new: dict[str, Any], options: dict[str, Any]) -> tuple[object, str]:
        """Do what the options say. Returns the result for programs and for people."""
        if options["list"]:
            return listed()
        if options["prune"] is not None:
            deleted = service.prune(keep=options["prune"])
            return {"pruned": deleted}, f"Deleted: {', '.join(deleted) or 'none'}."
        if options["activate"] is not None:
            run = service.activate(vintage=options["activate"], actor=getpass.getuser())
        else:
            choices = {name: options[name] for name in ("sheet", "skip_bad_rows", "force", "dry_run")}
            try:
                run = service.run(**new, **choices, actor=getpass.getuser(), progress=self.show_progress)
            finally:
                self.show_progress("")
        return as_document(run), as_text(run)

    def show_progress(self, text: str) -> None:
        if sys.stderr.isatty():
            self.stderr.write(f"\r\x1b[K{text}", ending="")
            self.stderr.flush()


def count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def listed() -> tuple[object, str]:
    datasets = list(Dataset.objects.all())
    document = [
        {
            "vintage": dataset.vintage,
            "in_use": dataset.active,
            "imported_at": dataset.imported_at.isoformat(),
            "zips_sha256": dataset.zips_sha256,
            "metros_sha256": dataset.metros_sha256,
        }
        for dataset in datasets
    ]
    lines = [
        f"{'*' if dataset.active else ' '} {dataset.vintage:<20} imported {dataset.imported_at:%Y-%m-%d %H:%M} UTC" for dataset in datasets
    ]
    return document, "\n".join(lines) or "No dataset has been imported yet."


def as_document(run: ImportRun) -> dict[str, object]:
    names = ("vintage", "outcome", "files", "counts", "changes", "absent", "left_out", "warnings", "rejects")
    return {name: getattr(run, name) for name in names}


OUTCOMES = {
    "imported": "{0} is imported and in use.",
    "loaded": "{0} is loaded beside the data in use.",
    "activated": "{0}, imported earlier, is in use again.",
    "unchanged": "{0} is in use already; nothing has changed.",
    "checked": "{0} could be imported; nothing has changed.",
}


def as_text(run: ImportRun) -> str:
    lines = []
    if counts := run.counts:
        lines += [
            f"{counts['zips']:,} ZIPs in {counts['zip_rows']:,} rows, {counts['census_rows']:,} census rows:",
            f"{counts['metropolitan']:>8,} in a metropolitan area ({counts['divided']:,} by way of a division)",
            f"{counts['micropolitan']:>8,} in a micropolitan area",
            f"{counts['no_cbsa']:>8,} in no CBSA (99999)",
            f"{counts['absent']:>8,} in {len(run.absent)} CBSAs that the census file lacks",
        ]
        if run.absent:
            lines.append(f"Lacking, with their ZIPs: {', '.join(f'{cbsa} ({zips})' for cbsa, zips in run.absent.items())}.")
    lines += [f"Read sheet {file['sheet']!r} of {file['name']}." for file in run.files.values() if "sheet" in file]
    lines += ["Left out: {file}:{line}: {reason}".format(**reject) for reject in run.rejects]
    lines += [f"Warning: {warning}" for warning in run.warnings]
    if run.changes:
        lines += changes_as_text(run.changes)
    return "\n".join([*lines, OUTCOMES[run.outcome].format(run.vintage)])


def changes_as_text(changes: dict[str, Any]) -> list[str]:
    lines = []
    if in_use := changes["in_use"]:
        lines.append(f"ZIPs against {in_use}: {changes['new']:,} new, {changes['lost']:,} lost, {changes['moved']:,} in another area.")
    if examples := changes["lost_examples"]:
        lines.append(f"Lost: {', '.join(examples)}{', …' if changes['lost'] > len(examples) else ''}.")
    return [*lines, *changes["consequences"]]
