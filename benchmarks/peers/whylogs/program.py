"""whylogs on prepared DataFrames: with default settings, or with a schema of only what is compared."""

from functools import reduce
from typing import Any

import whylogs as why
from whylogs.core.datatypes import Fractional, Integral
from whylogs.core.metrics import StandardMetric
from whylogs.core.metrics.metrics import MetricConfig
from whylogs.core.resolvers import MetricSpec, ResolverSpec
from whylogs.core.schema import DeclarativeSchema

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.child import RANKS
from benchmarks.peers.frames import by_minute, read_frame

LEAN = MetricConfig(large_kll_k=False, kll_k=200)


def lean_schema() -> DeclarativeSchema:
    """A schema with KLL (k = 200) alone; no types, counts or distinct values."""
    numbers = [MetricSpec(StandardMetric.distribution.value, LEAN)]
    return DeclarativeSchema(
        [
            ResolverSpec(column_type=Integral, metrics=numbers),
            ResolverSpec(column_type=Fractional, metrics=numbers),
        ]
    )


def run(parameters: JsonObject) -> JsonObject:
    """Profile frame by frame and return the merged profile."""
    frames = by_minute(read_frame(parameters["frame"]), parameters["minutes"])
    schema = {"default": lambda: None, "lean": lean_schema}[parameters["way"]]
    # The imports of the first profile do not count.
    why.log(next(iter(frames.values())).head(10), schema=schema()).view()
    clock = Clock()
    views = {start: why.log(frame, schema=schema()).view() for start, frame in frames.items()}
    spent = clock.read()
    whole = reduce(lambda one, other: one.merge(other), views.values())
    first = parameters["numbers"][0]
    sketches = {name: _sketch(whole, name) for name in parameters["numbers"]}
    return {
        "events": sum(map(len, frames.values())),
        "minutes": {str(start): _sketch(view, first).get_n() for start, view in views.items()},
        "ranks": RANKS,
        "rank_error": float(sketches[first].normalized_rank_error(False)),
        "quantiles": {name: list(map(float, sketch.get_quantiles(RANKS))) for name, sketch in sketches.items()},
        **spent,
    }


def _sketch(view: Any, name: str) -> Any:
    return view.get_column(name).get_metric("distribution").kll.value
