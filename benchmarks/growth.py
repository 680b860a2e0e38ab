"""Cost by fields, slices, models, events, history and partitions, one factor at a time.

`measure_growth` returns every cost that `benchmarks.sizing` needs, so that docs/scale.md is computed from one run.
"""

from __future__ import annotations

import itertools
import time

from benchmarks.growth_history import measure_history
from benchmarks.growth_kafka import (
    measure_engine,
    measure_partitions,
    measure_recording,
    measure_records,
    measure_units,
)
from benchmarks.growth_measurement import Growth
from benchmarks.growth_monitor import measure_monitor_growth
from benchmarks.growth_sketcher import measure_sketcher
from benchmarks.growth_store import empty_database
from benchmarks.stack import Testbed
from benchmarks.synthetic_models import FIELDS


def measure_growth(testbed: Testbed) -> Growth:
    """Measure all factors; takes five to eight minutes."""
    growth = Growth()
    growth.unit("fields", FIELDS)
    began = time.monotonic()
    numbers = itertools.count()
    measure_sketcher(growth)
    _print_progress("sketcher", began)
    measure_monitor_growth(growth, lambda _: empty_database(testbed, f"growth_{next(numbers):02d}"))
    _print_progress("monitor", began)
    measure_partitions(testbed, growth)
    measure_records(testbed, growth)
    _print_progress("partitions", began)
    measure_units(testbed, growth)
    measure_recording(testbed, growth)
    measure_engine(testbed, growth)
    _print_progress("single costs", began)
    measure_history(testbed, growth)
    _print_progress("history", began)
    return growth


def _print_progress(step: str, began: float) -> None:
    print(f"  growth: {step} measured after {time.monotonic() - began:.0f} s", flush=True)
