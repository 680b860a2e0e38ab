"""Reads applied baselines by their id."""

from __future__ import annotations

from barograph_server.sketches.baseline.baseline import Baseline, load_baseline
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client


def load_applied(client: Client, model: str, baseline_id: str) -> Baseline | None:
    """Load an applied baseline of a model by its whole id; None if it is not applied.

    Raises:
        BaselineError: this release cannot read it.
    """
    for row in queries.baselines(client, model):
        if row.baseline_id == baseline_id:
            return load_baseline(row.body.encode(), f"baseline {baseline_id} of {model}")
    return None
