"""Write or check the published JSON Schemas: `python -m barograph.schemas --check | --write`."""

from __future__ import annotations

import argparse
import sys

from barograph.schemas import files


def main(arguments: list[str] | None = None) -> int:
    """Write or check the schemas and return the exit status: 1 if `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m barograph.schemas", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true", help="exit 1 if a file differs from the code")
    mode.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args(arguments).write
    stale = [path for path, text in files().items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if write:
            path.write_text(files()[path], "utf-8")
        else:
            sys.stderr.write(f"{path.name} differs from the code; run python -m barograph.schemas --write\n")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main())
