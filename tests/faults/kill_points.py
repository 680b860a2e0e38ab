"""Kill points, at which a processor waits to be killed; the harness wraps the product's functions at its start.

An empty file `INSTANCE.POINT` arms a kill point; the processor that reaches it renames the file to
`INSTANCE.POINT.reached` and waits until that is deleted.
"""

import importlib
import time
from pathlib import Path
from typing import Any

KILL_POINTS = {
    "sketcher": ("in-transaction", "offsets-sent", "committed"),
    "recorder": ("before-insert", "half-inserted", "inserted", "in-transaction", "offsets-sent", "committed"),
    "monitor": ("before-write", "half-written", "written"),
    "scorer": ("half-scored", "scored"),
}
"""The kill points of each kind of processor.

`in-transaction`: all records of a transaction are in the log, its offsets are not. `offsets-sent`: records and offsets
are sent, the transaction is open. `committed`: the transaction is committed, the processor has not processed the reply.
`inserted`, `written`, `scored`: ClickHouse has acknowledged the rows, their offsets are not committed to Kafka.
`half-…`: some of the tables are written.
"""

PAIRING_POINTS = {"recorder": ("half-inserted", "inserted"), "scorer": ("half-paired", "half-scored", "scored")}
"""The kill points of the run with a shadow. `half-paired`: rows of `shadow_pairs` are written, those of windows that
became empty and the checkpoint are not."""


class KillPoints:
    def __init__(self, folder: Path, instance: str) -> None:
        self._folder, self._instance = folder, instance

    def is_armed(self, point: str) -> bool:
        return armed_file(self._folder, self._instance, point).exists()

    def stop_at(self, point: str) -> None:
        at = self._folder, self._instance, point
        try:
            reached = armed_file(*at).rename(reached_file(*at))
        except FileNotFoundError:
            return
        while reached.exists():
            time.sleep(0.02)


def armed_file(folder: Path, instance: str, point: str) -> Path:
    return folder / f"{instance}.{point}"


def reached_file(folder: Path, instance: str, point: str) -> Path:
    return folder / f"{instance}.{point}.reached"


class KillPointProducer:
    """A transactional producer with kill points before, during and after the commit of a transaction."""

    def __init__(self, producer: Any, points: KillPoints, idle_messages: int) -> None:
        """Wrap a producer; only transactions with more than `idle_messages` stop at kill points."""
        self._producer, self._places, self._idle, self._n_messages = producer, points, idle_messages, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def begin_transaction(self) -> None:
        self._n_messages = 0
        self._producer.begin_transaction()

    def produce(self, *args: Any, **kwargs: Any) -> None:
        self._producer.produce(*args, **kwargs)
        self._n_messages += 1

    def send_offsets_to_transaction(self, *args: Any) -> None:
        if self._places.is_armed("in-transaction") and self._n_messages > self._idle:
            # The flush puts the records into the log, where an abort must hide them.
            self._producer.flush(30)
            self._places.stop_at("in-transaction")
        self._producer.send_offsets_to_transaction(*args)
        if self._n_messages > self._idle:
            self._places.stop_at("offsets-sent")

    def commit_transaction(self, *args: Any) -> None:
        self._producer.commit_transaction(*args)
        if self._n_messages > self._idle:
            self._places.stop_at("committed")


def install(kind: str, points: KillPoints) -> None:
    installers = {"sketcher": _sketcher, "recorder": _recorder, "monitor": _monitor, "scorer": _scorer, "guard": _guard}
    installers[kind](points)


def _guard(points: KillPoints) -> None:
    from barograph_server.alerts.guard.health_log import HealthLog

    publish = HealthLog.publish

    def publish_with_points(self: Any, records: Any) -> bool:
        points.stop_at("before-publish")
        return publish(self, records)

    HealthLog.publish = publish_with_points  # type: ignore[method-assign]


def _sketcher(points: KillPoints) -> None:
    from barograph_server.streams.sketcher.sketcher import Sketcher

    original = Sketcher.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # An idle flush holds one progress record for each partition of `partials`.
        wrapped = KillPointProducer(self._transactions._producer, points, self._partials_partitions)
        self._transactions._producer = wrapped

    Sketcher.__init__ = init  # type: ignore[method-assign]


def _recorder(points: KillPoints) -> None:
    from barograph_server.streams.recorder.recorder import Recorder

    module: Any = importlib.import_module("barograph_server.streams.recorder.recorder")
    original, write, commit, insert = Recorder.__init__, Recorder._write, Recorder._commit, module.insert_arrow

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # A transaction without dead letters holds offsets alone and still has kill points.
        self._transactions._producer = KillPointProducer(self._transactions._producer, points, -1)

    def write_with_points(self: Any, batch: Any, stop: Any) -> bool:
        if batch.rows:
            points.stop_at("before-insert")
        return write(self, batch, stop)

    def commit_with_points(self: Any, batch: Any) -> None:
        if batch.rows:
            points.stop_at("inserted")
        commit(self, batch)

    def insert_with_points(client: Any, table: str, rows: Any) -> None:
        insert(client, table, rows)
        if table == "predictions":
            points.stop_at("half-inserted")

    Recorder.__init__ = init  # type: ignore[method-assign]
    Recorder._write = write_with_points  # type: ignore[method-assign]
    Recorder._commit = commit_with_points  # type: ignore[method-assign]
    module.insert_arrow = insert_with_points


def _monitor(points: KillPoints) -> None:
    from barograph_server.streams.monitor.state.store import WarehouseStore

    module: Any = importlib.import_module("barograph_server.streams.monitor.state.store")
    write, insert = WarehouseStore.write, module.insert_columns

    def write_with_points(self: Any, commit: Any) -> None:
        # A commit without panes has no counts that a repeat could double.
        has_panes = any(commit.columns("panes"))
        if has_panes:
            points.stop_at("before-write")
        write(self, commit)
        if has_panes:
            points.stop_at("written")

    def insert_with_points(client: Any, table: str, columns: Any) -> None:
        insert(client, table, columns)
        if table == "panes":
            points.stop_at("half-written")

    WarehouseStore.write = write_with_points  # type: ignore[method-assign]
    module.insert_columns = insert_with_points


def _scorer(points: KillPoints) -> None:
    from barograph_server.streams.scorer.worker import Scorer
    from barograph_server.warehouse.client import Client

    score, run_pass, insert = Scorer._score_model, Scorer._run_pass, Client.insert_selected

    def score_with_points(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = score(self, *args, **kwargs)
        if result.arrived:
            points.stop_at("half-scored")
        return result

    def pass_with_points(self: Any, client: Any) -> Any:
        result = run_pass(self, client)
        if result.arrived:
            points.stop_at("scored")
        return result

    def insert_with_points(self: Any, table: str, *args: Any) -> None:
        insert(self, table, *args)
        if table == "shadow_pairs":
            points.stop_at("half-paired")

    Client.insert_selected = insert_with_points  # type: ignore[method-assign,assignment]
    Scorer._score_model = score_with_points  # type: ignore[method-assign]
    Scorer._run_pass = pass_with_points  # type: ignore[method-assign]
