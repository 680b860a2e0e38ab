"""Time from a shift of a feature to its page: `python -m benchmarks.time_to_page`.

Compares the rule that needs two windows with the one that also fires on a single one. Draws normal values, of which
training saw 100,000, and shifts their mean. Windows are judged as the monitor judges them. The verdicts go to a
ClickHouse engine, over which the rule `psi-major` is replayed with its SQL, pending period and hysteresis. Each field
is one draw; their shifts start at different times of the day.
"""

import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from barograph.contract import Contract, Field, Window
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.backtest import changed
from barograph_server.alerts.simulator import simulate
from barograph_server.alerts.text import duration
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.tables import SCHEMAS, TEXT, insert_columns

RULE = "psi-major"
SHIFTS = (0.5, 1.0, 2.0)
"""In standard deviations."""
FIELDS = 12
"""Draws per shift."""
TRAINED = 100_000
EDGES = ndtri(np.arange(1, 10) / 10)
DAY_S, HOUR_S = 86_400, 3_600
START_S = 1_790_000_000 // DAY_S * DAY_S
WINDOWS = {
    "15m, 1h, 1d": ((900, 60), (HOUR_S, 300), (DAY_S, HOUR_S)),
    "1d, 7d": ((DAY_S, HOUR_S), (7 * DAY_S, DAY_S)),
}
"""The windows of `infer` by default, and those of a slow model: (length, hop) in seconds."""
EVENTS_PER_H = {"15m, 1h, 1d": (100, 1_000, 10_000), "1d, 7d": (100, 1_000)}
WITHOUT = {"fast_threshold": "20"}
"""PSI never reaches 20, so no window pages alone."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Shifted:
    """A field whose mean moves."""

    name: str
    shift: float
    start_s: int


def main() -> int:
    """Print the table of docs/alerts.md."""
    print("| windows | events per hour | shift | both windows agree | or one window alone |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, LocalClickHouse(Path(folder), port=0) as engine:
        for names in WINDOWS:
            for per_h in EVENTS_PER_H[names]:
                address = engine.address(f"pages_{len(names)}_{per_h}")
                with connect(address, create=True) as client:
                    migrate.apply(client)
                    for row in _rows(client, names, per_h):
                        print(f"| {names} | {per_h:,} | {row} |", flush=True)
    return 0


def _rows(client: Client, names: str, per_h: int) -> Iterator[str]:
    windows = tuple(Window(*each) for each in WINDOWS[names])
    longest_s = max(window.length_s for window in windows)
    shifted = [
        Shifted(f"x{shift:g}_{i}", shift, START_S + longest_s + DAY_S + i * DAY_S // FIELDS + 420)
        for shift in SHIFTS
        for i in range(FIELDS)
    ]
    contract = Contract(
        model="m",
        fields=tuple(
            Field(name=each.name, type="float", source=f"features.{each.name}", critical=True) for each in shifted
        ),
        windows=windows,
    )
    end_s = START_S + 2 * longest_s + 3 * DAY_S
    rng = np.random.default_rng(per_h)
    for each in shifted:
        _insert(client, contract, each, end_s, per_h, rng)
    delays = [_delays(client, version, shifted, end_s) for version in (changed(contract, RULE, WITHOUT), contract)]
    for shift in SHIFTS:
        cells = [_describe([delay[each.name] for each in shifted if each.shift == shift]) for delay in delays]
        yield f"{shift:g} sd | {' | '.join(cells)}"


def _insert(
    client: Client, contract: Contract, field: Shifted, end_s: int, per_h: int, rng: np.random.Generator
) -> None:
    """Draw the panes of a field and write the verdicts of all its windows."""
    pane_s = contract.pane_s
    starts = np.arange(START_S, end_s, pane_s)
    n = rng.poisson(per_h * pane_s / HOUR_S, len(starts))
    quiet, moved = (np.diff(ndtr(EDGES - mean), prepend=0.0, append=1.0) for mean in (0.0, field.shift))
    panes = np.where((starts >= field.start_s)[:, None], rng.multinomial(n, moved), rng.multinomial(n, quiet))
    sums = np.concatenate([np.zeros((1, 10), np.int64), np.cumsum(panes, axis=0)])
    base = rng.multinomial(TRAINED, quiet)
    for window in contract.windows:
        first = -(-(START_S + window.length_s) // window.hop_s) * window.hop_s
        ends = np.arange(first, end_s + 1, window.hop_s)
        until = (ends - START_S) // pane_s
        verdicts = psi_verdicts(base, sums[until] - sums[until - window.length_s // pane_s], [0])
        sealed_s = contract.lateness_s + contract.out_of_order_s
        judged = {
            **{"model": "m", "version": "1", "slice": "all", "field": field.name, "window": window.name},
            **{"window_start": ends - window.length_s, "window_end": ends, "record_seq": np.arange(len(ends))},
            **{"judged_at": (ends + sealed_s) * 1000, "n": verdicts.n[:, 0], "psi": verdicts.psi[:, 0]},
            **{"psi_low": verdicts.low[:, 0], "psi_high": verdicts.high[:, 0]},
            "level": np.array(LEVEL_NAMES)[verdicts.level[:, 0]],
        }
        insert_columns(client, "drift", _whole("drift", judged, len(ends)))


def _whole(table: str, columns: dict[str, Any], n: int) -> dict[str, Any]:
    """Repeat single values, and fill the other columns of a table with zeros or empty texts."""
    values = {field.name: columns.get(field.name, "" if field.type == TEXT else 0) for field in SCHEMAS[table]}
    return {name: [value] * n if isinstance(value, str | int) else value for name, value in values.items()}


def _delays(client: Client, contract: Contract, shifted: list[Shifted], end_s: int) -> dict[str, int | None]:
    """Seconds from the shift of each field to its page."""
    [rule] = [rule for rule in rules_of(contract, AlertSettings()) if rule.name == RULE]
    [replay] = simulate(client, [rule], AlertSettings(), START_S, end_s, "judged").replays
    return {
        each.name: next((e.start - each.start_s for e in replay.episodes if e.key == each.name), None)
        for each in shifted
    }


def _describe(delays: list[int | None]) -> str:
    """Median and range; a field that never pages counts as infinitely late."""
    low, middle, high = np.quantile(
        [math.inf if each is None else each for each in delays], (0, 0.5, 1), method="lower"
    )
    return f"{duration(middle)} ({duration(low)} to {duration(high)})" if math.isfinite(low) else "never"


if __name__ == "__main__":
    sys.exit(main())
