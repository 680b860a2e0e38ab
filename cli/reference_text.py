"""Text and JSON output of reference periods."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from barograph_server.provisioning.reference_periods import CandidatePeriod, SetRequest
from barograph_server.terminal import AlignedTable, Terminal, plural, utc_second


def list_json(periods: Sequence[CandidatePeriod]) -> list[dict[str, Any]]:
    """Convert the list to JSON values, times in ISO 8601."""
    return [
        {
            "version": period.version,
            "from": utc_second(period.from_s),
            "to": utc_second(period.to_s),
            "predictions": period.predictions,
            "labelled": period.labelled,
            "metric": period.metric,
            "value": None if math.isnan(period.value) else period.value,
            "in_force": period.in_force,
            "reason": period.reason,
        }
        for period in periods
    ]


def print_periods(terminal: Terminal, periods: Sequence[CandidatePeriod]) -> None:
    """Print the list as a table, with the references in force in bold."""
    metric = periods[0].metric if periods else "accuracy"
    table = AlignedTable(
        *("version", "from", "to", "predictions", "labelled", metric, "in force", "reason"),
        numbers=("predictions", "labelled", metric),
    )
    for period in periods:
        table.row(
            period.version,
            utc_second(period.from_s),
            utc_second(period.to_s),
            f"{period.predictions:,}",
            f"{period.labelled:,}",
            "" if math.isnan(period.value) else f"{period.value:.3g}",
            "yes" if period.in_force else "",
            period.reason,
            style="bold" if period.in_force else "",
        )
    terminal.table(table)


def set_lines(request: SetRequest, chosen: CandidatePeriod | None) -> Iterator[str]:
    """Yield what was stored, or with `dry_run` would be."""
    verb = "would choose" if request.dry_run else "chose"
    what = f"the reference of {request.model} version {request.version}"
    if chosen is None:
        yield f"~ {what}: {'would be' if request.dry_run else 'is'} the first good week again"
        return
    yield (
        f"~ {verb} {what}: {utc_second(chosen.from_s)} to {utc_second(chosen.to_s)}, "
        f"{plural(chosen.predictions, 'prediction')}, {plural(chosen.labelled, 'label')}, "
        f"{chosen.metric} {chosen.value:.3g}"
    )
    if chosen.reason:
        yield f"! the period {chosen.reason}"
