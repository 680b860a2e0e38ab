"""Check what no linter knows: imports, unsafe code, links, supply chain, layout: `python -m tools.repository [NAME …]`.

Reads and parses every file once, runs all checks (or the named ones), and prints what each finds. Without names it also
prints the values that have a budget. Exit status: 0 if nothing is wrong, 1 otherwise, 2 for a name that no check has.
"""

import sys
from pathlib import Path

from tools.repository import code, files, imports, layout, limits, supply_chain
from tools.repository.tree import CHECKS, Repository

MODULES = (code, files, imports, layout, limits, supply_chain)
"""The modules that register checks."""


def main(names: list[str]) -> int:
    """Run checks and print their findings; return the exit status."""
    if unknown := [name for name in names if name not in CHECKS]:
        print(f"No check {', '.join(unknown)}. Checks: {', '.join(CHECKS)}.", file=sys.stderr)
        return 2
    repository = Repository.read(Path(__file__).resolve().parents[2])
    findings = [(name, each) for name in names or CHECKS for each in CHECKS[name](repository)]
    for name, finding in findings:
        print(f"{finding}  [{name}]")
    if not names:
        print(*limits.table(repository), sep="\n")
    print(f"{len(names or CHECKS)} checks of {len(repository.names)} files: {len(findings) or 'no'} findings.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
