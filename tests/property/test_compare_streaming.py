"""`compare` gives the verdicts of the pipeline, bit for bit: events, decoder, sketcher, partials, monitor, rows."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from barograph.contract import Contract, Window
from barograph.events import BATCH_ROWS, encode_arrow
from barograph.publisher.pii import Pii
from barograph.publisher.tables import PredictionTables

from barograph_server.batch.compare.compare import CompareOptions, compare_tables
from barograph_server.batch.compare.html import CompareReport
from barograph_server.profiling.infer.columns import read_times_ms
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import memory_table
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.monitor.partition import Pace, PartitionState
from barograph_server.streams.monitor.state.commit_rows import CommitRows
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.records import OffsetRange, Partial, PartitionProgress, Progress, decode
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from barograph_server.streams.sketcher.partial_messages import encode_partials
from barograph_server.streams.sketcher.summarise import FlushSummaries
from barograph_server.warehouse.tables import insert_columns
from tests.support import odd_tables
from tests.support.memory_warehouse import MemoryWarehouse

DAY_S = 86_400
ROWS = 3_000
SOURCE, PARTIALS = "predictions", "partials"
NOT_COMPARED = ("window", "judged_at", "record_seq", "model", "version", "baseline_id", "completeness")
Verdicts = dict[tuple[Any, ...], dict[str, Any]]


def regression(rng: np.random.Generator, n: int) -> pa.Table:
    x = rng.normal(size=n)
    y = 3 * x + rng.normal(size=n)
    return pa.table(
        {
            "at": pa.array(odd_tables.START_S * 1000 + rng.integers(0, 30 * DAY_S * 1000, n), pa.timestamp("ms")),
            "x": odd_tables.nulled(rng, pa.array(x), 0.05),
            "region": pa.array(np.array(["north", "south", "west"])[rng.integers(0, 3, n)]),
            "forecast": odd_tables.nulled(rng, pa.array(2.9 * x), 0.01),
            "sold": pa.array(y),
        }
    )


TABLES = {**odd_tables.ODD_TABLES, "regression": regression}
ROLES = {**odd_tables.ROLES, "regression": {"time": "at", "score": "forecast", "label": "sold", "slices": ("region",)}}


def production_table(name: str) -> pa.Table:
    table = TABLES[name](np.random.default_rng(11), ROWS)
    if name == "regression":
        errors = np.random.default_rng(5).choice(["", "timeout"], ROWS, p=[0.9, 0.1])
        table = table.append_column("error", pa.array(errors))
        forecast = np.where(errors == "", table["forecast"].to_numpy(), np.nan)
        table = table.set_column(table.column_names.index("forecast"), "forecast", pa.array(forecast, from_pandas=True))
    # Arrow cannot reorder views of texts.
    views = {field.name: pa.string() for field in table.schema if pa.types.is_string_view(field.type)}
    table = table.cast(pa.schema([pa.field(f.name, views.get(f.name, f.type)) for f in table.schema]))
    return table.take(pa.array(np.random.default_rng(3).permutation(table.num_rows)))


def report_of(name: str, by: Any) -> CompareReport:
    roles = ROLES.get(name, {})
    options = CompareOptions(roles=Roles(**roles), by=by if "time" in roles else None, is_multivariate=False)
    training = memory_table("training", TABLES[name](np.random.default_rng(7), ROWS))
    return compare_tables(training, memory_table("production", production_table(name)), options)


def served(contract: Contract, table: pa.Table, roles: dict[str, Any]) -> pa.Table:
    """The rows as a serving system publishes them; durations and times of day are in seconds."""
    outputs = {"score": roles.get("score"), "class": roles.get("class_"), "latency_ms": roles.get("latency")}
    columns: dict[str, Any] = {"id": pa.array([str(i) for i in range(table.num_rows)])}
    for source in dict.fromkeys(contract.sources):
        if source == "confidence":
            continue
        column = table[outputs.get(source) or source.removeprefix("features.")]
        if pa.types.is_duration(column.type):
            column = pa.chunked_array([column.cast(pa.int64()).to_numpy() / 1e6])
        elif pa.types.is_time(column.type):
            column = column.cast(pa.int32())
        columns[source] = column
    if "error" in table.column_names:
        columns["error"] = table["error"]
    times = np.zeros(table.num_rows, np.int64)
    if "time" in roles:
        times, _, _ = read_times_ms(memory_table("production", table), roles["time"])
    return pa.table({**columns, "at": pa.array(times)})


def messages(contract: Contract, rows: pa.Table) -> Iterator[bytes]:
    tables = PredictionTables(contract, "1", Pii(Contract(model=contract.model), b""))
    for block in tables.blocks(rows):
        assert not block.n_rejected
        for start in range(0, block.rows.num_rows, BATCH_ROWS):
            yield encode_arrow(block.rows.slice(start, BATCH_ROWS))


class VerdictStore(WarehouseStore):
    def write(self, commit: CommitRows) -> None:
        for table in ("drift", "rates"):
            for columns in commit.columns(table):
                insert_columns(self._client, table, columns)


def stream(registry: Registry, contract: Contract, rows: pa.Table) -> MemoryWarehouse:
    """Replay rows through the code of the sketcher, in several flushes, and of the monitor."""
    decoder, warehouse = ArrowDecoder(registry), MemoryWarehouse()
    store = VerdictStore(warehouse)  # type: ignore[arg-type]
    state = PartitionState(0, (PARTIALS, 1), store, lambda: registry, Pace(False, 0.0, 0.0))
    values, offset = list(messages(contract, rows)), 0
    flushes = [values[i : i + 2] for i in range(0, len(values), 2)]
    latest_ms = int(np.max(rows["at"].to_numpy()))
    for number, flush in enumerate(flushes):
        n = len(flush)
        decoded = decoder.decode(MessageBatch(flush, np.zeros(n, np.int32), np.arange(n), np.full(n, latest_ms)))
        assert not decoded.rejected
        summaries = FlushSummaries(registry)
        for events in decoded.events:
            summaries.add(events)
        covered = OffsetRange(0, 2 * number, 2 * number + n)
        for key, pane in summaries.panes.items():
            for data in encode_partials(key, pane, SOURCE, [covered]):
                partial = decode(data)
                assert isinstance(partial, Partial)
                assert state.merge_partial(partial, offset) is None
                offset += 1
        progress = PartitionProgress(
            partition=0, start=covered.start, end=covered.end, newest_ms={}, end_mark=number == len(flushes) - 1
        )
        record = Progress(source_topic_id=SOURCE, source_partitions=1, counted_at_ms=1, ranges=[progress])
        commit, _ = state.apply_progress(record, offset)
        offset += 1
        if commit is not None:
            store.write(commit)
    return warehouse


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its revision; floats as their bits, so that NaN equals NaN and -0 does not equal 0."""
    return {
        name: value.hex() if isinstance(value, float) else value
        for name, value in row.items()
        if name not in (*NOT_COMPARED, "window_start", "window_end")
    }


def verdicts(table: str, rows: list[dict[str, Any]]) -> Verdicts:
    """Verdicts by the end of their window, slice, field and kind."""
    keys = ("slice", "field", "kind") if table == "rates" else ("slice", "field")
    return {(row["window_end"], *(row[name] for name in keys)): plain(row) for row in rows}


def assert_equal_verdicts(name: str, by: Any, window: Window, pane_s: int) -> None:
    report = report_of(name, by)
    roles = ROLES.get(name, {})
    contract = msgspec.structs.replace(report.contract, windows=(window,), pane_s=pane_s, out_of_order_s=0)
    entry = RegisteredBaseline(report.baseline, report.baseline.id, 0, 1)
    registry = build_registry([(contract, 0)], [entry])
    warehouse = stream(registry, contract, served(contract, production_table(name), roles))
    ends_s = {period.end_s for period in report.periods}
    for table, rows in (("drift", report.drift), ("rates", report.rates)):
        of_window = [row for row in warehouse.last(table).values() if row["window"] == window.name]
        expected = verdicts(table, [row for row in of_window if row["window_end"] in ends_s])
        assert expected
        # The pipeline judges a replay only up to the next end of a window.
        last_s = max(end_s for end_s, *_ in expected)
        of_report = [{**row, "window_end": int(row["window_end"].timestamp())} for row in rows.to_pylist()]
        actual = verdicts(table, of_report)
        assert {key: row for key, row in actual.items() if key[0] <= last_s} == expected
        after = {end_s for end_s, *_ in actual if end_s > last_s}
        assert after <= {period.end_s for period in report.periods[-1:] if not period.is_whole}


@pytest.mark.parametrize("name", ["outputs", "regression", "many_classes"])
@pytest.mark.parametrize(
    ("by", "window", "pane_s"), [("day", Window(DAY_S, DAY_S), 3600), ("week", Window(7 * DAY_S, DAY_S), DAY_S)]
)
def test_verdicts_equal_those_of_the_pipeline(name: str, by: Any, window: Window, pane_s: int) -> None:
    assert_equal_verdicts(name, by, window, pane_s)


@pytest.mark.parametrize("name", sorted(set(odd_tables.ODD_TABLES) - {"outputs", "many_classes", "moments"}))
def test_tables_without_event_times_are_one_window(name: str) -> None:
    assert_equal_verdicts(name, None, Window(30 * DAY_S, 30 * DAY_S), 30 * DAY_S)


def test_timestamps_durations_and_times_of_day_are_read_as_in_training() -> None:
    assert_equal_verdicts("moments", "week", Window(7 * DAY_S, DAY_S), DAY_S)
