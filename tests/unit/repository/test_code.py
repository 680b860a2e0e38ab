"""The code contains no construct that loses events or deserializes unsafe data."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.unit.repository.sources import product_files, python_files, tree_of

FAUST_MODULE = "streams/monitor/app.py"

LOSES_RECORDS = {"take", "noack_take", "through", "group_by", "echo"}
"""Methods of a Faust stream that buffer or acknowledge automatically (docs/decisions/0004)."""
KEEPS_STATE = {
    "Table",
    "GlobalTable",
    "SetTable",
    "SetGlobalTable",
    "tumbling",
    "hopping",
    "sliding",
    "relative_to_now",
}
"""Methods of a Faust app for state that expires by the wall clock and is lost in a rebalance."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every file of the product and the benchmarks, with its syntax tree."""
    for path in [*product_files(), *python_files("benchmarks")]:
        yield path, tree_of(path)


def name_of(function: ast.expr) -> str:
    """The last name of a called expression: `take` for `stream.take`."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def calls_to(tree: ast.AST, names: set[str]) -> list[str]:
    return [
        f"{name_of(node.func)} in line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and name_of(node.func) in names
    ]


def bare_loops(tree: ast.AST) -> list[int]:
    """Lines of `async for` over anything but `….noack().events()`."""
    return [
        node.iter.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFor | ast.comprehension)
        and (isinstance(node, ast.AsyncFor) or node.is_async)
        and not ast.unparse(node.iter).endswith(".noack().events()")
    ]


def concurrencies(tree: ast.AST) -> list[str]:
    return [
        ast.unparse(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "concurrency"
    ]


def faust_findings(tree: ast.AST) -> list[str]:
    return [
        *calls_to(tree, LOSES_RECORDS | KEEPS_STATE),
        *(f"async for in line {line}" for line in bare_loops(tree)),
        *(f"concurrency={value}" for value in concurrencies(tree) if value != "1"),
    ]


def test_the_monitor_reads_streams_only_in_the_safe_way() -> None:
    tree = tree_of(FAUST_MODULE)
    assert not faust_findings(tree)
    assert concurrencies(tree) == ["1"]


@pytest.mark.parametrize(
    "code",
    [
        "async def a(stream):\n    async for value in stream:\n        pass",
        "async def a(stream):\n    async for event in stream.events():\n        pass",
        "async def a(stream):\n    return [value async for value in stream]",
        "async def a(stream):\n    async for values in stream.noack().noack_take(5, within=1):\n        pass",
        "counts = app.Table('counts').tumbling(60)",
        "@app.agent(topic, concurrency=4)\nasync def a(stream): ...",
    ],
)
def test_other_ways_of_reading_are_reported(code: str) -> None:
    assert faust_findings(ast.parse(code))


def test_unsafe_defaults_of_faust_are_overridden() -> None:
    tree = tree_of(FAUST_MODULE)
    (call,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "DisklessApp"
    )
    arguments = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    expected = {
        "processing_guarantee": "'at_least_once'",
        "stream_wait_empty": "False",
        "web_enabled": "False",
        "worker_redirect_stdouts": "False",
        "table_standby_replicas": "0",
        "topic_disable_leader": "True",
        "agent_supervisor": "CrashingSupervisor",
    }
    assert {name: arguments.get(name) for name in expected} == expected


def test_no_file_evaluates_text_or_allows_pickle() -> None:
    wrong = []
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.append(f"{path}:{node.lineno}: allow_pickle")
            if isinstance(node, ast.Name) and node.id in ("eval", "exec", "compile"):
                wrong.append(f"{path}:{node.lineno}: {node.id}")
    assert not wrong
