"""docs/glossary.md explains every field of the API, and no field that is gone."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[1] / "docs" / "glossary.md").read_text()
API = json.loads(Path(__file__).with_name("openapi.json").read_text())


def first_cells(text: str) -> list[str]:
    """The first cell of each row of the page's tables, head rows aside."""
    return [cell for cell in re.findall(r"^\| (.+?) \|", text, re.MULTILINE) if cell not in {"word", "field", "---"}]


def field_names(schema: Any) -> Iterator[str]:
    """The names of all properties in a JSON schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from field_names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from field_names(part)


words, _, fields = PAGE.partition("## The API's other fields")
WORDS = first_cells(words)
FIELDS = [cell.strip("`") for cell in first_cells(fields)]


def test_every_field_is_a_word_of_the_glossary_or_listed_on_its_page() -> None:
    explained = {word.lower().replace(" ", "_") for word in WORDS}
    assert sorted(set(field_names(API["components"])) - explained) == sorted(FIELDS)


def test_every_word_stands_on_the_page_once() -> None:
    assert [word for word, count in Counter(WORDS + FIELDS).items() if count > 1] == []
    assert len(WORDS) > 50
