"""The health check of the image: exits with 1 unless the processor that its container runs is healthy."""

import os
import sys
import urllib.request
from pathlib import Path

from barograph_server.streams.settings import DEFAULT_PORTS


def main(command_line: Path = Path("/proc/1/cmdline")) -> int:
    """Ask `/healthz` of the processor that a command line names; one that names none, such as `apply`, is healthy."""
    words = command_line.read_text("utf-8").split("\0")
    for kind in DEFAULT_PORTS.keys() & words:
        port = os.environ.get("BAROGRAPH_METRICS_PORT") or DEFAULT_PORTS[kind]
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
        except OSError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
