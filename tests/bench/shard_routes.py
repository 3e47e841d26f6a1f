"""Decide from a statement's query tree which shards it would go to, if the tables were distributed by loan.

PostgreSQL itself analyzes the statement: as the body of a function that is never called, it is stored as a query tree, in which each
column is named by its table and number. From the equalities in it follows which columns must have the value of which others.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from django.db import connection, transaction

RELATION, SUBQUERY, JOIN, FUNCTION, VALUES, CTE, GROUP = "0", "1", "2", "3", "5", "6", "9"  # RTEKind
LEFT, RIGHT, INNER = "1", "3", "0"  # JoinType
ANY_SUBLINK, EXPR_SUBLINK = "2", "4"  # SubLinkType
UPDATE, INSERT, DELETE = "2", "3", "4"  # CmdType
WRITES = {UPDATE, INSERT, DELETE}
_OF_INVESTOR = {"investor_id", "standing_order_id", "endpoint_id"}
HAS_TREE = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|\()", re.IGNORECASE)

NO_TABLE = "no table"
REFERENCE = "reference tables"
ONE_SHARD = "one shard"
SOME_SHARDS = "some shards"
NO_COLUMN = "no column"
EACH_SHARD = "each shard"
ALL_SHARDS = "all shards"
ROUTES = {
    NO_TABLE: "It touches no table of ours.",
    REFERENCE: "It touches only tables that every node has.",
    ONE_SHARD: "Every table by loan has one and the same value of its key.",
    SOME_SHARDS: "The keys come from a list of several loans.",
    NO_COLUMN: "It touches a table whose rows belong to a loan, and which does not name the loan.",
    EACH_SHARD: "No value of the key, but its tables are joined on it: each shard answers for itself.",
    ALL_SHARDS: "No value of the key, and its tables are not all joined on it.",
}


@dataclass(frozen=True)
class Layout:
    """Which tables are distributed, by which column, and which would have to be, but have no column for it."""

    keys: Mapping[str, str]
    without_key: frozenset[str]


@dataclass
class Route:
    """Where a statement goes, why, and what in it Citus refuses or does differently."""

    kind: str
    tables: list[str]
    why: str = ""
    need: str = ""
    obstacles: list[str] = field(default_factory=list)


# --- The query tree -------------------------------------------------------------------------------------------------------
class Node(dict[str, Any]):
    """A node of a query tree: its fields, and the name of its type."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


_TOKEN = re.compile(r'[(){}]|\[[^\]]*\]|"(?:\\.|[^"\\])*"|(?:\\.|[^\s(){}\\])+')


def parse_tree(text: str) -> Any:
    """Read the text of a pg_node_tree. A field with several tokens becomes the last of them, which is the value of a constant."""
    tokens = iter(_TOKEN.findall(text))

    def read(token: str) -> Any:
        if token == "(":
            return list(map(read, iter(lambda: next(tokens), ")")))
        if token != "{":
            return token
        node, name = Node(next(tokens)), ""
        for part in iter(lambda: next(tokens), "}"):
            if part.startswith(":"):
                name = part[1:]
            else:
                node[name] = read(part)
        return node

    return read(next(tokens))


def query_tree(sql: str) -> Node:
    """Return the tree of a statement, which PostgreSQL analyzes and does not run."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"CREATE FUNCTION pg_temp.analyzed() RETURNS void LANGUAGE sql BEGIN ATOMIC {sql.replace('%', '%%')}; END", ())
        cursor.execute("SELECT prosqlbody FROM pg_proc WHERE oid = 'pg_temp.analyzed'::regproc")
        (text,) = cursor.fetchone()
        transaction.set_rollback(True)
    tree = parse_tree(text)
    while isinstance(tree, list):
        (tree,) = tree
    assert isinstance(tree, Node)
    return tree


def walk(value: Any) -> Iterator[Node]:
    """Yield all nodes, those inside of subqueries too."""
    if isinstance(value, Node):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from walk(each)


def _nodes(value: Any) -> list[Node]:
    return [each for each in value if isinstance(each, Node)] if isinstance(value, list) else []


class Catalog:
    """What the database says about the numbers in a tree."""

    def __init__(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT oid::text FROM pg_operator WHERE oprname = '='")
            self.equals = {oid for (oid,) in cursor.fetchall()}
            cursor.execute("SELECT oid::text, proname FROM pg_proc WHERE provolatile = 'v'")
            self.volatile = dict(cursor.fetchall())
            cursor.execute(
                "SELECT attrelid::text, relname, attnum::text, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
                " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped"
            )
            columns = cursor.fetchall()
        self.tables = {oid: table for oid, table, _, _ in columns}
        self.columns = {(oid, number): name for oid, _, number, name in columns}
        self.numbers = {(table, name): number for _, table, number, name in columns}


# --- What follows from the equalities -------------------------------------------------------------------------------------
Element = tuple[Any, ...]  # ("column", query, table's number in it, column's number), ("value", bytes), ("list",), ("union", …)


class Scope:
    """One query of the tree, inside of another or not."""

    def __init__(self, query: Node, parent: "Scope | None", number: int) -> None:
        self.query, self.parent, self.number = query, parent, number
        self.entries = _nodes(query["rtable"])

    def above(self, levels: str) -> "Scope":
        scope = self
        for _ in range(int(levels)):
            assert scope.parent
            scope = scope.parent
        return scope


class Equalities:
    """Which columns of a statement take their values from which columns and constants."""

    def __init__(self, tree: Node, catalog: Catalog) -> None:
        self.catalog = catalog
        self.sources: dict[Element, set[Element]] = {}
        self.unions: dict[Element, list[Element | None]] = {}
        self.listed: dict[Element, set[Element]] = {}  # of columns that are compared with an array, which PostgreSQL takes no further
        self.scopes: dict[int, Scope] = {}
        self._add(tree, None)
        for scope in self.scopes.values():
            self._read(scope)

    def _add(self, query: Node, parent: Scope | None) -> None:
        scope = Scope(query, parent, len(self.scopes))
        self.scopes[id(query)] = scope

        def children(value: Any) -> Iterator[Node]:
            for each in value.values() if isinstance(value, Node) else value if isinstance(value, list) else ():
                if isinstance(each, Node) and each.kind == "QUERY":
                    yield each
                else:
                    yield from children(each)

        for child in children(query):
            self._add(child, scope)

    # --- Conditions -------------------------------------------------------------------------------------------------------
    def _read(self, scope: Scope) -> None:
        if scope.query["commandType"] == INSERT:
            number, given = scope.query["resultRelation"], set()
            for target in _nodes(scope.query["targetList"]):
                given.add(target["resno"])
                self._derive(("column", scope.number, number, target["resno"]), self.element(target["expr"], scope))
            for oid, column in self.catalog.columns:
                if oid == scope.entries[int(number) - 1]["relid"] and column not in given:
                    self._derive(("column", scope.number, number, column), ("value", "default"))
        self._read_from(scope.query["jointree"], scope, None)

    def _read_from(self, node: Any, scope: Scope, only: set[str] | None) -> None:
        """Read the conditions of a FROM item. Those of an outer join bind only its inner side, the columns of the tables `only`."""
        if not isinstance(node, Node):
            return
        if node.kind == "FROMEXPR":
            for item in _nodes(node["fromlist"]):
                self._read_from(item, scope, only)
        elif node.kind == "JOINEXPR":
            self._read_from(node["larg"], scope, only)
            self._read_from(node["rarg"], scope, only)
            if node["jointype"] in {LEFT, RIGHT}:
                side = node["rarg" if node["jointype"] == LEFT else "larg"]
                only = {each["rtindex"] for each in walk(side) if "rtindex" in each}
            elif node["jointype"] != INNER:
                only = set()
        self._read_condition(node.get("quals"), scope, only)

    def _read_condition(self, condition: Any, scope: Scope, only: set[str] | None) -> None:
        if not isinstance(condition, Node):
            return
        if condition.kind == "BOOLEXPR" and condition["boolop"] == "and":
            for part in _nodes(condition["args"]):
                self._read_condition(part, scope, only)
        elif condition.kind == "OPEXPR" and condition["opno"] in self.catalog.equals:
            left, right = (self.element(side, scope) for side in condition["args"])
            self._equate(left, right, scope, only)
        elif condition.kind == "SCALARARRAYOPEXPR" and condition["opno"] in self.catalog.equals and condition["useOr"] == "true":
            column, values = condition["args"]
            target = self.element(column, scope)
            if target and only is None:
                self.listed.setdefault(target, set()).add(self._of_array(values))
        elif condition.kind == "SUBLINK" and condition["subLinkType"] == ANY_SUBLINK:
            test, inner = condition["testexpr"], self.scopes[id(condition["subselect"])]
            if isinstance(test, Node) and test.kind == "OPEXPR" and test["opno"] in self.catalog.equals:
                column, parameter = test["args"]
                self._equate(self.element(column, scope), self.output(inner, int(parameter["paramid"])), scope, only)

    def _equate(self, left: Element | None, right: Element | None, scope: Scope, only: set[str] | None) -> None:
        """Let each side take the other's value, as far as it belongs to this query: it decides nothing about rows of an outer one."""
        for target, source in ((left, right), (right, left)):
            if target and target[0] == "column" and target[1] == scope.number and (only is None or target[2] in only):
                self._derive(target, source)

    def _derive(self, target: Element, source: Element | None) -> None:
        if source and source != target:
            self.sources.setdefault(target, set()).add(source)

    # --- Expressions ------------------------------------------------------------------------------------------------------
    def element(self, expression: Any, scope: Scope) -> Element | None:
        """Return what has the value of the expression: a column of a table, or a constant; None if it is computed."""
        if not isinstance(expression, Node):
            return None
        if expression.kind == "VAR":
            return self._of_variable(expression, scope.above(expression["varlevelsup"]))
        if expression.kind == "CONST":
            return None if expression["constisnull"] == "true" else ("value", expression["constvalue"])
        if expression.kind == "RELABELTYPE" or (expression.kind == "FUNCEXPR" and expression["funcformat"] in {"1", "2"}):  # a cast
            return self.element(expression["arg"] if "arg" in expression else expression["args"][0], scope)
        if expression.kind == "SUBLINK" and expression["subLinkType"] == EXPR_SUBLINK:
            return self.output(self.scopes[id(expression["subselect"])], 1)
        if not any(node.kind in {"VAR", "SUBLINK", "AGGREF", "WINDOWFUNC"} for node in walk(expression)):
            return ("value", repr(expression))  # computed from constants alone
        return None

    def _of_variable(self, variable: Node, scope: Scope) -> Element | None:
        entry, column = scope.entries[int(variable["varno"]) - 1], int(variable["varattno"])
        match entry["rtekind"]:
            case kind if column <= 0:
                return None
            case kind if kind in {RELATION, FUNCTION}:
                return ("column", scope.number, variable["varno"], variable["varattno"])
            case kind if kind == SUBQUERY:
                return self.output(self.scopes[id(entry["subquery"])], column)
            case kind if kind == CTE:
                return self.output(self._cte(entry, scope), column)
            case kind if kind == JOIN:
                return self.element(entry["joinaliasvars"][column - 1], scope)
            case kind if kind == GROUP:
                return self.element(entry["groupexprs"][column - 1], scope)
            case kind if kind == VALUES:
                return self._union([self.element(row[column - 1], scope) for row in entry["values_lists"]])
        return None

    def _cte(self, entry: Node, scope: Scope) -> Scope:
        holder = scope.above(entry["ctelevelsup"])
        return next(self.scopes[id(cte["ctequery"])] for cte in _nodes(holder.query["cteList"]) if cte["ctename"] == entry["ctename"])

    def output(self, scope: Scope, column: int) -> Element | None:
        """Return what has the value of a column that a query returns."""
        query = scope.query
        if isinstance(query["setOperations"], Node):
            arms = [self.scopes[id(entry["subquery"])] for entry in scope.entries if entry["rtekind"] == SUBQUERY]
            return self._union([self.output(arm, column) for arm in arms])
        targets = _nodes(query["returningList"] if query["commandType"] in WRITES else query["targetList"])
        return self.element(targets[column - 1]["expr"], scope)

    def _union(self, arms: list[Element | None]) -> Element | None:
        if len(set(arms)) == 1:
            return arms[0]
        union = ("union", *arms)
        self.unions[union] = arms
        return union

    def _of_array(self, array: Node) -> Element:
        """Return the one value of an array, or that there are several."""
        if array.kind == "CONST" and array["constisnull"] != "true":
            octets = [int(octet) % 256 for octet in array["constvalue"].strip("[] ").split()]
            dimensions, length = (int.from_bytes(octets[start : start + 4], "little") for start in (4, 16))
            if dimensions == 1 and length == 1:
                value = octets[24:]
                return ("value", " ".join(["[", *map(str, [*value, *[0] * (8 - len(value))]), "]"]))
        return ("list",)

    # --- Conclusions ------------------------------------------------------------------------------------------------------
    @cached_property
    def _closure(self) -> dict[Element, set[Element]]:
        elements = {*self.sources, *self.unions, *(each for sources in self.sources.values() for each in sources)}
        elements |= {arm for arms in self.unions.values() for arm in arms if arm}
        closure = {element: {element} for element in elements}
        changed = True
        while changed:
            changed = False
            for element in elements:
                more = set().union(*(closure[source] for source in self.sources.get(element, ())))
                if arms := self.unions.get(element):
                    more |= set.intersection(*(closure[arm] if arm else set() for arm in arms))
                if not more <= closure[element]:
                    closure[element] |= more
                    changed = True
        return closure

    def values_of(self, column: Element) -> set[Element]:
        """Return all that has the value of this column, itself included."""
        return self._closure.get(column, {column}) | self.listed.get(column, set())


Place = tuple[str, Scope, str]  # a table where a query names it: the query, and the table's number in it


def route(sql: str, layout: Layout, catalog: Catalog) -> Route:
    """Return where a statement with its values goes."""
    if not HAS_TREE.match(sql):
        return Route(NO_TABLE, [])
    tree = query_tree(sql)
    equalities = Equalities(tree, catalog)
    used: list[Place] = [
        (catalog.tables[entry["relid"]], scope, str(number))
        for scope in equalities.scopes.values()
        for number, entry in enumerate(scope.entries, 1)
        if entry["rtekind"] == RELATION and entry["relid"] in catalog.tables and not _is_excluded(scope.query, str(number))
    ]
    # What has the value of each table's key; nothing, where the table has none.
    key_values: dict[Place, set[Element]] = {}
    for place in used:
        table, scope, number = place
        if table in layout.keys:
            key_values[place] = equalities.values_of(("column", scope.number, number, catalog.numbers[table, layout.keys[table]]))
        elif table in layout.without_key:
            key_values[place] = set()
    answer = Route(_kind(layout, key_values, bool(used)), sorted({table for table, _, _ in used}))
    if answer.kind in {NO_COLUMN, EACH_SHARD, ALL_SHARDS}:
        found_by = {place: _found_by(place, equalities, catalog, layout) for place in key_values if not _has_value(key_values[place])}
        answer.why = "; ".join(sorted({_words(place, columns) for place, columns in found_by.items()}))
        answer.need = _need(set().union(*found_by.values()))
    elif key_values:
        answer.why = "by " + ", ".join(sorted({f"{table}.{layout.keys[table]}" for table, _, _ in key_values}))
    answer.obstacles = list(_obstacles(tree, answer, layout, catalog))
    return answer


def _kind(layout: Layout, key_values: Mapping[Place, set[Element]], has_tables: bool) -> str:
    if not key_values:
        return REFERENCE if has_tables else NO_TABLE
    if any(table in layout.without_key for table, _, _ in key_values):
        return NO_COLUMN
    kinds = {element[0] for element in set.intersection(*key_values.values())}
    return ONE_SHARD if "value" in kinds else SOME_SHARDS if "list" in kinds else EACH_SHARD if kinds else ALL_SHARDS


def _has_value(elements: set[Element]) -> bool:
    return any(element[0] in {"value", "list"} for element in elements)


def _is_excluded(query: Node, number: str) -> bool:
    """Return whether this is EXCLUDED, by which ON CONFLICT names the row that was not inserted."""
    conflict = query["onConflict"]
    return isinstance(conflict, Node) and conflict["exclRelIndex"] == number


def _is_new(place: Place) -> bool:
    _, scope, number = place
    return scope.query["commandType"] == INSERT and scope.query["resultRelation"] == number


def _found_by(place: Place, equalities: Equalities, catalog: Catalog, layout: Layout) -> set[str]:
    """Return the columns with a value by which the rows of a table are found, since its key has none; of new rows, none."""
    table, scope, number = place
    return (
        set()
        if _is_new(place)
        else {
            name
            for (known, name), column in catalog.numbers.items()
            if known == table and name != layout.keys.get(table)
            if _has_value(equalities.values_of(("column", scope.number, number, column)))
        }
    )


def _words(place: Place, columns: set[str]) -> str:
    return f"new rows of {place[0]}" if _is_new(place) else f"{place[0]} by {', '.join(sorted(columns)) or 'no value'}"


def _need(found_by: set[str]) -> str:
    """Say in words what a statement has in place of the loan's id."""
    if "reference" in found_by:
        return "a reference"
    if found_by & _OF_INVESTOR:
        return "all of one investor"
    if any(name == "id" or name.endswith("_id") for name in found_by):
        return "the id of another row"
    return "rows of all loans, or only what its tables join"


def _obstacles(tree: Node, answer: Route, layout: Layout, catalog: Catalog) -> Iterator[str]:
    """Yield what Citus refuses in a statement, or does in another way, even where it goes to one shard."""
    queries = [node for node in walk(tree) if node.kind == "QUERY"]
    commands = {query["commandType"] for query in queries}
    distributed = layout.keys.keys() | layout.without_key
    written = {
        catalog.tables[_nodes(query["rtable"])[int(query["resultRelation"]) - 1]["relid"]]
        for query in queries
        if query["commandType"] in WRITES
    }
    called = {
        catalog.volatile[oid] for node in walk(tree) for name in ("funcid", "opfuncid") if (oid := node.get(name)) in catalog.volatile
    }
    if any("advisory" in name for name in called):
        yield "advisory lock"
    if written - distributed:
        yield f"write on every node: {', '.join(sorted(written - distributed))}"
    if not distributed.intersection(answer.tables):
        return
    if any(query["commandType"] == INSERT for query in queries if query is not tree):
        yield "INSERT in WITH"
    if called and (commands & {UPDATE, DELETE} or (commands & WRITES and _nodes(tree["cteList"]))):
        yield "volatile function in a write"
    if any(_nodes(query["rowMarks"]) for query in queries) and answer.kind != ONE_SHARD:
        yield "FOR UPDATE of several shards"
