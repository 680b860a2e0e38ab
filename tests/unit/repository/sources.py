"""The source files that repository tests read: product packages, their folders and their syntax trees."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[3]

PACKAGES = {
    "barograph": "client/src/barograph",
    **{name: name for name in ("sketches", "warehouse", "streams", "dashboards", "alerts", "local")},
    **{name: name for name in ("examples", "drills", "cli", "barograph_app")},
}
"""Product package → its folder below the root."""


def python_files(folder: str) -> list[str]:
    """Paths below the root of all Python files in a folder. Virtual environments of benchmarks/peers are left out."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    return [path.relative_to(ROOT).as_posix() for path in paths if not {".venv", "__pycache__"} & set(path.parts)]


@cache
def tree_of(path: str) -> ast.Module:
    """The syntax tree of a file, by its path below the root."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def product_files() -> list[str]:
    """Paths of all Python files of the product packages."""
    return [path for folder in PACKAGES.values() for path in python_files(folder)]


def module_name(path: str) -> str:
    """The dotted name under which a file is imported."""
    parts = PurePosixPath(path.removeprefix("client/src/")).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
