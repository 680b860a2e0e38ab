"""The unit costs of which `benchmarks.scale` computes the capacity that a load needs.

CPU time and bytes of an event, a row, a pane and a record, and the CPU time of idle processes. Models have 20 numeric
features and a score, without slices.
"""

import time
from collections import deque
from collections.abc import Callable
from statistics import mean

import numpy as np

from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.events.json_decoder import JsonDecoder
from barograph_server.streams.monitor.state.empty_store import EmptyStore
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.recorder.json_rows import JsonRows
from barograph_server.streams.records import PartitionProgress, Progress, encode
from barograph_server.streams.sketcher.summarise import FlushSummaries
from benchmarks.figures import Figures
from benchmarks.monitor import FLUSHES_PER_PANE, TOPIC_ID, PartitionFeed, flushes, recent_hour_s
from benchmarks.rates import Form, fill_topic, run_sketcher, span
from benchmarks.recording import run_recorder
from benchmarks.stack import SETTLE_S, Testbed, terminating
from benchmarks.storage import RESULTS, bytes_on_disk
from benchmarks.workload import Workload, json_events, make_workload

UNITS = "Unit costs"
RAW_SHARE = 0.1
MODELS, FEW_EVENTS, PASSES = 50, 50, 20
"""Models, events of each poll, and polls, for the fixed cost of a model in a poll."""
WARM_UP, PANES = 5, 60
SOURCES, SOURCE_MODELS = 128, 20
"""Source partitions and models of the state that applies progress records."""
RECORDS = 10_000
IDLE_PARTITIONS, IDLE_S = 4, 30.0
SMALL_INSERTS = 20


def measure_unit_costs(testbed: Testbed, figures: Figures, *, events: int, arrow_events: int) -> None:
    """Measure every cost; a minute or two."""
    workload = make_workload(testbed.folder)
    testbed.register("unit_all", workload)
    testbed.register("unit_share", make_workload(testbed.folder, raw_share=RAW_SHARE))
    _measure_events(testbed, figures, workload, "json", events)
    _measure_events(testbed, figures, workload, "arrow", arrow_events)
    _measure_models(testbed, figures)
    testbed.register("unit_panes", workload)
    _measure_panes(testbed, figures, workload)
    _measure_progress(testbed, figures)
    _measure_idle(testbed, figures)
    _measure_records(testbed, figures)


def _measure_events(testbed: Testbed, figures: Figures, workload: Workload, form: Form, n: int) -> None:
    """CPU time and bytes of an event, in full batches over Kafka."""
    topics = fill_topic(testbed, workload, f"unit-{form}-", form, n)
    figures.add(UNITS, f"kafka_{form}_bytes", testbed.log_bytes(topics.predictions) / n, "bytes")
    sketcher = run_sketcher(testbed, workload, f"unit-{form}-", n, database="unit_all")
    figures.add(UNITS, f"sketcher_{form}_us", 1e6 * sketcher["cpu_s"] / n, "µs")
    shared = run_recorder(testbed, workload, f"unit-{form}-", "unit_share", topics.predictions)
    figures.add(UNITS, f"recorder_{form}_share_us", 1e6 * shared["cpu_s"] / n, "µs", f"raw: {RAW_SHARE}")
    with testbed.client("unit_all") as client:
        client.command("TRUNCATE TABLE predictions")
        engine_s = testbed.engine_cpu_s()
        recorder = run_recorder(testbed, workload, f"unit-{form}-", "unit_all", topics.predictions)
        figures.add(UNITS, f"recorder_{form}_us", 1e6 * recorder["cpu_s"] / n, "µs")
        figures.add(UNITS, f"row_{form}_bytes", bytes_on_disk(client, "predictions") / n, "bytes", "merged")
        engine_s = testbed.engine_cpu_s() - engine_s
        figures.add(UNITS, f"engine_{form}_us", 1e6 * engine_s / n, "µs", "inserting a row and merging it once")
        if form == "json":
            row = client.arrow("SELECT * FROM predictions LIMIT 1000")
            engine_s = testbed.engine_cpu_s()
            for _ in range(SMALL_INSERTS):
                client.insert("predictions", row)
            engine_ms = 1e3 * (testbed.engine_cpu_s() - engine_s) / SMALL_INSERTS
            figures.add(UNITS, "engine_insert_ms", engine_ms, "ms", "an insert of 1,000 rows")
    testbed.delete_topics(topics)


def _measure_models(testbed: Testbed, figures: Figures) -> None:
    """CPU time that each further model costs in a poll, whatever the number of its events."""
    one, many = (_poll_ms(make_workload(testbed.folder, models=models)) for models in (1, MODELS))
    for kind in one:
        of_model = (many[kind] - one[kind]) / (MODELS - 1)
        figures.add(UNITS, f"{kind}_model_ms", max(0.0, of_model), "ms", "for each model in a poll")


def _poll_ms(workload: Workload) -> dict[str, float]:
    """CPU time of a poll with few events, by processor."""
    registry, now_ms = workload.registry(), np.full(FEW_EVENTS, time.time_ns() // 1_000_000)
    values = list(json_events(workload, FEW_EVENTS, *span()))
    batch = MessageBatch(list(values), np.zeros(FEW_EVENTS, np.int32), np.arange(FEW_EVENTS), now_ms)
    decoder, rows, summaries = JsonDecoder(registry), JsonRows(registry), FlushSummaries(registry)
    return {
        "sketcher": _cpu_ms(lambda: deque(map(summaries.add, decoder.decode(batch).events))),
        "recorder": _cpu_ms(lambda: rows.rows(batch)),
    }


def _cpu_ms(work: Callable[[], object]) -> float:
    work()
    began = time.process_time()
    for _ in range(PASSES):
        work()
    return 1e3 * (time.process_time() - began) / PASSES


def _measure_panes(testbed: Testbed, figures: Figures, workload: Workload) -> None:
    """CPU time and bytes of a model's pane in monitor and engine."""
    with testbed.client("unit_panes") as client:
        store = WarehouseStore(client)
        feed = PartitionFeed(workload, store, store.write)
        for i, (partials, progress) in enumerate(flushes(workload, WARM_UP + PANES, first_s=recent_hour_s())):
            if i == WARM_UP * FLUSHES_PER_PANE:
                for each in (feed.sizes, feed.merge_s, feed.apply_s):
                    each.clear()
                engine_s = testbed.engine_cpu_s()
            feed.flush(partials, progress)
        engine_s = testbed.engine_cpu_s() - engine_s
        figures.add(UNITS, "partial_bytes", mean(feed.sizes), "bytes")
        figures.add(UNITS, "monitor_partial_ms", 1e3 * mean(feed.merge_s), "ms", "decoding and merging")
        figures.add(UNITS, "monitor_pane_ms", 1e3 * sum(feed.apply_s) / PANES, "ms", "sealing, judging and writing")
        figures.add(UNITS, "engine_pane_ms", 1e3 * engine_s / PANES, "ms")
        stored = sum(bytes_on_disk(client, table) for table in RESULTS)
        figures.add(UNITS, "pane_bytes", stored / (WARM_UP + PANES), "bytes", f"merged; {', '.join(RESULTS)}")


def _measure_progress(testbed: Testbed, figures: Figures) -> None:
    """CPU time of a progress record that seals nothing, for which watermarks of all sources and models are compared."""
    workload = make_workload(testbed.folder, models=SOURCE_MODELS)
    cost_us = []
    for sources in (1, SOURCES):
        feed = PartitionFeed(workload, EmptyStore(), lambda commit: None, live=True)
        at_ms = recent_hour_s() * 1000
        for i in range(sources + 200):
            feed.flush((), _progress(i % sources, i // sources, sources, at_ms + i))
        cost_us.append(1e6 * mean(feed.apply_s[sources:]))
    of_source = (cost_us[1] - cost_us[0]) / (SOURCES - 1) / SOURCE_MODELS
    figures.add(UNITS, "monitor_progress_us", cost_us[0], "µs", "a progress record")
    figures.add(UNITS, "monitor_source_us", max(0.0, of_source), "µs", "more for each source partition and model")


def _progress(source: int, start: int, sources: int, at_ms: int) -> bytes:
    of_source = PartitionProgress(partition=source, start=start, end=start + 1, newest_ms={}, caught_up_at_ms=at_ms)
    return encode(
        Progress(source_topic_id=TOPIC_ID, source_partitions=sources, counted_at_ms=at_ms, ranges=[of_source])
    )


def _measure_idle(testbed: Testbed, figures: Figures) -> None:
    """CPU time of processes without events."""
    testbed.create_topics("idle-", IDLE_PARTITIONS, partials=IDLE_PARTITIONS)
    kinds = "sketcher", "recorder", "monitor"
    with terminating(
        testbed.start_processor(kind, "idle", database="unit_all", prefix="idle-") for kind in kinds
    ) as processes:
        for process in processes:
            process.wait_assigned(IDLE_PARTITIONS)
        time.sleep(SETTLE_S)
        engine_s, before = testbed.engine_cpu_s(), [process.sample().cpu_s for process in processes]
        time.sleep(IDLE_S)
        for kind, process, began_s in zip(kinds, processes, before, strict=True):
            share = (process.sample().cpu_s - began_s) / IDLE_S
            figures.add(UNITS, f"{kind}_idle", share, "cores", f"{IDLE_PARTITIONS} partitions, no events")
        of_process = (testbed.engine_cpu_s() - engine_s) / IDLE_S / len(processes)
        figures.add(UNITS, "engine_idle", of_process, "cores", "for each process, its reports and queries")


def _measure_records(testbed: Testbed, figures: Figures) -> None:
    """CPU time of the monitor's process for one record beyond the work on it: fetching, Faust, acknowledging."""
    topics = testbed.create_topics("records-")
    with terminating([testbed.start_processor("monitor", "records", database="unit_all", prefix="records-")]) as (
        monitor,
    ):
        monitor.wait_assigned()
        time.sleep(SETTLE_S)
        idle, clock, spent = figures.value(UNITS, "monitor_idle"), time.monotonic(), [monitor.sample().cpu_s]
        testbed.fill(topics.partials, [_progress(0, i, 1, i) for i in range(RECORDS)])
        # The monitor logs nothing for such a record: it is done when it is as idle as before.
        while len(spent) < 4 or spent[-1] - spent[-3] > 2 * (idle + 0.03):
            time.sleep(1.0)
            spent.append(monitor.sample().cpu_s)
        work_s = spent[-1] - spent[0] - idle * (time.monotonic() - clock)
    of_one = 1e6 * work_s / RECORDS - figures.value(UNITS, "monitor_progress_us")
    figures.add(UNITS, "monitor_record_us", max(0.0, of_one), "µs", "receiving a record, without its work")
