"""docs/api_changes.md lists each operation of the schema, so that none comes or goes without a line in it."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
METHODS = {"get", "post", "put", "patch", "delete"}


def test_each_operation_of_the_schema_is_listed_and_no_other() -> None:
    paths = json.loads((ROOT / "tests" / "openapi.json").read_text())["paths"]
    offered = {(path, method.upper()) for path, operations in paths.items() for method in operations.keys() & METHODS}
    rows = re.findall(r"^\| `(/\S+)` \| ([A-Z, ]+) \|$", (ROOT / "docs" / "api_changes.md").read_text(), re.MULTILINE)
    assert {(path, method) for path, methods in rows for method in methods.split(", ")} == offered
