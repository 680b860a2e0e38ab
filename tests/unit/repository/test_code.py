"""Constructs that lose events or open what must not be opened, kept out by reading the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = (
    *("client/src/barograph", "sketches", "warehouse", "streams", "dashboards", "alerts", "local", "cli", "examples"),
    "benchmarks",
)
FAUST_MODULE = ROOT / "streams/monitor/app.py"

OPENS_CODE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
"""Reading their formats runs what is in them."""

LOSES_RECORDS = {"take", "noack_take", "through", "group_by", "echo"}
"""Of a Faust stream: they buffer or acknowledge by themselves (docs/decisions/0004)."""
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
"""Of a Faust app: state that expires by the wall clock and vanishes in a rebalance."""


def trees() -> Iterator[tuple[str, ast.Module]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            # Environments of benchmarks/peers hold the code of others.
            if ".venv" in path.parts:
                continue
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def name_of(function: ast.expr) -> str:
    """The last name of what is called: `take` of `stream.take`."""
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


def test_the_monitor_reads_streams_in_the_one_safe_way() -> None:
    tree = ast.parse(FAUST_MODULE.read_text(encoding="utf-8"))
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
def test_other_ways_are_found(code: str) -> None:
    assert faust_findings(ast.parse(code))


def test_settings_that_faust_gets_wrong_by_default_are_set() -> None:
    tree = ast.parse(FAUST_MODULE.read_text(encoding="utf-8"))
    (made,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "DisklessApp"
    )
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in made.keywords}
    wanted = {
        "processing_guarantee": "'at_least_once'",
        "stream_wait_empty": "False",
        "web_enabled": "False",
        "worker_redirect_stdouts": "False",
        "table_standby_replicas": "0",
        "topic_disable_leader": "True",
        "agent_supervisor": "CrashingSupervisor",
    }
    assert {name: given.get(name) for name in wanted} == wanted


def test_nothing_opens_formats_that_run_code() -> None:
    wrong = []
    for name, tree in trees():
        for node in ast.walk(tree):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            wrong += [f"{name}: {module}" for module in modules if module.partition(".")[0] in OPENS_CODE]
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
                wrong.append(f"{name}: allow_pickle")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec", "compile"):
                wrong.append(f"{name}:{node.lineno}: {ast.unparse(node.func)}")
    assert not wrong


def test_yaml_is_loaded_safely() -> None:
    unsafe = {"load", "load_all", "full_load", "full_load_all", "unsafe_load", "unsafe_load_all"}
    wrong = [
        f"{name}:{node.lineno}: {ast.unparse(node.func)}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"yaml.{function}" for function in unsafe}
    ]
    assert not wrong
