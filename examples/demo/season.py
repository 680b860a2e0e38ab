"""The season: weeks after the acceptance of autumn, judged again from panes, and against June and July."""

from datetime import datetime

import numpy as np
import pyarrow as pa
from barograph.contract import Thresholds
from numpy.typing import NDArray

from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.flights.contract import DAY_S, MODEL, VERSION, WEEK
from barograph_server.profiling.baseline.counts import RangeCounts
from barograph_server.sketches.baseline.baseline import ALL, load_baseline
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.layout import IntArray, Layout
from barograph_server.sketches.baseline.levels import LEVEL_NAMES
from barograph_server.sketches.comparison.rebin import rebin, split_counts
from barograph_server.sketches.drift.psi import psi_verdicts
from barograph_server.sketches.sketch.envelope import unseal
from barograph_server.sketches.sketch.numeric import NumericSketch
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.history import pane_sums
from barograph_server.warehouse.history.pane_sums import PaneRange
from barograph_server.warehouse.queries import baselines

FIELDS = ("temp", "dewp")
"""Fields with new bins in autumn, which are compared with June and July."""
DAYS = WEEK.length_s // DAY_S

_VERDICTS = pa.schema(
    {"field": pa.string()}
    | {
        f"{by}{name}": kind
        for by in ("", "again_", "trained_")
        for name, kind in (("level", pa.string()), ("psi", pa.float64()))
    }
)

Verdict = tuple[str, float]


def add_season(client: Client, findings: Findings, begin: datetime, end: datetime) -> None:
    """Add the week windows in a range of whole days after the acceptance, with three verdicts.

    These are the monitor's against autumn, the same recomputed from panes, and one of `FIELDS` against June and July.
    """
    first, second = (row for row in baselines(client, MODEL) if row.version == VERSION)
    trained, accepted = (
        Layout(load_baseline(row.body.encode(), f"baseline {row.baseline_id}")) for row in (first, second)
    )
    panes = PaneRange(MODEL, VERSION, second.baseline_id, int(begin.timestamp()), int(end.timestamp()))
    days = np.concatenate(list(RangeCounts(client, panes, accepted).windows(DAY_S)))
    weeks = np.stack([days[i : i + DAYS].sum(axis=0) for i in range(len(days) - DAYS + 1)])
    again = _judge(accepted, weeks, np.zeros(len(accepted.fields)))
    before = _judge(trained, *_recount(weeks, accepted, trained, _week_sketches(client, panes, len(weeks))))
    findings.facts |= {"autumn": second.baseline_id, "begin": begin, "last_day": end}
    rows = []
    for each in findings.table("autumn_weeks").to_pylist():
        week = (each["end_s"] - panes.start_s) // DAY_S - DAYS
        again_level, again_psi = again[each["field"]][week]
        level, psi = before[each["field"]][week] if each["field"] in FIELDS else ("", 0.0)
        recomputed = {"again_level": again_level, "again_psi": again_psi, "trained_level": level, "trained_psi": psi}
        rows.append(each | recomputed)
    findings.add_table("season", pa.Table.from_pylist(rows, _VERDICTS))


def _judge(layout: Layout, weeks: IntArray, noise: NDArray[np.float64]) -> dict[str, list[Verdict]]:
    """Judge the slice `all` of weeks, by field; the noise of each field is added to that of its baseline."""
    bins, lines = PsiBins(layout), Thresholds()
    groups = bins.groups_in(layout.slices.index(ALL))
    noises = bins.noise.copy()
    for index, group in groups.items():
        noises[group] += noise[index]
    verdicts = psi_verdicts(
        bins.base_bins,
        bins.window_bins(weeks),
        bins.starts,
        phi=bins.phi(WEEK.name),
        nu=bins.nu(WEEK.name),
        thresholds=(lines.minor, lines.major),
        noise=noises,
    )
    return {
        layout.fields[index].name: [
            (LEVEL_NAMES[int(level)], float(psi))
            for level, psi in zip(verdicts.level[:, group], verdicts.psi[:, group], strict=True)
        ]
        for index, group in groups.items()
    }


def _week_sketches(client: Client, panes: PaneRange, n_weeks: int) -> dict[str, list[NumericSketch]]:
    """Merge the sketches of `FIELDS` in each week, which begin a day apart."""
    weeks: dict[str, list[NumericSketch]] = {}
    for name, part, at_s, data in pane_sums.field_sketches(client, panes, FIELDS, panes.start_s, panes.end_s):
        if part == ALL:
            sketch = NumericSketch.from_bytes(unseal(data)[0], data)
            of_field = weeks.setdefault(name, [NumericSketch(sketch.sketch_type) for _ in range(n_weeks)])
            day = (at_s - panes.start_s) // DAY_S
            for week in of_field[max(0, day - DAYS + 1) : day + 1]:
                week.merge(sketch)
    return weeks


def _recount(
    weeks: IntArray, counted: Layout, layout: Layout, sketches: dict[str, list[NumericSketch]]
) -> tuple[IntArray, NDArray[np.float64]]:
    """Convert the counts of `FIELDS` in the slice `all` to another layout; return the noise of each field, too."""
    result, noise = np.zeros((len(weeks), layout.n_slices, layout.width), np.int64), np.zeros(len(layout.fields))
    row = layout.slices.index(ALL)
    for name, of_field in sketches.items():
        old, new = counted.field_index[name], layout.field_index[name]
        edges, n_bins = layout.fields[new].edges, counted.fields[old].n_cells - 1
        noise[new] = rebin(of_field[0], edges).noise
        cells = weeks[:, counted.slices.index(ALL), counted.span(old, old + 1)]
        for i, sketch in enumerate(of_field):
            bins = split_counts(sketch, counted.fields[old].edges, cells[i, :n_bins], edges)
            result[i, row, layout.span(new, new + 1)] = np.concatenate((bins, cells[i, n_bins:]))
    return result, noise
