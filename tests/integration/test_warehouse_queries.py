"""The named queries of processors and of `status`, on the real engine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pyarrow as pa
import pytest

from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations import status
from barograph_server.warehouse.tables import SCHEMAS, insert_rows
from tests.support.warehouse import row

pytestmark = pytest.mark.engine
ODD = "it's “Größe” \\ 📈"
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)


def test_the_contract_in_force_is_the_last_applied(client: Client) -> None:
    for model, contract_id, hours in ((ODD, "a", 1), (ODD, "b", 2), (ODD, "a", 3), ("m", "c", 1)):
        values = {"model": model, "contract_id": contract_id, "yaml": f"{contract_id} at {hours}"}
        insert_rows(client, "contracts", [row("contracts", **values, applied_at=NOW + hours * HOUR)])
    assert queries.contracts(client) == [
        queries.ContractRow(ODD, "a", "a at 3", NOW + 3 * HOUR),
        queries.ContractRow("m", "c", "c at 1", NOW + HOUR),
    ]


def test_baselines_come_in_the_order_in_which_they_take_effect(client: Client) -> None:
    first = datetime(1970, 1, 1, tzinfo=UTC)
    applied = [
        ("m", "1", "a", first, 1),
        ("m", "1", "b", NOW, 2),
        ("m", "1", "a", NOW + HOUR, 3),
        ("m", "1", "c", NOW, 4),
        ("m", "2", "d", first, 1),
        (ODD, "1", "e", first, 1),
    ]
    for model, version, baseline_id, since, order in reversed(applied):
        values = {"model": model, "version": version, "baseline_id": baseline_id, "effective_from": since}
        insert_rows(client, "baselines", [row("baselines", **values, body="{}", accepted_at=NOW + order * HOUR)])
    result = [(b.version, b.baseline_id, b.effective_from) for b in queries.baselines(client, "m")]
    assert result == [("1", "a", first), ("1", "b", NOW), ("1", "c", NOW), ("1", "a", NOW + HOUR), ("2", "d", first)]
    assert [b.baseline_id for b in queries.baselines(client, ODD)] == ["e"]
    assert len(queries.baselines(client)) == len(applied)


def test_the_stamp_changes_with_every_application_and_with_nothing_else(client: Client) -> None:
    stamps = [queries.registry_stamp(client)]
    contract = row("contracts", model="m", contract_id="a", applied_at=NOW)
    insert_rows(client, "contracts", [contract])
    stamps.append(queries.registry_stamp(client))
    # From a machine with a slow clock.
    insert_rows(client, "baselines", [row("baselines", model="m", version="1", accepted_at=NOW)])
    stamps.append(queries.registry_stamp(client))
    insert_rows(client, "baselines", [row("baselines", model="m", version="2", accepted_at=NOW - HOUR)])
    stamps.append(queries.registry_stamp(client))
    assert len(set(stamps)) == 4
    insert_rows(client, "contracts", [contract])
    assert queries.registry_stamp(client) == stamps[-1]


def test_state_of_a_partition_of_partials(client: Client) -> None:
    ledger = queries.LedgerRow(3, 0, 2**63, {ODD: -5, "m": 2**40}, NOW, 8, NOW, "source", "parts", 1, 2**48 + 7)
    for record_seq, end in ((6, 10), (7, 2**63)):
        values = {"watermarks": ledger.watermarks, "last_event_at": NOW, "counted_at": NOW, "partitions": 8}
        values |= {"source_topic_id": "source", "partials_topic_id": "parts", "epoch": 1, "end_offset": end}
        for partials_partition in (3, 4):
            key = {"partials_partition": partials_partition, "source_partition": 0, "record_seq": 2**48 + record_seq}
            insert_rows(client, "offset_ledger", [row("offset_ledger", **values | key)])
    assert queries.offset_ledger(client, 3) == [ledger]
    assert queries.offset_ledger(client, 5) == []
    values = {"partials_partition": 3, "source_partition": 1, "start_offset": 5, "end_offset": 9, "from_time": NOW}
    values |= {"to_time": NOW + HOUR, "reason": ODD, "recorded_at": NOW}
    for record_seq in (2**48 + 1, 2**48 + 1, 2**48 + 3, 2 * 2**48):
        insert_rows(client, "losses", [row("losses", **values, record_seq=record_seq)])
    assert [(loss.epoch, loss.record_seq) for loss in queries.losses(client, 3)] == [(1, 2**48 + 3), (2, 2 * 2**48)]
    assert queries.losses(client, 3)[0].reason == ODD
    insert_rows(client, "losses", [row("losses", **values | {"partials_partition": 4}, record_seq=2**48)])
    assert [(lost.epoch, lost.offsets) for lost in status.lost_ranges(client)] == [(1, 4), (2, 4)]


def test_cells_are_read_by_model_range_version_and_baseline(client: Client) -> None:
    start_s = int(NOW.timestamp()) // 3600 * 3600
    for table, read in (("panes", queries.panes), ("rollups", queries.rollups)):
        pane_s = 60 if table == "panes" else 3600
        rows = [
            row(
                table, model=model, version=version, baseline_id=baseline_id, pane_start=start_s + 60 * i, pane_s=pane_s
            )
            | {"n": i, "counts": list(range(i)), "sketch": bytes([255, 0, i]), "record_seq": 1}
            for model in (ODD, "m")
            for version, baseline_id in (("1", "a"), ("1", ODD), (ODD, "a"))
            for i in range(4)
        ]
        insert_rows(client, table, rows)
        result = read(client, ODD, start_s + 60, start_s + 180, version="1", baseline_id=ODD).sort_by("n")
        assert result.schema.names == SCHEMAS[table].names
        assert result["n"].to_pylist() == [1, 2]
        assert result["pane_start"].to_pylist() == [start_s + 60, start_s + 120]
        assert result["counts"].to_pylist() == [[0], [0, 1]]
        assert result["sketch"].to_pylist() == [b"\xff\x00\x01", b"\xff\x00\x02"]
        assert result["sketch"].type == pa.binary()
        assert read(client, ODD, start_s, start_s + 240).num_rows == 12
        assert read(client, ODD, start_s, start_s + 240, version=ODD).num_rows == 4
        assert "sketch" not in read(client, "m", start_s, start_s + 240, sketches=False).schema.names
        nothing = read(client, "none", start_s, start_s + 240)
        assert (nothing.num_rows, nothing.schema.names) == (0, SCHEMAS[table].names)


def test_freshness_is_queried_and_not_inferred(client: Client) -> None:
    start = NOW.replace(minute=0, second=0) - 3 * HOUR
    panes = [("1", 0, 5), ("1", 1, 0), ("1", 2, 0), ("2", 0, 0)]
    for version, hours, n in panes:
        values = {"model": "m", "version": version, "slice": "all", "pane_s": 3600, "n": n, "record_seq": 1}
        insert_rows(client, "volume", [row("volume", **values, pane_start=start + hours * HOUR)])
    for record_seq, hours in ((1, 1), (2, 3)):
        values = {"model": "m", "watermark": start, "sealed_until": start + hours * HOUR, "updated_at": NOW}
        insert_rows(client, "progress", [row("progress", **values, record_seq=record_seq)])
    insert_rows(client, "progress", [row("progress", model="quiet", record_seq=1)])
    insert_rows(client, "contracts", [row("contracts", model="applied"), row("contracts", model="m")])
    applied, one, two, quiet = status.freshness(client)
    assert (applied.model, applied.version, applied.sealed_until.year) == ("applied", "", 1970)
    assert (one.model, one.version, one.last_traffic_at) == ("m", "1", start + HOUR)
    assert (one.last_counted_at, one.sealed_until) == (start + 3 * HOUR, start + 3 * HOUR)
    age_s = (datetime.now(UTC) - start).total_seconds()
    assert one.traffic_age_s == pytest.approx(age_s - 3600, abs=60)
    assert one.sealed_age_s == pytest.approx(age_s - 3 * 3600, abs=60)
    assert (two.version, two.last_traffic_at.year, two.last_counted_at) == ("2", 1970, start + HOUR)
    assert (quiet.model, quiet.version) == ("quiet", "")


def test_the_last_report_of_each_processor(client: Client) -> None:
    for instance, ago_s, events in (("a", 100, 5), ("a", 10, 7), ("b", 40, 1)):
        values = {"kind": "sketcher", "instance": instance, "events": events, "details": {"flush_s": 0.5}}
        at = datetime.now(UTC) - timedelta(seconds=ago_s)
        insert_rows(client, "processors", [row("processors", **values, at=at)])
    a, b = status.processors(client)
    assert (a.instance, a.events, a.details, b.instance, b.events) == ("a", 7, {"flush_s": 0.5}, "b", 1)
    assert 9 <= a.silent_s < b.silent_s < 100


@pytest.mark.parametrize(("table", "read"), [("drift", status.latest_drift), ("rates", status.latest_rates)])
def test_the_newest_verdict_of_each_field_and_window(client: Client, table: str, read: Any) -> None:
    end = NOW.replace(minute=0, second=0)
    key = {"model": ODD, "version": "1", "baseline_id": "b", "slice": "all"}
    judged = [
        ("x", "1h", 0, 1, "stable"),
        ("x", "1h", 1, 2, "minor"),
        ("x", "1h", 1, 3, "major"),
        ("x", "1d", 0, 1, "stable"),
        ("y", "1h", 0, 1, "insufficient"),
        ("long ago", "1h", -24 * 30, 1, "major"),
    ]
    for field, window, hours, record_seq, level in judged:
        times = {"window_start": end + (hours - 1) * HOUR, "window_end": end + hours * HOUR}
        values = {"field": field, "window": window, "record_seq": record_seq, "level": level}
        insert_rows(client, table, [row(table, **key, **values, **times)])
    insert_rows(client, "progress", [row("progress", model=ODD, sealed_until=end + HOUR, record_seq=1)])
    result = [(v.field, v.window, v.level, v.revisions) for v in read(client, ODD)]
    assert result == [("x", "1d", "stable", 1), ("x", "1h", "major", 2), ("y", "1h", "insufficient", 1)]
    assert read(client, "m") == []
    assert read(client, ODD, "country=DE") == []


def test_replicated_tables_are_synced() -> None:
    messages: list[str] = []

    class Cluster(Client):
        def __init__(self) -> None:
            super().__init__(cast(Any, None), "cluster")

        @property
        def database(self) -> str:
            return "barograph"

        def rows(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            assert parameters["names"] == ("offset_ledger", "panes")
            return [("offset_ledger",), ("panes",)]

        def command(self, sql: str, parameters: Any = None) -> None:
            messages.append(sql)

    queries.sync_replicas(Cluster(), "offset_ledger", "panes")
    assert messages == ["SYSTEM SYNC REPLICA offset_ledger LIGHTWEIGHT", "SYSTEM SYNC REPLICA panes LIGHTWEIGHT"]
