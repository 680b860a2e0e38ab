"""Write or check the alerting files in deploy/grafana/alerting; see `--help`."""

from __future__ import annotations

import sys
from pathlib import Path

from barograph_server.alerts.example import ALERTING, RUNBOOKS, example_files
from barograph_server.alerts.files import to_yaml
from barograph_server.alerts.lint import lint
from tools.generate.generated_files import main_of


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if the files match the code (or were written) and pass lint, else 1."""
    return main_of("alerts", __doc__, _generate, arguments, owned=(ALERTING, "*.yaml"))


def _generate() -> tuple[dict[Path, str], list[str]]:
    files = example_files()
    texts = {ALERTING / name: to_yaml(content) for name, content in files.items()}
    return texts, lint(files, {path.name for path in RUNBOOKS.glob("*.md")})


if __name__ == "__main__":
    sys.exit(main())
