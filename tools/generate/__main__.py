"""Write or check the generated files that are checked in: `python -m tools.generate --check | --write`."""

import argparse
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from barograph_server.alerts.example import ALERTING, RUNBOOKS, example_files
from barograph_server.alerts.files import to_yaml
from barograph_server.alerts.lint import lint
from barograph_server.dashboards import pages
from tools.generate import client_page, doc_tables, metrics_page, site_pages, tables_page

DIFF_LINES = 40
"""A check prints at most this many lines of each file's difference."""


def alerting() -> tuple[dict[Path, str], list[str]]:
    """Return the files of deploy/grafana/alerting, and what lint reports about them."""
    files = example_files()
    texts = {ALERTING / name: to_yaml(content) for name, content in files.items()}
    return texts, lint(files, {path.name for path in RUNBOOKS.glob("*.md")})


GENERATORS: tuple[Callable[[], tuple[Mapping[Path, str], Sequence[str]]], ...] = (
    tables_page.generate,
    metrics_page.generate,
    lambda: (pages.files(), ()),
    alerting,
    doc_tables.generate,
    client_page.generate,
    site_pages.generate,
)
"""Each returns the text of its files, and the problems in them as sentences."""
OWNED = ((pages.FOLDER, "*.json"), (ALERTING, "*.yaml"), *((each, "*.md") for each in tables_page.FOLDERS))
"""Folders and patterns: matching files that nothing generates are deleted."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 if the files match the code (or were written) and have no problems, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.generate", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="exit 1 if a file differs from the code")
    mode.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args(arguments).write
    texts: dict[Path, str] = {}
    messages: list[str] = []
    for generate in GENERATORS:
        generated, problems = generate()
        texts |= generated
        messages += [f"{problem}\n" for problem in problems]
        if write:
            write_files(generated)
    if write:
        delete_unexpected(texts, OWNED)
    else:
        messages += differences(texts, OWNED)
    sys.stderr.write("".join(messages))
    return 1 if messages else 0


def write_files(texts: Mapping[Path, str]) -> None:
    """Write generated files, which later generators read."""
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def delete_unexpected(texts: Mapping[Path, str], owned: Iterable[tuple[Path, str]]) -> None:
    """Delete the owned files that are not generated any more."""
    for path in _unexpected(texts, owned):
        path.unlink()


def differences(texts: Mapping[Path, str], owned: Iterable[tuple[Path, str]]) -> list[str]:
    """Return how generated files differ from those on disk; empty if they do not."""
    messages: list[str] = []
    for path, text in texts.items():
        actual = path.read_text("utf-8") if path.exists() else ""
        if actual != text or not path.exists():
            old, new = (each.splitlines(keepends=True) for each in (actual, text))
            messages += list(difflib.unified_diff(old, new, path.name, "the code", n=1))[:DIFF_LINES]
            messages.append(f"{path.name} differs from the code: run `make generate`\n")
    unexpected = _unexpected(texts, owned)
    return messages + [f"{path.name} is not generated any more: run `make generate`\n" for path in unexpected]


def _unexpected(texts: Mapping[Path, str], owned: Iterable[tuple[Path, str]]) -> list[Path]:
    return sorted({path for folder, pattern in owned for path in folder.glob(pattern)} - texts.keys())


if __name__ == "__main__":
    sys.exit(main())
