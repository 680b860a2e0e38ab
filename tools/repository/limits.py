"""Values of the layout stay within limits (docs/decisions/0069); `python -m tools.repository` prints them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from tools.repository.imports import imports_of, no_modules_import_each_other_in_a_cycle
from tools.repository.tree import Repository, check

CLI = "barograph_server.cli"
_TAG = re.compile(r"<(svg|html|div|p|ul|li|table|tr|td|section|span|h[1-6]|rect|line|path|circle|polyline)[ >]")
LARGEST = 8
"""A finding names this many parts of a value that is too high."""


class Limit(NamedTuple):
    """A value of the repository, as the sum of its parts, and the most that it may be."""

    name: str
    most: int
    parts: Callable[[Repository], Mapping[str, int]]


def _each(names: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def _cli_lines(repository: Repository) -> dict[str, int]:
    return {path: len(repository.texts[path].splitlines()) for path in repository.python("cli")}


def _cli_imports(repository: Repository, paths: Iterable[str]) -> dict[str, int]:
    """Find the pairs of a file and a module of cli that it imports, also inside functions."""
    pairs = set()
    for path in paths:
        for target in imports_of(path, ast.walk(repository.tree(path))):
            module = f"{target.module}.{target.name}" if target.module in ("barograph_server", CLI) else target.module
            if f"{module}.".startswith(f"{CLI}."):
                pairs.add(f"{path} → {module.removeprefix(f'{CLI}.')}")
    return _each(pairs)


def _importers_of_cli(repository: Repository) -> dict[str, int]:
    others = [path for path in repository.python() if not path.startswith(("cli/", "tests/"))]
    others = [path for path in others if "cli" in repository.texts[path]]
    return _each(pair.partition(" ")[0] for pair in _cli_imports(repository, others))


def _loose_modules(repository: Repository) -> dict[str, int]:
    return _each(path for path in repository.names if re.fullmatch(r"warehouse/\w+\.py", path))


def _files_with_text(repository: Repository, pattern: re.Pattern[str], without: str = "") -> dict[str, int]:
    """Find the product's files, without those of a folder, with a pattern in a text that is no docstring."""
    paths = [path for path in repository.product() if not (without and path.startswith(without))]
    return _each(
        path for path in paths if pattern.search(repository.texts[path]) and _has_text(repository.tree(path), pattern)
    )


def _has_text(tree: ast.Module, pattern: re.Pattern[str]) -> bool:
    nodes = list(ast.walk(tree))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return any(isinstance(node.value, str) and pattern.search(node.value) for node in texts)


LIMITS = (
    Limit("lines in cli/", 9_000, _cli_lines),
    Limit("files outside cli/ and tests/ that import it", 0, _importers_of_cli),
    Limit("imports among modules of cli/", 50, lambda repository: _cli_imports(repository, repository.python("cli"))),
    Limit("modules in warehouse/ outside its folders", 12, _loose_modules),
    Limit(
        "product files with SELECT outside warehouse/",
        5,
        lambda repository: _files_with_text(repository, re.compile(r"\bSELECT\s"), "warehouse/"),
    ),
    Limit(
        "product files with tags of HTML or SVG outside templates",
        1,
        lambda repository: _files_with_text(repository, _TAG),
    ),
    Limit(
        "modules in a circle of imports, Python and JavaScript",
        0,
        lambda repository: _each(no_modules_import_each_other_in_a_cycle(repository)),
    ),
    Limit(
        "packages in the wheel",
        1,
        lambda repository: _each(repository.project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]),
    ),
    Limit(
        "folders at the root",
        16,
        lambda repository: _each(
            name.partition("/")[0] for name in repository.names if "/" in name and not name.startswith(".")
        ),
    ),
)


@cache
def _measured(repository: Repository) -> list[tuple[Limit, Mapping[str, int]]]:
    return [(limit, limit.parts(repository)) for limit in LIMITS]


def table(repository: Repository) -> Iterator[str]:
    """Return a line for each limit: the value, the limit, what they count."""
    for (name, most, _), parts in _measured(repository):
        yield f"{sum(parts.values()):6,} of {most:5,}  {name}"


@check
def limits_hold(repository: Repository) -> Iterator[str]:
    """No value is above its limit of `LIMITS`."""
    for (name, most, _), parts in _measured(repository):
        if (value := sum(parts.values())) > most:
            largest = sorted(parts, key=lambda part: (-parts[part], part))[:LARGEST]
            yield f"{name}: {value:,} of {most:,}, such as {', '.join(largest)}"
