"""Cost of Kafka: cost of idle processors by partitions, and unit costs of the real processes.

The idle processors of all settings run side by side, each in its own consumer group. Only CPU time counts, so that
they can share the machine without affecting each other's figures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import msgspec
import pyarrow as pa
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER

from barograph_server.streams.records import PartitionProgress, Progress, encode
from barograph_server.warehouse.tables import SCHEMAS, insert_rows
from benchmarks.growth_measurement import Growth
from benchmarks.growth_store import BenchmarkDatabase, register
from benchmarks.processor_process import SETTLE_S, ProcessorProcess, terminating
from benchmarks.stack import Testbed, wait_until
from benchmarks.steady_publisher import SteadyPublisher
from benchmarks.synthetic_models import SyntheticModel, Templates, arrow_events, make_model, spread_times

SOURCES = (1, 16, 32, 64)
PARTIALS = (1, 16, 32, 64)
FLUSHES_S = (2.0, 4.0, 15.0)
FIXED_SOURCES, FIXED_PARTIALS = 4, 4
FLUSH_SOURCES, FLUSH_PARTIALS = 8, 16
"""Partitions while the flush interval varies."""
IDLE_S = 60.0
"""A whole minute, so that it contains every flush of a minute."""
EVENTS = 200_000
ARROW_EVENTS = 800_000
ARROW_ROWS = 1_000
DATABASE = "growth_kafka"
ARROW_BLOCK = 100_000
RAW_SHARE = 0.1
RECORDED_PER_S, FIXED_PER_S = (100, 500, 2_000, 4_000), 500
RECORDED_MODELS = (1, 4, 16)
RECORDED_S = 20.0
RECORDS = 20_000
IDLE_SAMPLE_S = 1.0
INSERT_ROWS, INSERTS, SMALL_INSERTS = 50_000, 6, 100
REPLAY = {"clock": "replay", "flush_s": 15.0}


def measure_partitions(testbed: Testbed, growth: Growth) -> None:
    """Measure idle sketchers by partitions, and idle monitors that read the records of those sketchers."""
    register(testbed, DATABASE, [make_model()])
    settings = [(n, FIXED_PARTIALS, 15.0) for n in SOURCES]
    settings += [(FIXED_SOURCES, n, 15.0) for n in PARTIALS if n != FIXED_PARTIALS]
    settings += [(FLUSH_SOURCES, FLUSH_PARTIALS, flush_s) for flush_s in FLUSHES_S]
    prefixes = [f"idle-{i:02d}-" for i in range(len(settings))]
    for prefix, (sources, partials, _) in zip(prefixes, settings, strict=True):
        testbed.create_topics(prefix, sources, partials=partials)
    starting = (
        ProcessorProcess(testbed, "sketcher", "idle", database=DATABASE, prefix=prefix, flush_s=flush_s)
        for prefix, (_, _, flush_s) in zip(prefixes, settings, strict=True)
    )
    with ExitStack() as stack:
        sketchers = stack.enter_context(terminating(starting))
        for sketcher, (sources, _, _) in zip(sketchers, settings, strict=True):
            sketcher.wait_assigned(sources)
        varied_partials = [
            i for i, (sources, _, flush_s) in enumerate(settings) if sources == FIXED_SOURCES and flush_s == 15
        ]
        of_flushes = list(range(len(settings) - len(FLUSHES_S), len(settings)))
        followed = [*varied_partials, *of_flushes]
        monitors = stack.enter_context(
            terminating(
                ProcessorProcess(testbed, "monitor", "idle", database=DATABASE, prefix=prefixes[i]) for i in followed
            )
        )
        for monitor, i in zip(monitors, followed, strict=True):
            monitor.wait_assigned(settings[i][1])
        engine = testbed.engine_cpu_s()
        began = time.monotonic()
        costs = _shares(sketchers + monitors)
        engine_share = (testbed.engine_cpu_s() - engine) / (time.monotonic() - began)
    of_sketchers, of_monitors = costs[: len(settings)], costs[len(settings) :]
    growth.unit("idle_engine_share", engine_share)
    growth.unit("idle_processes", len(costs))
    growth.unit("idle_partials", sum(settings[i][1] for i in followed))
    constants = f"no events, a flush every 15 s, {FIXED_PARTIALS} partitions of `partials`"
    _add(
        growth, "sketcher", "waiting by sources", "source partitions", constants, SOURCES, of_sketchers[: len(SOURCES)]
    )
    counts = [settings[i][1] for i in varied_partials]
    constants = f"no events, a flush every 15 s, {FIXED_SOURCES} source partitions"
    _add(
        growth,
        "sketcher",
        "waiting by partials",
        "partitions of `partials`",
        constants,
        counts,
        [of_sketchers[i] for i in varied_partials],
    )
    _add(
        growth,
        "monitor",
        "waiting by partials",
        "partitions of `partials`",
        f"{constants}, 1 sketcher",
        counts,
        of_monitors[: len(counts)],
    )
    per_minute = [60 / flush_s for flush_s in FLUSHES_S]
    constants = f"no events, {FLUSH_SOURCES} source partitions, {FLUSH_PARTIALS} of `partials`"
    result = of_sketchers[-len(FLUSHES_S) :]
    _add(growth, "sketcher", "waiting by flushes", "flushes a minute", constants, per_minute, result)
    result = of_monitors[len(counts) :]
    _add(growth, "monitor", "waiting by flushes", "flushes a minute", f"{constants}, 1 sketcher", per_minute, result)
    growth.unit("held_partials", FIXED_PARTIALS)
    growth.unit("held_flush_partials", FLUSH_PARTIALS)
    growth.unit("held_flushes", 60 / 15)


def _shares(processes: Sequence[ProcessorProcess], seconds: float = IDLE_S) -> list[float]:
    """The share of a core that each process uses once all have settled (%)."""
    time.sleep(SETTLE_S)
    before = [(process.sample().cpu_s, time.monotonic()) for process in processes]
    time.sleep(seconds)
    after = [(process.sample().cpu_s, time.monotonic()) for process in processes]
    return [100 * (c1 - c0) / (t1 - t0) for (c0, t0), (c1, t1) in zip(before, after, strict=True)]


def _add(
    growth: Growth,
    stage: str,
    name: str,
    factor: str,
    constants: str,
    factors: Sequence[float],
    costs: Sequence[float],
) -> None:
    cost = "CPU of a process at a low rate" if stage == "recorder" else "CPU of an idle process"
    growth.add(stage, name, cost, "% of a core", factor, constants, factors, costs)


def measure_recording(testbed: Testbed, growth: Growth) -> None:
    """Measure recorders at low rates: the cost of each poll and each insert, independent of the number of rows."""
    base = make_model()
    models = [base.named(f"synthetic-{i:02d}") for i in range(max(RECORDED_MODELS))]
    settings = [(rate, 1) for rate in RECORDED_PER_S] + [(FIXED_PER_S, n) for n in RECORDED_MODELS if n > 1]
    register(testbed, "growth_recording", models)
    templates = [Templates(model, 500, i + 1) for i, model in enumerate(models)]
    prefixes = [f"recorded-{i}-" for i in range(len(settings))]
    topics = [testbed.create_topics(prefix) for prefix in prefixes]
    with terminating(
        ProcessorProcess(testbed, "recorder", "slow", database="growth_recording", prefix=prefix) for prefix in prefixes
    ) as recorders:
        for recorder in recorders:
            recorder.wait_assigned()
        publishers = [
            SteadyPublisher(testbed.producer(), topic.predictions, templates[:n], rate)
            for topic, (rate, n) in zip(topics, settings, strict=True)
        ]
        for each in publishers:
            each.start()
        time.sleep(SETTLE_S)
        engine, began = testbed.engine_cpu_s(), time.monotonic()
        costs = _shares(recorders, RECORDED_S)
        engine_share = (testbed.engine_cpu_s() - engine) / (time.monotonic() - began)
        for each in publishers:
            each.stop()
    constants = "an insert a second, 1 model, JSON, 20 fields"
    n_rates = len(RECORDED_PER_S)
    _add(growth, "recorder", "waiting by rate", "events a second", constants, RECORDED_PER_S, costs[:n_rates])
    at = costs[RECORDED_PER_S.index(FIXED_PER_S)]
    constants = f"an insert a second, {FIXED_PER_S} events a second in all, JSON, 20 fields"
    _add(growth, "recorder", "waiting by models", "models", constants, RECORDED_MODELS, [at, *costs[n_rates:]])
    rows = sum(rate for rate, _ in settings) * growth.units["engine_json_us"] / 1e6
    growth.unit("engine_recorder_insert_ms", max(0.0, 1e3 * (engine_share - rows) / len(settings)))


def measure_units(testbed: Testbed, growth: Growth) -> None:
    """Unit costs of the real processes over Kafka: CPU and bytes per event and per row."""
    model = make_model()
    now_ms = int(time.time() * 1000)
    times = spread_times(EVENTS, now_ms - 300_000, now_ms)
    values = list(Templates(model, 5_000).events(times))
    _measure_form(testbed, growth, model, "json", values, EVENTS, None)
    shared = replace(model, contract=msgspec.structs.replace(model.contract, raw_share=RAW_SHARE))
    growth.unit("raw_share", RAW_SHARE)
    growth.unit("recorder_json_shared_us", _measure_recorder(testbed, shared, "json", values, None) / EVENTS)
    values = []
    for i in range(ARROW_EVENTS // ARROW_BLOCK):
        at_ms = times[i * EVENTS // (ARROW_EVENTS // ARROW_BLOCK)]
        values += arrow_events(model, ARROW_BLOCK, at_ms, at_ms + 10_000, rows=ARROW_ROWS, stream=i + 1)
    headers = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
    _measure_form(testbed, growth, model, "arrow", values, ARROW_EVENTS, headers)
    growth.unit("recorder_arrow_shared_us", _measure_recorder(testbed, shared, "arrow", values, headers) / ARROW_EVENTS)


def _measure_form(
    testbed: Testbed,
    growth: Growth,
    model: SyntheticModel,
    form: str,
    values: list[bytes],
    events: int,
    headers: list[tuple[str, bytes]] | None,
) -> None:
    prefix, database = f"unit-{form}-", f"unit_{form}"
    topics = testbed.create_topics(prefix)
    db = register(testbed, database, [model])
    # A few first, so that imports at the first use of libraries do not count.
    few = values[: len(values) // 20]
    with terminating(
        ProcessorProcess(testbed, kind, "unit", database=database, prefix=prefix, **REPLAY)
        for kind in ("sketcher", "recorder")
    ) as (sketcher, recorder):
        for process in (sketcher, recorder):
            process.wait_assigned()
        testbed.fill(topics.predictions, few, headers)
        for process in (sketcher, recorder):
            _wait_read(testbed, process, prefix, topics.predictions, len(few))
        # The processes then read the waiting messages in full batches, one process after the other.
        with recorder.suspended():
            with sketcher.suspended():
                testbed.fill(topics.predictions, values, headers)
                began = sketcher.sample().cpu_s
            _wait_read(testbed, sketcher, prefix, topics.predictions, len(few) + len(values))
            growth.unit(f"sketcher_{form}_us", 1e6 * (sketcher.sample().cpu_s - began) / events)
            began, engine = recorder.sample().cpu_s, db.engine_cpu_s()
        _wait_read(testbed, recorder, prefix, topics.predictions, len(few) + len(values))
        growth.unit(f"recorder_{form}_us", 1e6 * (recorder.sample().cpu_s - began) / events)
    with db.client() as client:
        rows, size = db.stored(client)["predictions"]
    # Includes merging all rows once; a long-lived table merges its rows several times.
    growth.unit(f"engine_{form}_us", 1e6 * (db.engine_cpu_s() - engine) / events)
    growth.unit(f"{form}_row_bytes", size / rows)
    growth.unit(f"{form}_event_bytes", sum(map(len, values)) / events)
    growth.unit(f"{form}_kafka_bytes", testbed.log_bytes(topics.predictions) / rows)


def _measure_recorder(
    testbed: Testbed, model: SyntheticModel, form: str, values: list[bytes], headers: list[tuple[str, bytes]] | None
) -> float:
    """CPU of the recorder for all messages (µs), with a contract that records a share of their events."""
    prefix, database = f"unit-shared-{form}-", f"unit_shared_{form}"
    topics = testbed.create_topics(prefix)
    register(testbed, database, [model])
    few = values[: len(values) // 20]
    with terminating([ProcessorProcess(testbed, "recorder", "unit", database=database, prefix=prefix, **REPLAY)]) as (
        recorder,
    ):
        recorder.wait_assigned()
        testbed.fill(topics.predictions, few, headers)
        _wait_read(testbed, recorder, prefix, topics.predictions, len(few))
        with recorder.suspended():
            testbed.fill(topics.predictions, values, headers)
            began = recorder.sample().cpu_s
        _wait_read(testbed, recorder, prefix, topics.predictions, len(few) + len(values))
        return 1e6 * (recorder.sample().cpu_s - began)


def measure_records(testbed: Testbed, growth: Growth) -> None:
    """CPU of the monitor's process for one record beyond the work on it: fetching, Faust, acknowledging."""
    prefix, database = "records-", "growth_records"
    topics = testbed.create_topics(prefix)
    register(testbed, database, [make_model()])
    idle = [
        encode(Progress(source_topic_id="growth", source_partitions=1, counted_at_ms=i, ranges=[
            PartitionProgress(partition=0, start=i, end=i + 1, newest_ms={}, caught_up_at_ms=i)]))
        for i in range(RECORDS)
    ]  # fmt: skip
    with terminating([ProcessorProcess(testbed, "monitor", "unit", database=database, prefix=prefix)]) as (monitor,):
        monitor.wait_assigned()
        time.sleep(SETTLE_S)
        before = monitor.sample().cpu_s
        time.sleep(SETTLE_S)
        waiting = (monitor.sample().cpu_s - before) / SETTLE_S
        began, clock = monitor.sample().cpu_s, time.monotonic()
        testbed.fill(topics.partials, idle)
        spent = [began]
        # The monitor logs nothing for a record that seals nothing: it is done when it is as idle as before.
        while len(spent) < 4 or spent[-1] - spent[-3] > 2 * IDLE_SAMPLE_S * (waiting + 0.02):
            time.sleep(IDLE_SAMPLE_S)
            spent.append(monitor.sample().cpu_s)
        took_s = time.monotonic() - clock
    line = growth.curve("monitor by sources").line
    of_one = 1e6 * (spent[-1] - began - waiting * took_s) / RECORDS
    work = line.fixed + line.slope / growth.units["monitor_progress_models"]
    growth.unit("monitor_record_us", max(0.0, of_one - work))


def _wait_read(testbed: Testbed, process: ProcessorProcess, prefix: str, topic: str, messages: int) -> None:
    group = f"{prefix}{process.kind}"
    wait_until(lambda: testbed.committed(group, topic) >= messages, f"the {process.kind} has read {messages} messages")


def measure_engine(testbed: Testbed, growth: Growth) -> None:
    """Measure the local engine: rows of predictions per second, and the cost of an insert of a few rows."""
    db = BenchmarkDatabase(testbed, "unit_json")
    with db.client() as client:
        names = ", ".join(SCHEMAS["predictions"].names)
        table = client.arrow(f"SELECT {names} FROM predictions LIMIT {INSERT_ROWS}")
        client.insert("predictions", table)
        began, engine = time.monotonic(), db.engine_cpu_s()
        for _ in range(INSERTS):
            client.insert("predictions", table)
        n = INSERTS * table.num_rows
        growth.unit("engine_rows_per_s", n / (time.monotonic() - began))
        growth.unit("engine_insert_us", 1e6 * (db.engine_cpu_s() - engine) / n)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(table)
        growth.unit("insert_row_bytes", sink.getvalue().size / table.num_rows)
        engine = db.engine_cpu_s()
        for i in range(SMALL_INSERTS):
            insert_rows(client, "topics", [{"name": f"t{i}", "topic_id": "growth", "partitions": 1, "recorded_at": i}])
        growth.unit("engine_small_insert_ms", 1e3 * (db.engine_cpu_s() - engine) / SMALL_INSERTS)
