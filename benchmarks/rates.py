"""Rates of the sketcher, of Faust's empty loop and of the floors on the same topic; memory of the sketcher."""

import time
import uuid
from functools import cache
from statistics import harmonic_mean, mean, median
from typing import Any, Literal

from barograph_server.streams.events import native_reader
from barograph_server.streams.sketcher.sketcher import GROUP
from barograph_server.streams.topics import Topics
from benchmarks import stages
from benchmarks.figures import Figures
from benchmarks.floors import HAS_C, bare_copy, bare_decode, bare_sort, consume, consume_from_c, faust_loop
from benchmarks.processors import sketcher
from benchmarks.stack import Testbed
from benchmarks.workload import ARROW_HEADERS, Workload, arrow_messages, arrow_rows, json_events, make_workload

Form = Literal["json", "arrow"]
"""Encoding of predictions."""
RATES = "Rate per CPU-second"
JSON_RATE, ARROW_RATE = "sketcher, JSON", "sketcher, Arrow batches"
PURE_RATE = "sketcher, JSON, without barograph-native"
"""Measured where barograph-native is installed; where it is not, `JSON_RATE` is this rate."""
FAUST = "Faust, empty loop"
CONSUME, DECODE = "librdkafka alone: consume and forget", "msgspec alone: decode into the contract's struct"
CONSUME_C, COPY = "librdkafka from C: consume and forget", "memcpy alone: copy the payload"
SORT = "numpy alone: sort every field"
TO_FAUST, TO_DECODE = "sketcher, JSON ÷ Faust", "sketcher, JSON ÷ msgspec alone"
TO_PURE, TO_C = "sketcher, JSON ÷ without barograph-native", "sketcher, JSON ÷ librdkafka from C"
_RATES = {
    "faust": FAUST,
    "sketcher": JSON_RATE,
    **({"pure": PURE_RATE} if native_reader.VERSION else {}),
    "arrow": ARROW_RATE,
    "consume": CONSUME,
    **({"c": CONSUME_C} if HAS_C else {}),
    "copy": COPY,
    "decode": DECODE,
    "sort": SORT,
}
MEMORY = "The sketcher's memory"
WIDE = "50 models of 100 fields, peak"
SOAK, SOAK_FLUSHES, SOAK_EVENTS = "The sketcher's memory over a day", 240, 250
"""Flushes an hour, as by the default interval of 15 s, and events of a flush."""
DATABASE, WIDE_DATABASE = "rates", "wide"
SPAN_MS = 600_000
"""Range of event times of a topic: the ten minutes before it is written."""
FLUSH_S = 8.0
"""Longer than most measured processes run: they flush once, after all events, so that the number of commits does not
depend on the speed of the machine. A pane that ends meanwhile causes a second flush."""


def span() -> tuple[int, int]:
    """First and last event time of a topic that is written now (Unix ms)."""
    now_ms = int(time.time() * 1000)
    return now_ms - SPAN_MS, now_ms


@cache
def base_workload(testbed: Testbed) -> Workload:
    """One model with 20 numeric features and a score, without slices, registered in `DATABASE`."""
    workload = make_workload(testbed.folder)
    testbed.register(DATABASE, workload)
    return workload


def fill_topic(testbed: Testbed, workload: Workload, prefix: str, form: Form, n: int) -> Topics:
    """Create the topics of a prefix, and write n predictions of the last ten minutes."""
    topics = testbed.create_topics(prefix)
    if form == "arrow":
        testbed.fill(topics.predictions, arrow_messages(workload, n, *span()), ARROW_HEADERS)
    else:
        testbed.fill(topics.predictions, json_events(workload, n, *span()))
    return topics


def measure_rates(
    testbed: Testbed, figures: Figures, *, events: int, faust_events: int, arrow_events: int, runs: int
) -> None:
    """Measure the sketcher with JSON and Arrow, Faust and the library rates alternately."""
    workload = base_workload(testbed)
    topics = fill_topic(testbed, workload, "rate-", "json", events)
    arrow = fill_topic(testbed, workload, "arrow-", "arrow", arrow_events)
    sample = list(json_events(workload, 100_000, *span()))
    size = f"{mean(map(len, sample)):.0f}"
    figures.about["events"] = (
        f"{size} bytes of JSON on average, {len(workload.numbers)} numeric features and a score, no slices, "
        f"one model, one partition, lz4; Arrow batches of {arrow_rows(workload):,}"
    )
    result: dict[str, list[float]] = {name: [] for name in _RATES}
    batches = list(arrow_messages(workload, 400_000, *span()))
    json_stages, arrow_stages, pure_stages = (list[dict[str, float]]() for _ in range(3))
    for _ in range(runs):
        result["consume"].append(rate(testbed.run_child(consume, topic=topics.predictions, messages=events)))
        if HAS_C:
            result["c"].append(rate(testbed.run_child(consume_from_c, topic=topics.predictions, messages=events)))
        result["copy"].append(bare_copy(sample))
        result["sort"].append(bare_sort(workload, 100_000))
        # Half before the sketcher and half after it, because such a short measurement depends on the machine's load.
        before = bare_decode(workload, sample)
        result["sketcher"].append(rate(run_sketcher(testbed, workload, "rate-", events)))
        if "pure" in result:
            result["pure"].append(rate(run_sketcher(testbed, workload, "rate-", events, native=False)))
        result["decode"].append(harmonic_mean([before, bare_decode(workload, sample)]))
        empty_loop = {"messages": faust_events, "group": f"faust-{uuid.uuid4().hex[:8]}"}
        result["faust"].append(rate(testbed.run_child(faust_loop, topic=topics.predictions, **empty_loop)))
        result["arrow"].append(rate(run_sketcher(testbed, workload, "arrow-", arrow_events)))
        json_stages.append(stages.time_stages(workload, sample, "json"))
        if "pure" in result:
            pure_stages.append(stages.time_pure_decoder(workload, sample))
        arrow_stages.append(stages.time_stages(workload, batches, "arrow"))
    testbed.delete_topics(topics)
    testbed.delete_topics(arrow)
    read = {"faust": faust_events, "arrow": arrow_events} | dict.fromkeys(("sketcher", "pure", "consume", "c"), events)
    figures.about["native"] = native_reader.describe()
    if not HAS_C:
        figures.about["librdkafka from C"] = "not measured: it needs cc and the wheel of confluent-kafka"
    for name, title in _RATES.items():
        note = f"{read[name]:,} events each" if name in read else ""
        figures.add_runs(RATES, title, result[name], "events", note)
    for over, under, title in (
        ("sketcher", "pure", TO_PURE),
        ("sketcher", "faust", TO_FAUST),
        ("sketcher", "decode", TO_DECODE),
        ("sketcher", "consume", "sketcher, JSON ÷ librdkafka alone"),
        ("sketcher", "c", TO_C),
        ("arrow", "sort", "sketcher, Arrow ÷ numpy's sort alone"),
        ("arrow", "sketcher", "sketcher, Arrow ÷ JSON"),
    ):
        if under in result:
            figures.add_ratios(RATES, title, result[over], result[under])
    stages.add_stages(figures, stages.JSON_STAGES, json_stages, result["sketcher"])
    if pure_stages:
        spent = [run[stages.PURE_DECODER] for run in pure_stages]
        figures.add_runs(stages.JSON_STAGES, stages.PURE_DECODER, spent, "µs/event", "instead of the first row")
    stages.add_stages(figures, stages.ARROW_STAGES, arrow_stages, result["arrow"])


def measure_memory(testbed: Testbed, figures: Figures, *, events: int, wide_events: int) -> None:
    """Measure memory of a sketcher with default settings over many events, and of one with many fields and models."""
    workload = base_workload(testbed)
    topics = fill_topic(testbed, workload, "memory-", "json", events)
    result = run_sketcher(testbed, workload, "memory-", events, at_once=False)
    testbed.delete_topics(topics)
    samples = result["samples"]
    for target in range(1_000_000, events + 1, 1_000_000):
        sample = next(s for s in samples if s["events"] >= target)
        name = f"after {target / 1e6:.2g} M events"
        figures.add(MEMORY, name, sample["rss_mb"], "MB", f"peak {sample['peak_mb']:.0f} MB")
    by_wall = result["events"] / result["wall_s"]
    figures.add(MEMORY, "rate meanwhile, by the wall clock", by_wall, "events/s", "includes joining the group")
    many = make_workload(testbed.folder, numbers=99, models=50)
    testbed.register(WIDE_DATABASE, many)
    topics = fill_topic(testbed, many, "wide-", "json", wide_events)
    result = run_sketcher(testbed, many, "wide-", wide_events, at_once=False, database=WIDE_DATABASE)
    testbed.delete_topics(topics)
    panes = SPAN_MS // 60_000
    note = f"{wide_events:,} events over {panes} panes of each model, default settings"
    figures.add(MEMORY, WIDE, result["peak_mb"], "MB", note)


def measure_soak(testbed: Testbed, figures: Figures, *, hours: int) -> None:
    """Memory of a sketcher over a small stream, on the replay clock with as many flushes as on the live clock."""
    workload, events, now_ms = base_workload(testbed), hours * SOAK_FLUSHES * SOAK_EVENTS, span()[1]
    topics = testbed.create_topics("soak-")
    testbed.fill(topics.predictions, json_events(workload, events, now_ms - hours * 3_600_000, now_ms))
    replay: dict[str, Any] = {"clock": "replay", "flush_events": 1, "batch": SOAK_EVENTS}
    result = run_sketcher(testbed, workload, "soak-", events, at_once=False, **replay)
    testbed.delete_topics(topics)
    rss_mb = [sample["rss_mb"] for sample in result["samples"]]
    tenth = len(rss_mb) // 10
    note = f"{events:,} events in {len(rss_mb):,} flushes, {native_reader.describe()}"
    figures.add(SOAK, "first tenth, median", median(rss_mb[:tenth]), "MB", note)
    figures.add_runs(SOAK, "the other nine tenths", rss_mb[tenth:], "MB")
    middle, last = median(rss_mb[4 * tenth : 5 * tenth]), median(rss_mb[-tenth:])
    figures.add(SOAK, "last tenth, median", last, "MB")
    verdict = "flat" if last < 1.01 * middle else "not flat: more than 1 %"
    figures.add(SOAK, "growth of the last half", last - middle, "MB", verdict)


def run_sketcher(
    testbed: Testbed,
    workload: Workload,
    prefix: str,
    events: int,
    *,
    at_once: bool = True,
    database: str = DATABASE,
    native: bool = True,
    **parameters: Any,
) -> dict[str, Any]:
    """Run a new sketcher on a topic from its start, with one flush or with the default flush interval."""
    testbed.forget_group(f"{prefix}{GROUP}")
    return testbed.run_child(
        sketcher,
        prefix=prefix,
        database=database,
        events=events,
        native=native,
        **({"flush_s": FLUSH_S, "flush_events": events} if at_once else {}),
        warm=next(json_events(workload, 1, *span())).decode(),
        **parameters,
    )


def rate(result: dict[str, Any]) -> float:
    """Events per CPU-second of the result of a measured process."""
    return float(result["events"] / result["cpu_s"])
