"""Memory of the monitor with a very wide model (2,000 fields, 100 slices), in a process as in production.

Partials are written to `partials` in the sketcher's format. A monitor with the replay clock and default settings reads
them and writes its panes to ClickHouse; its process is sampled from outside.
"""

import time
from dataclasses import replace
from itertools import chain

import msgspec
from barograph.contract import SECONDS_PER_HOUR, Slice

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.warehouse.client import Client
from benchmarks.figures import Figures
from benchmarks.monitor import flushes, recent_hour_s
from benchmarks.stack import Child, Testbed, terminating
from benchmarks.workload import CONTEXT, Workload, make_workload

WIDE = "The monitor with 2,000 fields and 100 slices"
PEAK = "memory, peak"
DATABASE, PREFIX = "wide_monitor", "wide-monitor-"
NUMBERS = 1_999
"""The score is the 2,000th field."""
VALUES = 24
"""Values of each of four dimensions, which have 25 slices each including `other`."""
EVENTS_PER_PANE = 8_000
PANE_S = 60
OPEN_PANES = 4
"""Panes at the end that stay open because of lateness and out-of-order time."""
POLL_INTERVAL_S = 0.2


def measure_wide_monitor(testbed: Testbed, figures: Figures, *, panes: int, limit_s: float) -> None:
    """Run a monitor on panes of a wide model, for `panes` panes or at most `limit_s` seconds."""
    workload = _wide(make_workload(testbed.folder, numbers=NUMBERS, dimensions=4, training_rows=4_000))
    testbed.register(DATABASE, workload)
    topics = testbed.create_topics(PREFIX)
    # The panes are placed so that an hour ends before the last sealed pane.
    first_s = recent_hour_s() + SECONDS_PER_HOUR - PANE_S * (panes - OPEN_PANES - 1)
    written = flushes(workload, panes, EVENTS_PER_PANE, first_s)
    records, size = testbed.fill(topics.partials, chain.from_iterable([*each, progress] for each, progress in written))
    monitor = testbed.start_processor("monitor", "wide", database=DATABASE, prefix=PREFIX, clock="replay")
    with terminating([monitor]), testbed.client(DATABASE) as client:
        sealed, peak_mb, cpu_s = _follow(monitor, client, panes, limit_s)
    slices = sum(len(d.values) + 1 for d in workload.baseline.dimensions)
    note = f"{len(workload.baseline.fields):,} fields × {slices} slices; {sealed} panes judged"
    has_hour = sealed >= panes - OPEN_PANES
    note += ", including the end of an hour" if has_hour else "; the time limit preceded the end of the hour"
    figures.add(WIDE, PEAK, peak_mb, "MB", note)
    figures.add(WIDE, "CPU time per pane", cpu_s / sealed, "s", f"includes its start; {size / panes / 1e6:.1f} MB")
    figures.add(WIDE, "records in partials per pane", records / panes, "records")


def _wide(workload: Workload) -> Workload:
    """The workload with `VALUES` values in every dimension of the context."""
    values = {
        name: (*CONTEXT[name], *(f"{name}-{i:02}" for i in range(VALUES - len(CONTEXT[name]))))
        for name in workload.dimensions
    }
    slices = tuple(Slice(name=n, source=f"context.{n}", top=VALUES, values=v) for n, v in values.items())
    dimensions = tuple(SliceValues(name=n, source=f"context.{n}", values=v, trained=False) for n, v in values.items())
    contract = msgspec.structs.replace(workload.contract, slices=slices)
    baseline = msgspec.structs.replace(workload.baseline, dimensions=dimensions)
    return replace(workload, contract=contract, baseline=baseline, choices=values)


def _follow(monitor: Child, client: Client, panes: int, limit_s: float) -> tuple[int, float, float]:
    """Sample a monitor until it has sealed all panes, or until the limit; return panes, peak (MB) and CPU (s)."""
    deadline, sealed = time.monotonic() + limit_s, 0
    while sealed < max(1, panes - OPEN_PANES) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL_S)
        sample = monitor.sample()
        [(sealed,)] = client.rows("SELECT uniqExact(window_end) FROM drift WHERE window = '15m'")
    if not sealed:
        raise RuntimeError(f"no pane was judged within {limit_s:.0f} s, so that there are no figures")
    return sealed, sample.peak_mb, sample.cpu_s
