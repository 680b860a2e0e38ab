"""whylogs on prepared DataFrames, with default settings."""

from functools import reduce
from typing import Any

import whylogs as why

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.child import RANKS
from benchmarks.peers.frames import by_minute, read_frame


def run(parameters: JsonObject) -> JsonObject:
    """Profile frame by frame and return the merged profile."""
    frames = by_minute(read_frame(parameters["frame"]), parameters["minutes"])
    # The imports of the first profile do not count.
    why.log(next(iter(frames.values())).head(10)).view()
    clock = Clock()
    views = {start: why.log(frame).view() for start, frame in frames.items()}
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
