"""Generated files that are checked in: write them, or check that they match the code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Find = Callable[[], tuple[Mapping[Path, str], Sequence[str]]]
"""Gives what the files have to hold, and what is wrong with that, as sentences."""


def main_of(
    module: str, info: str | None, folder: Path, pattern: str, stray: str, find: Find, arguments: list[str] | None
) -> int:
    """Run `python -m MODULE --check | --write`.

    Args:
        module: as it is called.
        info: text of `--help`.
        folder: where the files stand; other files of the pattern there belong to nothing.
        pattern: such as `*.json`.
        stray: what is said of these, such as `belongs to no page`.
        find: asked once.
        arguments: of the command; None takes the program's.

    Returns:
        0 where the files are as the code has them (or were written) and nothing is wrong with them, else 1.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=info)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="exit 1 where a file differs from the code")
    what.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args(arguments).write
    expected, wrong = find()
    problems = list(wrong)
    stale = [path for path, text in expected.items() if not path.exists() or path.read_text("utf-8") != text]
    strange = sorted(set(folder.glob(pattern)) - set(expected))
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        for path in stale:
            path.write_text(expected[path], "utf-8")
        for path in strange:
            path.unlink()
    else:
        problems += [f"{path.name} differs from the code; run python -m {module} --write" for path in stale]
        problems += [f"{path.name} {stray}; run python -m {module} --write" for path in strange]
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0
