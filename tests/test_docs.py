"""Every file that the docs name is there, and every link between them leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# What runs write, and the other side of a command.
WRITTEN = re.compile(r"^(var|staticfiles)/")
FILE = re.compile(r"`((?:[\w.-]+/)+[\w.{},*@-]*)`")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)")


def expand(path: str) -> list[str]:
    """Return the paths that braces stand for: a/{b,c}.py is two."""
    match = re.search(r"\{([^}]*)\}", path)
    return [path.replace(match[0], part) for part in match[1].split(",")] if match else [path]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    top = {path.name for path in ROOT.iterdir()}
    named = {path for text in FILE.findall(page.read_text()) for path in expand(text)}
    ours = {path for path in named if path.split("/")[0] in top and not WRITTEN.match(path)}
    assert [path for path in sorted(ours) if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / target) if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(f"{target}#{anchor}")
    assert broken == []
