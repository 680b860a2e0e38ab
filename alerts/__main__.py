"""Write or check the alerting files in deploy/grafana/alerting: `python -m alerts --check | --write`."""

from __future__ import annotations

import argparse
import sys

from alerts.example import ALERTING, RUNBOOKS, example_files, written
from alerts.lint import lint


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where the files are as the code has them (or were written) and nothing is wrong with them, else 1."""
    parser = argparse.ArgumentParser(prog="python -m alerts", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="exit 1 where a file differs from the code")
    what.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args(arguments).write
    files = example_files()
    problems = lint(files, {path.name for path in RUNBOOKS.glob("*.md")})
    texts = {ALERTING / name: written(content) for name, content in files.items()}
    left = [path for path in ALERTING.glob("*.yaml") if path not in texts]
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    if write:
        ALERTING.mkdir(parents=True, exist_ok=True)
        for path in stale:
            path.write_text(texts[path], "utf-8")
        for path in left:
            path.unlink()
    else:
        problems += [f"{path.name} differs from the code; run python -m alerts --write" for path in [*stale, *left]]
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
