"""Generated files that are checked in: write them, or check that they match the code."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
DIFF_LINES = 40
"""A check prints at most this many lines of each file's difference."""

Generate = Callable[[], tuple[Mapping[Path, str], Sequence[str]]]
"""Returns the text of each file, and the problems found in them, as sentences."""


def main_of(
    module: str,
    info: str | None,
    generate: Generate,
    arguments: Sequence[str] | None,
    *,
    owned: tuple[Path, str] | None = None,
) -> int:
    """Run `python -m MODULE --check | --write`.

    Args:
        module: the module's name.
        info: the text of `--help`.
        generate: generates the files; called once.
        arguments: the command's arguments; None takes the program's.
        owned: a folder and a pattern, such as `*.json`: `--write` deletes matching files that are not generated.

    Returns:
        0 if the files match the code (or were written) and have no problems, else 1.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=info)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="exit 1 if a file differs from the code")
    mode.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args(arguments).write
    expected, problems = generate()
    actual = {path: path.read_text("utf-8") if path.exists() else "" for path in expected}
    stale = [path for path, text in expected.items() if actual[path] != text or not path.exists()]
    unexpected = sorted(set(owned[0].glob(owned[1])) - set(expected)) if owned is not None else []
    messages = [f"{problem}\n" for problem in problems]
    if write:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[path], "utf-8")
        for path in unexpected:
            path.unlink()
    else:
        for path in stale:
            messages += _difference(path, actual[path], expected[path])
            messages.append(f"{path.name} differs from the code: run python -m {module} --write\n")
        messages += [f"{path.name} is not generated any more: run python -m {module} --write\n" for path in unexpected]
    sys.stderr.write("".join(messages))
    return 1 if messages else 0


def _difference(path: Path, actual: str, expected: str) -> list[str]:
    """Return the first lines of the difference between a file and the code."""
    lines = difflib.unified_diff(
        actual.splitlines(keepends=True), expected.splitlines(keepends=True), path.name, "the code", n=1
    )
    return list(lines)[:DIFF_LINES]
