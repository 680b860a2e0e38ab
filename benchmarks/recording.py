"""Rows per CPU-second of the recorder with JSON and Arrow, and its cost with a smaller `raw: share`."""

from typing import Any

from barograph_server.streams.events import native_reader
from barograph_server.streams.recorder.recorder import GROUP
from benchmarks.figures import Figures
from benchmarks.processors import recorder
from benchmarks.rates import fill_topic, span
from benchmarks.stack import Testbed, wait_until
from benchmarks.workload import Workload, json_events, make_workload

RECORDER = "The recorder"
JSON_ROWS, ARROW_ROWS_RATE = "JSON: rows per CPU-second", "Arrow batches: rows per CPU-second"
PURE_RATIO = "JSON: CPU time without barograph-native ÷ with it"
SHARES = (1.0, 0.5, 0.1)
KEPT, COST = "rows kept at raw: {share:g} ÷ all", "CPU time at raw: {share:g} ÷ at raw: 1"


def measure_recorder(testbed: Testbed, figures: Figures, *, events: int, arrow_events: int, runs: int) -> None:
    """Measure recorders alternately on the same events, with shares of 1, 0.5 and 0.1."""
    workloads = {share: make_workload(testbed.folder, raw_share=share) for share in SHARES}
    for share, workload in workloads.items():
        testbed.register(_database(share), workload)
    base = workloads[1.0]
    topics = fill_topic(testbed, base, "record-", "json", events)
    arrow = fill_topic(testbed, base, "record-arrow-", "arrow", arrow_events)
    result: dict[float, list[dict[str, Any]]] = {share: [] for share in SHARES}
    batches, pure = [], []
    for _ in range(runs):
        for share, workload in workloads.items():
            result[share].append(run_recorder(testbed, workload, "record-", _database(share), topics.predictions))
        if native_reader.VERSION is not None:
            pure.append(run_recorder(testbed, base, "record-", _database(1.0), topics.predictions, native=False))
        batches.append(run_recorder(testbed, base, "record-arrow-", _database(1.0), arrow.predictions))
    testbed.delete_topics(topics)
    testbed.delete_topics(arrow)
    for name, outcomes, n in ((JSON_ROWS, result[1.0], events), (ARROW_ROWS_RATE, batches, arrow_events)):
        figures.add_runs(RECORDER, name, [one["events"] / one["cpu_s"] for one in outcomes], "rows", f"{n:,} events")
    if pure:
        without, own = ([one["cpu_s"] for one in outcomes] for outcomes in (pure, result[1.0]))
        figures.add_ratios(RECORDER, PURE_RATIO, without, own)
    for share in SHARES[1:]:
        for name, key in ((KEPT, "events"), (COST, "cpu_s")):
            over, under = ([run[key] for run in result[each]] for each in (share, 1.0))
            figures.add_ratios(RECORDER, name.format(share=share), over, under)


def _database(share: float) -> str:
    return f"record_{share * 100:.0f}"


def run_recorder(
    testbed: Testbed, workload: Workload, prefix: str, database: str, topic: str, *, native: bool = True
) -> dict[str, Any]:
    """Run a new recorder on a topic from its start to its end."""
    group = f"{prefix}{GROUP}"
    testbed.forget_group(group)
    warm = next(json_events(workload, 1, *span())).decode()
    child = testbed.start_child(recorder, prefix=prefix, database=database, warm=warm, native=native)
    end = testbed.end_offset(topic)
    # Messages count: the number of rows depends on the share.
    wait_until(lambda: testbed.committed(group, topic) >= end, "the recorder has read to the end", children=[child])
    child.stop()
    return child.finish()
