"""Write or check the tables of rights in docs/security.md: `python -m cli.access --check | --write`."""

from __future__ import annotations

import sys
from pathlib import Path

from cli.access.page import rendered
from dashboards.generated_files import main_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def main(arguments: list[str] | None = None) -> int:
    """Return 0 where the page is as the code has it (or was written), else 1."""
    return main_of("cli.access", __doc__, PAGE.parent, PAGE.name, "", _find, arguments)


def _find() -> tuple[dict[Path, str], list[str]]:
    return {PAGE: rendered(PAGE.read_text("utf-8"))}, []


if __name__ == "__main__":
    sys.exit(main())
