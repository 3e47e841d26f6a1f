"""Every file that the docs or the code name is there, and every link between the docs leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
# What runs write, and the other side of a command.
WRITTEN = re.compile(r"^(var|staticfiles)/")
FILE = re.compile(r"`((?:[\w.-]+/)+[\w.{},*@-]*)`")
FILE_IN_CODE = re.compile(r"(?<![\w/.:-])((?:loans|cbsa|peerloans|tests|docs)/[\w/.-]+\.(?:py|md)|templates/[\w/.-]+\.(?:html|txt))\b")
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


def test_every_file_that_the_code_names_is_there() -> None:
    modules = [path for top in ("loans", "cbsa", "peerloans", "tests") for path in (ROOT / top).rglob("*.py")]
    named = [(str(module.relative_to(ROOT)), file) for module in modules for file in FILE_IN_CODE.findall(module.read_text())]
    assert len(named) > 50
    assert [(module, file) for module, file in named if not (ROOT / file).exists()] == []


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
