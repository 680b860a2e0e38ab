"""Write or check the dashboards that Grafana is provisioned with; see `--help`."""

from __future__ import annotations

import sys

from barograph_server.dashboards.pages import FOLDER, files
from tools.generate.generated_files import main_of


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if the files match the code (or were written), 1 if they differ."""
    return main_of("dashboards", __doc__, lambda: (files(), ()), arguments, owned=(FOLDER, "*.json"))


if __name__ == "__main__":
    sys.exit(main())
