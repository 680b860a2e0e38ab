"""The files that the checks read, each parsed once."""

from __future__ import annotations

import ast
import subprocess
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

LINKED = ("sketches", "warehouse", "streams", "dashboards", "alerts", "local", "drills", "examples", "cli")
"""Folders at the root that are linked into `src/barograph_server`."""
OWN = (
    *("grafana", "html", "profiling", "batch", "rollouts", "evaluation", "governance", "provisioning", "operations"),
    "reports",
)
"""Folders of `src/barograph_server` itself."""
PACKAGES = {
    "barograph": "client/src/barograph",
    "barograph_server": "src/barograph_server",
    **{name: name for name in LINKED},
    **{name: f"src/barograph_server/{name}" for name in OWN},
}
"""Product package → its folder below the root. All but the client's are imported as parts of `barograph_server`."""


class Repository:
    """The files of a checkout: all that git tracks or would add.

    Args:
        texts: Path below the root → content, for text files.
        others: Paths of binary files, and of links to folders.
        executables: Paths of files that may be executed.
    """

    def __init__(
        self, texts: Mapping[str, str], others: Iterable[str] = (), executables: Iterable[str] | None = None
    ) -> None:
        self.texts = dict(sorted(texts.items()))
        self.names = {*texts, *others}
        self.executables = set(texts if executables is None else executables)
        self._trees: dict[str, ast.Module] = {}

    @classmethod
    def read(cls, root: Path) -> Repository:
        """Read the checkout at `root`."""
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
        contents = {name: (root / name).read_bytes() for name in listed.split("\0") if (root / name).is_file()}
        texts = {name: data.decode("utf-8") for name, data in contents.items() if b"\0" not in data[:4096]}
        links = {name for name in listed.split("\0") if (root / name).is_symlink()}
        runnable = {name for name in texts if (root / name).stat().st_mode & 0o100}
        return cls(texts, (contents.keys() | links) - texts.keys(), runnable)

    def with_text(self, name: str, text: str) -> Repository:
        """Return the repository as it would be with another text of a file."""
        result = Repository({**self.texts, name: text}, self.names, self.executables)
        result._trees = {path: tree for path, tree in self._trees.items() if path != name}
        return result

    def python(self, *folders: str) -> list[str]:
        """List the Python files below some folders; all of them without folders."""
        starts = tuple(f"{folder}/" for folder in folders) or ("",)
        return [name for name in self.texts if name.endswith(".py") and name.startswith(starts)]

    def product(self) -> list[str]:
        """List the Python files of the product packages."""
        return self.python(*PACKAGES.values())

    def pages(self) -> dict[str, str]:
        """Return the Markdown files with their texts."""
        return {name: text for name, text in self.texts.items() if name.endswith(".md")}

    def tree(self, name: str) -> ast.Module:
        """Return the syntax tree of a Python file."""
        if name not in self._trees:
            self._trees[name] = ast.parse(self.texts[name], name)
        return self._trees[name]

    def toml(self, name: str) -> dict[str, Any]:
        """Parse a TOML file."""
        return tomllib.loads(self.texts[name])

    def yaml(self, name: str) -> dict[Any, Any]:
        """Parse a YAML file. YAML 1.1 reads the key `on` as True."""
        content: dict[Any, Any] = yaml.safe_load(self.texts[name])
        return content

    @cached_property
    def project(self) -> dict[str, Any]:
        """The content of pyproject.toml."""
        return self.toml("pyproject.toml")


def package_of(path: str) -> str:
    """Return the product package of a file: that of the innermost folder."""
    return max((len(folder), name) for name, folder in PACKAGES.items() if path.startswith(f"{folder}/"))[1]


def module_name(path: str) -> str:
    """Return the dotted name under which a file is imported."""
    inner = path.removeprefix("client/").removeprefix("src/")
    parts = PurePosixPath(inner).with_suffix("").parts
    if path == inner and parts[0] in PACKAGES:
        parts = ("barograph_server", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


CHECKS: dict[str, Callable[[Repository], Iterator[str]]] = {}
"""Name → the check; it yields a sentence for each thing that is wrong."""


def check(function: Callable[[Repository], Iterator[str]]) -> Callable[[Repository], Iterator[str]]:
    """Register a check under its name."""
    CHECKS[function.__name__] = function
    return function
