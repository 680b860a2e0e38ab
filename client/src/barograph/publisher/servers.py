"""Finds the Kafka of a publisher that names none: by the environment, or the local stack of `barograph dev`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

SERVERS_VARIABLE = "BAROGRAPH_BOOTSTRAP_SERVERS"
HOME_VARIABLE = "BAROGRAPH_HOME"
STACK_RECORD = "stack.json"
"""File in the folder of a local stack with its addresses, while it runs."""


def find_bootstrap_servers(environ: Mapping[str, str] = os.environ) -> str:
    """Return Kafka's addresses, as `host:port,…`.

    Raises:
        ValueError: The environment names no Kafka, and no local stack runs in the folder.
    """
    if environ.get(SERVERS_VARIABLE):
        return environ[SERVERS_VARIABLE]
    record = Path(environ.get(HOME_VARIABLE) or ".barograph").expanduser().absolute() / STACK_RECORD
    try:
        servers = json.loads(record.read_text(encoding="utf-8"))["bootstrap_servers"]
    except (OSError, ValueError, KeyError, TypeError):
        servers = None
    if not isinstance(servers, str) or not servers:
        raise ValueError(
            f"no Kafka is named: pass bootstrap_servers, set {SERVERS_VARIABLE}, or start a local stack in this folder "
            f"with `barograph dev` (none runs in {record.parent})"
        )
    return servers
