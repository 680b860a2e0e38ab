"""Accessors for dashboard JSON."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]
"""A dashboard, or a part of one, in Grafana's classic JSON model."""


def panels_of(dashboard: Json) -> Iterator[Json]:
    """The panels of a dashboard, including those in folded rows, without the rows themselves."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel
