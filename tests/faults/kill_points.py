"""Places inside a processor at which it waits to be killed, when the harness has asked for it.

A place is armed by an empty file `INSTANCE.PLACE` in a folder. The processor that comes to it renames the file to
`INSTANCE.PLACE.reached` and stands still until that file is gone. Nothing of this is in the product: the places are
put around its functions when the harness starts it.
"""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import Any

PLACES = {
    "sketcher": ("in-transaction", "offsets-sent", "committed"),
    "recorder": ("before-insert", "half-inserted", "inserted", "in-transaction", "offsets-sent", "committed"),
    "monitor": ("before-write", "half-written", "written"),
    "scorer": ("half-scored", "scored"),
}
"""Where each kind of processor can be made to wait.

`in-transaction`: all records of a transaction are in the log, the offsets are not; `offsets-sent`: both are, and
nothing is committed; `committed`: everything is, and the processor does not know yet. `inserted`, `written`,
`scored`: the warehouse has answered, Kafka has not been told. The halves: some tables are written, some are not.
"""


class Places:
    """The places of one process."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._folder, self._instance = folder, instance

    def is_armed(self, place: str) -> bool:
        """Whether the next to come to a place is to wait there."""
        return self._file(place).exists()

    def stop_at(self, place: str) -> None:
        """Wait here if the place is armed."""
        armed, reached = self._file(place), reached_file(self._folder, self._instance, place)
        try:
            armed.rename(reached)
        except FileNotFoundError:
            return
        while reached.exists():
            time.sleep(0.02)

    def _file(self, place: str) -> Path:
        return armed_file(self._folder, self._instance, place)


def armed_file(folder: Path, instance: str, place: str) -> Path:
    """The file that arms a place."""
    return folder / f"{instance}.{place}"


def reached_file(folder: Path, instance: str, place: str) -> Path:
    """The file that says that a processor waits there; deleting it lets the processor go on."""
    return folder / f"{instance}.{place}.reached"


class PlacedProducer:
    """A transactional producer with places before, in and after the end of a transaction."""

    def __init__(self, producer: Any, places: Places, idle_messages: int) -> None:
        """Wrap a producer.

        Args:
            producer: of confluent-kafka.
            places: of the process.
            idle_messages: what an idle transaction holds; only ones with more are worth a fault.
        """
        self._producer, self._places, self._idle, self._held = producer, places, idle_messages, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def begin_transaction(self) -> None:
        self._held = 0
        self._producer.begin_transaction()

    def produce(self, *args: Any, **kwargs: Any) -> None:
        self._producer.produce(*args, **kwargs)
        self._held += 1

    def send_offsets_to_transaction(self, *args: Any) -> None:
        if self._places.is_armed("in-transaction") and self._held > self._idle:
            # So that what an abort must hide is in the log.
            self._producer.flush(30)
            self._places.stop_at("in-transaction")
        self._producer.send_offsets_to_transaction(*args)
        if self._held > self._idle:
            self._places.stop_at("offsets-sent")

    def commit_transaction(self, *args: Any) -> None:
        self._producer.commit_transaction(*args)
        if self._held > self._idle:
            self._places.stop_at("committed")


def install(kind: str, places: Places) -> None:
    """Put the places of a kind of processor around its functions."""
    {"sketcher": _sketcher, "recorder": _recorder, "monitor": _monitor, "scorer": _scorer}[kind](places)


def _sketcher(places: Places) -> None:
    from streams.sketcher.sketcher import Sketcher

    original = Sketcher.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # An idle flush holds one progress record for each partition of `partials`.
        wrapped = PlacedProducer(self._transactions._producer, places, self._partials_partitions)
        self._transactions._producer = wrapped

    Sketcher.__init__ = init  # type: ignore[method-assign]


def _recorder(places: Places) -> None:
    from streams.recorder.recorder import Recorder

    module: Any = importlib.import_module("streams.recorder.recorder")

    original, write, commit, insert = Recorder.__init__, Recorder._write, Recorder._commit, module.insert_arrow

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        # A batch without dead letters holds offsets alone, and is none the less one.
        self._transactions._producer = PlacedProducer(self._transactions._producer, places, -1)

    def placed_write(self: Any, batch: Any, stop: Any) -> bool:
        if batch.rows:
            places.stop_at("before-insert")
        return write(self, batch, stop)

    def placed_commit(self: Any, batch: Any) -> None:
        if batch.rows:
            places.stop_at("inserted")
        commit(self, batch)

    def placed_insert(client: Any, table: str, rows: Any) -> None:
        insert(client, table, rows)
        if table == "predictions":
            places.stop_at("half-inserted")

    Recorder.__init__ = init  # type: ignore[method-assign]
    Recorder._write = placed_write  # type: ignore[method-assign]
    Recorder._commit = placed_commit  # type: ignore[method-assign]
    module.insert_arrow = placed_insert


def _monitor(places: Places) -> None:
    from streams.monitor.state.store import WarehouseStore

    module: Any = importlib.import_module("streams.monitor.state.store")

    write, insert = WarehouseStore.write, module.insert_columns

    def placed_write(self: Any, commit: Any) -> None:
        # A commit without panes rests on nothing that could be counted twice.
        if commit.has_panes:
            places.stop_at("before-write")
        write(self, commit)
        if commit.has_panes:
            places.stop_at("written")

    def placed_insert(client: Any, table: str, columns: Any) -> None:
        insert(client, table, columns)
        if table == "panes":
            places.stop_at("half-written")

    WarehouseStore.write = placed_write  # type: ignore[method-assign]
    module.insert_columns = placed_insert


def _scorer(places: Places) -> None:
    from streams.scorer.worker import Scorer

    score, entries = Scorer._score_model, Scorer._run_pass

    def placed_score(self: Any, *args: Any, **kwargs: Any) -> Any:
        done = score(self, *args, **kwargs)
        if done.arrived:
            places.stop_at("half-scored")
        return done

    def placed_pass(self: Any, client: Any) -> Any:
        done = entries(self, client)
        if done.arrived:
            places.stop_at("scored")
        return done

    Scorer._score_model = placed_score  # type: ignore[method-assign]
    Scorer._run_pass = placed_pass  # type: ignore[method-assign]
