"""Write or check the dashboards that Grafana is provisioned with: `python -m dashboards --check | --write`."""

from __future__ import annotations

import sys

from dashboards.generated_files import main_of
from dashboards.pages import FOLDER, files


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if the files match the code (or were written), 1 if they differ."""
    return main_of("dashboards", __doc__, FOLDER, "*.json", "belongs to no page", lambda: (files(), ()), arguments)


if __name__ == "__main__":
    sys.exit(main())
