"""A page of docs that comes from the code: written, or held to the code."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True, slots=True)
class Page:
    """One page and the module that writes it."""

    file: str
    """Its name in docs/."""
    module: str
    """As `python -m` is given it."""
    source: str
    """What it follows from, for people."""

    @property
    def path(self) -> Path:
        """Where it stands."""
        return DOCS / self.file

    def main(self, about: str | None, render: Callable[[], str], arguments: Sequence[str] | None) -> int:
        """Write the page, or with `--check` compare it: 0 equal or written, 1 different."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=about)
        parser.add_argument("--check", action="store_true", help=f"compare docs/{self.file}, do not write it")
        check = parser.parse_args(arguments).check
        text = render()
        if check:
            return self.compare(text)
        self.path.write_text(text, encoding="utf-8")
        return 0

    def compare(self, text: str) -> int:
        """Say on stderr where the page differs from a text: 0 equal, 1 different."""
        written = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if written == text:
            return 0
        diff = difflib.unified_diff(
            written.splitlines(keepends=True), text.splitlines(keepends=True), f"docs/{self.file}", self.source, n=1
        )
        sys.stderr.writelines(diff)
        sys.stderr.write(f"docs/{self.file} is not what {self.source} says: run `python -m {self.module}`.\n")
        return 1
