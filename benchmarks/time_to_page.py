"""Predicted time from a shift of a feature to its page: `python -m benchmarks.time_to_page` prints the table.

Compares the rule `psi-major` that needs two windows with the one that also fires on a single one, for a normal value of
which training saw 100,000. The scoreboard compares such predictions with replays.
"""

import math

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Window

from barograph_server.alerts.backtest import changed
from barograph_server.alerts.prediction.page_time import predict_pages
from barograph_server.alerts.prediction.window_power import Traffic
from barograph_server.alerts.text import duration
from barograph_server.profiling.infer.infer import InferOptions, infer_table
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import memory_table
from barograph_server.sketches.baseline.baseline import FieldBaseline
from barograph_server.sketches.detection.effects import shifted

RULE = "psi-major"
SHIFTS = (0.5, 1.0, 2.0)
"""In standard deviations."""
DAY_S, HOUR_S = 86_400, 3_600
WINDOWS = (
    ((Window(900, 60), Window(HOUR_S, 300), Window(DAY_S, HOUR_S)), (100, 1_000, 10_000)),
    ((Window(DAY_S, HOUR_S), Window(7 * DAY_S, DAY_S)), (100, 1_000)),
)
"""The windows of `infer` by default and those of a slow model, with events per hour."""
WITHOUT = {"fast_threshold": "20"}
"""PSI never reaches 20, so no window pages alone."""


def main() -> None:
    """Print the table, of which docs/alerts.md has some rows."""
    print("| windows | events per hour | shift | both windows agree | or one window alone |\n|---|---|---|---|---|")
    table = pa.table({"x": np.random.default_rng(1).normal(size=100_000)})
    for windows, rates in WINDOWS:
        options = InferOptions(
            table=None,  # type: ignore[arg-type]  # `infer_table` does not use it
            model="m",
            version="1",
            roles=Roles(critical=frozenset({"x"})),
            windows=windows,
        )
        result = infer_table(memory_table("m", table), options)
        [field] = result.baseline.fields
        for per_h in rates:
            for shift in SHIFTS:
                contracts = changed(result.contract, RULE, WITHOUT), result.contract
                cells = [_time_to_page(each, field, shift, per_h / HOUR_S) for each in contracts]
                names = ", ".join(window.name for window in windows)
                print(f"| {names} | {per_h:,} | {shift:g} sd | {' | '.join(cells)} |")


def _time_to_page(contract: Contract, field: FieldBaseline, shift: float, events_per_s: float) -> str:
    """Describe the median and the 10–90 % interval."""
    pages = predict_pages(contract, field, shifted(field, shift), Traffic(events_per_s))
    [page] = [each for each in pages if each.rule == RULE]
    if not math.isfinite(page.median_s):
        return "never"
    low, median, high = (duration(round(each / 60) * 60) for each in (page.low_s, page.median_s, page.high_s))
    return f"{median} ({low} to {high})"


if __name__ == "__main__":
    main()
