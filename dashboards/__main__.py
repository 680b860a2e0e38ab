"""Write or check the dashboards that Grafana is provisioned with: `python -m dashboards --check | --write`."""

from __future__ import annotations

import argparse
import sys

from dashboards.pages import FOLDER, files


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where the files are as the code has them (or were written), 1 where they differ."""
    parser = argparse.ArgumentParser(prog="python -m dashboards", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true", help="exit 1 where a file differs from the code")
    what.add_argument("--write", action="store_true", help="write the files")
    write = parser.parse_args(arguments).write
    wanted = files()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    strange = sorted(set(FOLDER.glob("*.json")) - set(wanted))
    if write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path in stale:
            path.write_text(wanted[path], "utf-8")
        for path in strange:
            path.unlink()
        return 0
    for path in stale:
        sys.stderr.write(f"{path.name} differs from the code; run python -m dashboards --write\n")
    for path in strange:
        sys.stderr.write(f"{path.name} belongs to no page; run python -m dashboards --write\n")
    return 1 if stale or strange else 0


if __name__ == "__main__":
    sys.exit(main())
