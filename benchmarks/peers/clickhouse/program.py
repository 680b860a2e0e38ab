"""ClickHouse alone: one statement from a file of JSON events to states per minute, in one thread."""

import json
from typing import Any

from chdb.session import Session

from benchmarks.measured_process import Clock, JsonObject
from benchmarks.peers.child import MINUTE_MS, RANKS

RANK_ERROR = 0.02
"""ClickHouse states none: this is twice the parameter of its t-digests, since merging adds to their error."""
_RANKS = ", ".join(map(str, RANKS))


def run(parameters: JsonObject) -> JsonObject:
    """Aggregate the file, and return quantiles of all events and the number of events per minute."""
    names: list[str] = parameters["numbers"]
    features = ", ".join(f"{name} Nullable(Float64)" for name in names if name != "score")
    states = ", ".join(_states(name, parameters["edges"][name], i) for i, name in enumerate(names))
    session = Session()
    session.query("SELECT 1")
    clock = Clock()
    session.query(
        f"CREATE TABLE minutes ENGINE = Memory AS SELECT intDiv(at, {MINUTE_MS}) * {MINUTE_MS} AS start, count() AS n, "
        f"{states} FROM file('{parameters['events']}', JSONEachRow, 'at Int64, score Nullable(Float64), "
        f"features Tuple({features})') GROUP BY start SETTINGS max_threads = 1, input_format_parallel_parsing = 0"
    )
    spent = clock.read()
    rows = _rows(session, "SELECT toString(start), toInt32(n) FROM minutes ORDER BY start")
    merged = ", ".join(f"quantilesTDigestMerge({_RANKS})(digest_{i})" for i in range(len(names)))
    [quantiles] = _rows(session, f"SELECT {merged} FROM minutes")
    return {
        "events": sum(n for _, n in rows),
        "minutes": dict(rows),
        "ranks": RANKS,
        "rank_error": RANK_ERROR,
        "quantiles": dict(zip(names, quantiles, strict=True)),
        **spent,
    }


def _states(name: str, edges: list[float], i: int) -> str:
    """What is kept of a field; the sum of comparisons is the fastest way to find a bin."""
    value = name if name == "score" else f"features.{name}"
    number = " + ".join(f"({value} >= {edge})" for edge in edges)
    return (
        f"count({value}), varSampStableState({value}), quantilesTDigestState({_RANKS})({value}) AS digest_{i}, "
        f"countResample(0, {len(edges) + 1}, 1)({value}, toUInt8({number})) AS bins_{i}"
    )


def _rows(session: Session, query: str) -> list[list[Any]]:
    result: list[list[Any]] = json.loads(str(session.query(query, "JSONCompact")))["data"]
    return result
