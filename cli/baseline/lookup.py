"""The baselines that were applied or accepted: which there are, and one by its id."""

from __future__ import annotations

from dataclasses import dataclass

from cli.errors import CommandError
from sketches.baseline.baseline import Baseline, BaselineError, load_baseline
from warehouse import queries
from warehouse.client import Client
from warehouse.queries import BaselineRow


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the table `baselines`, and what its baseline says of itself."""

    row: BaselineRow
    baseline: Baseline | None
    """None where this program cannot read it."""
    until_s: int | None
    """Event time (Unix seconds) from which the version's next one holds; None where there is none."""


def listed(client: Client, model: str | None = None) -> list[Listed]:
    """List the baselines of one or every model, per version in the order in which they take effect.

    Raises:
        CommandError: there is none.
    """
    rows = queries.baselines(client, model)
    if not rows:
        owner = f"of a model {model}" if model is not None else "yet"
        raise CommandError(f"There is no baseline {owner}: make one with `barograph infer`, then `barograph apply` it.")
    result = []
    for i, row in enumerate(rows):
        after = rows[i + 1] if i + 1 < len(rows) else None
        same = after is not None and (after.model, after.version) == (row.model, row.version)
        until_s = int(after.effective_from.timestamp()) if after is not None and same else None
        try:
            baseline = load_baseline(row.body.encode(), f"baseline {row.baseline_id}")
        except BaselineError:
            baseline = None
        result.append(Listed(row, baseline, until_s))
    return result


def find(client: Client, baseline_id: str) -> Listed:
    """Find a baseline by its id, or by how its id begins; of several rows of one the last that took effect.

    Raises:
        CommandError: there is none, several ids begin so, or this program cannot read it.
    """
    matching = [entry for entry in listed(client) if entry.row.baseline_id.startswith(baseline_id)]
    ids = sorted({entry.row.baseline_id for entry in matching})
    if not ids:
        raise CommandError(f"There is no baseline {baseline_id}: `barograph baseline list` shows all.")
    if len(ids) > 1:
        raise CommandError(f"Several ids begin with {baseline_id}: {', '.join(ids)}. Write more of it.")
    if matching[-1].baseline is None:
        # Says what is wrong with it.
        load_baseline(matching[-1].row.body.encode(), f"baseline {ids[0]}")
    return matching[-1]
