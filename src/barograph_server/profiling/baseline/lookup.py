"""Lookup of stored baselines: all of them, or one by the start of its id."""

from dataclasses import dataclass

from barograph_server.errors import CommandError
from barograph_server.sketches.baseline.baseline import Baseline, BaselineError, load_baseline
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.queries import BaselineRow


@dataclass(frozen=True, slots=True)
class BaselineEntry:
    """One row of the table `baselines`, with the parsed baseline."""

    row: BaselineRow
    baseline: Baseline | None
    """None if this release cannot read it."""
    until_s: int | None
    """Event time (Unix seconds) at which the version's next baseline takes effect; None if it has no next one."""


def list_baselines(client: Client, model: str | None = None) -> list[BaselineEntry]:
    """List the baselines of one model or all, per version in the order in which they take effect."""
    rows = queries.baselines(client, model)
    if not rows:
        scope = f"of a model {model}" if model is not None else "yet"
        raise CommandError(
            f"There is no baseline {scope}: create one with `barograph infer`, then `barograph apply` it."
        )
    result = []
    for i, row in enumerate(rows):
        after = rows[i + 1] if i + 1 < len(rows) else None
        is_same_version = after is not None and (after.model, after.version) == (row.model, row.version)
        until_s = int(after.effective_from.timestamp()) if after is not None and is_same_version else None
        try:
            baseline = load_baseline(row.body.encode(), f"baseline {row.baseline_id}")
        except BaselineError:
            baseline = None
        result.append(BaselineEntry(row, baseline, until_s))
    return result


def find_baseline(client: Client, baseline_id: str) -> BaselineEntry:
    """Find a baseline by its id or the start of it; of several rows of one baseline the last that takes effect."""
    matching = [entry for entry in list_baselines(client) if entry.row.baseline_id.startswith(baseline_id)]
    ids = sorted({entry.row.baseline_id for entry in matching})
    if not ids:
        raise CommandError(f"There is no baseline {baseline_id}: `barograph baseline list` shows all.")
    if len(ids) > 1:
        raise CommandError(f"Several ids begin with {baseline_id}: {', '.join(ids)}. Give more characters.")
    if matching[-1].baseline is None:
        # Parse it again for the error.
        load_baseline(matching[-1].row.body.encode(), f"baseline {ids[0]}")
    return matching[-1]
