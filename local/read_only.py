"""Which statements a read-only request may run: an allow-list over the syntax tree of the engine's own parser.

`readonly` alone is not enough. The engine still writes a result INTO OUTFILE, and a table of the database `default` can
be any file of this machine: SELECT * FROM `/etc/passwd`. So a read-only request

* may only SELECT, SHOW, DESCRIBE, EXPLAIN a SELECT, or ask whether something EXISTS,
* uses no clause, table function or function that reaches files or the network,
* names no file as a table,
* changes only settings that limit the query or format its result, and only outside the statement,
* and runs with `readonly = 1`, as a second barrier: the engine then rejects writes and most table functions itself.

`parseQueryToJSON` of the engine parses a statement and runs nothing. For statements that it does not describe, the
engine's normalized text must have one of a few fixed forms.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

RunQuery = Callable[[str], str]
"""Runs a query that returns one text, and returns it."""

_STATEMENTS = frozenset(
    [
        "SelectWithUnionQuery",
        "SelectIntersectExceptQuery",
        "ExplainQuery",
        "ShowTablesQuery",
        "ShowColumnsQuery",
        "ShowIndexesQuery",
        "ShowFunctionsQuery",
        "ShowSettingQuery",
    ]
)
_PARTS = _STATEMENTS | frozenset(
    [
        "ArrayJoin",
        "Asterisk",
        "ColumnsApplyTransformer",
        "ColumnsExceptTransformer",
        "ColumnsListMatcher",
        "ColumnsRegexpMatcher",
        "ColumnsReplaceTransformer",
        "ColumnsReplaceTransformerReplacement",
        "ColumnsTransformerList",
        "DataType",
        "ExpressionList",
        "Function",
        "Identifier",
        "InterpolateElement",
        "Literal",
        "OrderByElement",
        "QualifiedAsterisk",
        "QualifiedColumnsListMatcher",
        "QualifiedColumnsRegexpMatcher",
        "QueryParameter",
        "SampleRatio",
        "SelectQuery",
        "Subquery",
        "TableExpression",
        "TableIdentifier",
        "TableJoin",
        "TablesInSelectQuery",
        "TablesInSelectQueryElement",
        "WindowDefinition",
        "WindowListElement",
        "WithElement",
    ]
)
"""Types of the nodes of an allowed statement. Those of writes, and SetQuery (a SETTINGS clause), are not among them."""

_EXPLAIN_KINDS = frozenset(
    ["EXPLAIN", "EXPLAIN AST", "EXPLAIN ESTIMATE", "EXPLAIN PIPELINE", "EXPLAIN QUERY TREE", "EXPLAIN SYNTAX"]
)

_TABLE_FUNCTIONS = frozenset(
    [
        "format",
        "generate_series",
        "generaterandom",
        "generateseries",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "sqlstandardvalues",
        "values",
        "view",
        "viewexplain",
        "zeros",
        "zeros_mt",
    ]
)
"""Table functions that compute their rows or take them from the statement, in lower case."""

_FUNCTIONS = frozenset(
    ["catboostevaluate", "file", "hascolumnintable", "joinget", "joingetornull", "reversednsquery", "showcertificate"]
)
"""Functions that read files, open tables by name, or use the network, in lower case; those of `_AI` as well."""
_AI = re.compile(
    r"ai_?(classify|embed|extract|filter|fix|gen|generate|redact|sentiment|similarity|summarize|translate)\w*"
)

_FORMATS = re.compile(
    r"Arrow(Stream)?|BSONEachRow|CSV\w*|JSON\w*|Markdown|MsgPack|Native|Null|ORC|Parquet|Pretty\w*|RowBinary\w*"
    r"|TSKV|TSV\w*|TabSeparated\w*|Values|Vertical|XML"
)
"""Output formats that read no schema or template from a file."""

_SETTINGS = re.compile(
    r"max_\w+|output_format_(?!schema)\w+|\w+_overflow_mode|aggregate_functions_null_for_empty"
    r"|cast_string_to_dynamic_use_inference|date_time_\w+_format"
    r"|enable_analyzer|extremes|final|join_algorithm|join_use_nulls|limit|log_comment|offset|priority|session_timezone"
    r"|transform_null_in"
)
"""Settings that limit a query or format its result. Others hold SQL, name files or change the parser."""

LIMITS: Mapping[str, int] = {
    "max_memory_usage": 2 << 30,
    "max_untracked_memory": 4 << 20,
    "max_execution_time": 75,
    "max_result_bytes": 1 << 30,
}
"""Limits of each read-only request, which may set a lower one: the readers share the engine with the processors."""

# Absolute paths and those that leave the current folder, which is empty.
_PATH = re.compile(r"(^|\.)\s*/|\.\.|://")
_NUMBER = re.compile(r"\d{1,18}(\.\d{1,6})?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]*")

_NAME = r"(?:\w+|`[^`\\/]*`)"
_OTHER_STATEMENTS = re.compile(
    rf"(?:DESCRIBE TABLE {_NAME}(?:\.{_NAME})?"
    rf"|EXISTS (?:TABLE|VIEW|DICTIONARY) {_NAME}(?:\.{_NAME})?|EXISTS DATABASE {_NAME}"
    rf"|SHOW CREATE (?:TABLE|VIEW|DICTIONARY) {_NAME}(?:\.{_NAME})?|SHOW CREATE DATABASE {_NAME}"
    r"|SHOW (?:ENGINES|GRANTS|PROCESSLIST)|SHOW FUNCTIONS(?: I?LIKE '[^'\\]*')?|SHOW SETTING \w+)(?: FORMAT `?(\w+)`?)?"
)


class NotReadOnly(Exception):
    """A read-only request may not run this; the text says what is not allowed."""


def check_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Check the settings of a read-only request, and return them with the limits that it does not set.

    Raises:
        NotReadOnly: One of them is not allowed, or lifts a limit.
    """
    for name, value in settings.items():
        if not _SETTINGS.fullmatch(name):
            raise NotReadOnly(f"the setting {name}")
        most = LIMITS.get(name)
        if most is not None and not (_NUMBER.fullmatch(value) and 0 < float(value) <= most):
            raise NotReadOnly(f"{name} = {value}; set it to a number above 0 and at most {most}, or leave it out")
    return {name: str(most) for name, most in LIMITS.items()} | dict(settings)


def check_format(name: str) -> None:
    """Check the output format of a read-only request.

    Raises:
        NotReadOnly: It is not allowed.
    """
    if not _FORMATS.fullmatch(name):
        raise NotReadOnly(f"the format {name}")


def check_statement(
    text: str, parameters: Mapping[str, str], run_query: RunQuery, table_functions: frozenset[str]
) -> bool:
    """Check the statement of a read-only request.

    Args:
        parameters: Values of its `{name:Type}` placeholders.
        table_functions: All table functions of the engine, in lower case.

    Returns:
        Whether it reads `system.settings` and nothing else. Drivers read there which settings a request may have, so
        that table must not be read with `readonly = 1`, which changes its contents.

    Raises:
        NotReadOnly: It is not allowed.
        Exception: Whatever `run_query` raises, for one for a statement that cannot be parsed.
    """
    if "\0" in text:
        raise NotReadOnly("the character NUL")
    literal = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    try:
        tree = json.loads(run_query(f"SELECT parseQueryToJSON({literal})"))
    except Exception:
        # It is not described, or not a statement; the latter fails here too.
        _check_normalized(run_query(f"SELECT formatQuerySingleLine({literal})"))
        return False
    if tree["type"] not in _STATEMENTS:
        raise NotReadOnly(f"a statement of the type {tree['type']}")
    tables = set()
    for node in _nodes(tree):
        _check_node(node, parameters, table_functions)
        if node["type"] == "TableIdentifier" or "table_function" in node:
            tables.add(node.get("name"))
    return tables == {"system.settings"}


def _check_normalized(text: str) -> None:
    statement = _OTHER_STATEMENTS.fullmatch(text.strip())
    if statement is None or ".." in text:
        raise NotReadOnly("this statement")
    check_format(statement[1] or "TSV")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All nodes of a syntax tree, without values of literals and without the options of EXPLAIN."""
    if isinstance(value, list):
        for element in value:
            yield from _nodes(element)
    elif isinstance(value, dict) and value.get("type") != "Literal":
        yield value
        for key, inner in value.items():
            if not (key == "settings" and value.get("type") == "ExplainQuery"):
                yield from _nodes(inner)


def _check_node(node: Mapping[str, Any], parameters: Mapping[str, str], table_functions: frozenset[str]) -> None:
    kind = node.get("type")
    if kind not in _PARTS:
        raise NotReadOnly("SETTINGS" if kind == "SetQuery" else f"a part of the type {kind}")
    if "out_file" in node:
        raise NotReadOnly("INTO OUTFILE")
    if kind == "ExplainQuery" and node.get("kind") not in _EXPLAIN_KINDS:
        raise NotReadOnly(str(node.get("kind")))
    if "format_ast" in node:
        check_format(str(node["format_ast"].get("name")))
    _check_functions(node, table_functions)
    if kind != "Function":
        # Each of these may name a table; of a function, only an argument does, which is a node of its own.
        for name in (
            value for key, value in node.items() if isinstance(value, str) and key not in ("alias", "pattern")
        ):
            if _PATH.search(name):
                raise NotReadOnly(f"the file {name}")
    if kind == "QueryParameter" and node.get("param_type") == "Identifier":
        value = parameters.get(str(node.get("name")), "")
        if not _PLAIN_NAME.fullmatch(value) or ".." in value:
            raise NotReadOnly(f"the identifier {value!r}")


def _check_functions(node: Mapping[str, Any], table_functions: frozenset[str]) -> None:
    names = [node["name"]] if node.get("type") == "Function" else []
    names += [node["func_name"]] if "func_name" in node else []
    for name in map(str, names):
        lower = name.lower()
        reaches_out = lower in table_functions and lower not in _TABLE_FUNCTIONS
        if reaches_out or lower in _FUNCTIONS or _AI.fullmatch(lower):
            raise NotReadOnly(f"the function {name}")
    table_function = node.get("table_function")
    if table_function is not None and str(table_function.get("name")).lower() not in _TABLE_FUNCTIONS:
        raise NotReadOnly(f"the table function {table_function.get('name')}")
