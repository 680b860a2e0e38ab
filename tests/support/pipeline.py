"""A whole pipeline for one test: topics, contract, baseline, processors as separate processes, and waiting."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from barograph.contract import Contract, Field, Slice, Window
from barograph.contract.file import dump_contract
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from barograph_server.sketches.baseline.baseline import (
    QUANTILE_RANKS,
    Baseline,
    FieldBaseline,
    SliceCounts,
    SliceValues,
    dump_baseline,
)
from barograph_server.sketches.sketch.quantiles import exact_quantiles
from barograph_server.streams.topics import Topics
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, connect
from barograph_server.warehouse.errors import WarehouseBusy
from barograph_server.warehouse.tables import insert_rows
from tests.support import processor
from tests.support.forked_processors import Running, fork

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 280.0


def wait_for(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    began = time.monotonic()
    while True:
        result = condition()
        if result:
            return result
        waited = time.monotonic() - began
        if waited > patience_s:
            raise AssertionError(f"waited {patience_s:.0f} s for {what}; last seen: {result!r}")
        # Slow conditions are checked less often, since checks take CPU time from the processors.
        time.sleep(min(max(0.05, waited / 20), 0.3))


@dataclass
class Pipeline:
    bootstrap: str
    address: Address
    prefix: str
    log_dir: Path
    clock: str = "replay"
    partials_partitions: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    processes: dict[str, Running] = field(default_factory=dict)
    module: str = processor.__name__
    """The module started as a processor: the usual one, or one that injects faults."""
    environ: dict[str, str] = field(default_factory=dict)
    fresh_interpreter: bool = False
    """Whether processors start in a fresh interpreter, as for users, and not as forks with loaded modules."""
    _asked: dict[tuple[int, Address], Client] = field(default_factory=dict)
    """Thread and address → the client that `rows` reuses, since tests query ten times a second."""

    def __post_init__(self) -> None:
        weakref.finalize(self, _close, self._asked)

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix)

    @property
    def client(self) -> Client:
        return connect(self.address, create=True)

    def create(self, source_partitions: int = 1) -> None:
        topics, appended = self.topics, {"message.timestamp.type": "LogAppendTime"}
        source, compacted = {**appended, "max.message.bytes": str(1 << 20)}, {"cleanup.policy": "compact"}
        sources = topics.predictions, topics.labels, topics.waiting_answers
        expected = [NewTopic(name, source_partitions, 1, config=source) for name in sources]
        expected.append(NewTopic(topics.partials, self.partials_partitions, 1, config=appended))
        expected += [
            NewTopic(name, 1, 1) for name in (topics.predictions_dead, topics.labels_dead, topics.partials_dead)
        ]
        logs = (topics.dead_letters, topics.model_health, topics.prompts)
        expected += [NewTopic(name, 1, 1, config=compacted) for name in logs]
        self.create_topics(expected)
        with self.client as client:
            migrate.apply(client)

    def create_topics(self, topics: Iterable[NewTopic]) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.create_topics(list(topics)).values():
            future.result(30)

    def register(self, contract: Contract, baselines: Iterable[Baseline]) -> None:
        now = int(time.time() * 1000)
        with self.client as client:
            applied = {"model": contract.model, "contract_id": contract.id, "yaml": dump_contract(contract)}
            insert_rows(client, "contracts", [applied | {"applied_at": now}])
            insert_rows(client, "baselines", [baseline_row(each, 0, now + i) for i, each in enumerate(baselines)])

    def prepare(
        self, contract: Contract | None = None, baselines: Iterable[Baseline] | None = None, source_partitions: int = 1
    ) -> None:
        self.create(source_partitions)
        self.register(contract or simple_contract(), [simple_baseline()] if baselines is None else baselines)

    def start_all(self, *kinds: str, **settings: Any) -> None:
        for kind in kinds:
            self.start(kind, **settings)

    def start(self, kind: str, instance: str | None = None, **settings: Any) -> Running:
        name = instance or f"{kind}-0"
        arguments: dict[str, Any] = {
            "instance": name,
            "bootstrap_servers": self.bootstrap,
            **{name: getattr(self.address, name) for name in ("host", "port", "database", "username", "password")},
            **{"prefix": self.prefix, "clock": self.clock},
            **{"flush_s": 0.5, "write_s": 1.0, "revise_s": 0.5, "report_s": 5.0, "registry_poll_s": 1.0},
            **{"session_timeout_s": 6.0, "transaction_timeout_s": 10.0, "metadata_refresh_s": 1.0},
            **self.settings,
            **settings,
        }
        path = self.log_dir / f"{name}.log"
        words, environ = [kind, json.dumps(arguments)], {**os.environ, "PYTHONUNBUFFERED": "1", **self.environ}
        if self.module == processor.__name__ and not self.fresh_interpreter:
            self.processes[name] = fork(processor.main, words, path, environ)
            return self.processes[name]
        with path.open("ab") as log:
            command = [sys.executable, "-m", self.module, *words]
            self.processes[name] = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=environ)
        return self.processes[name]

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait(30)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for name, process in self.processes.items():
            try:
                code = process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"{name} did not stop within 30 s of SIGTERM:\n{self.log(name)}") from None
            assert code in (0, -signal.SIGTERM), f"{name} ended with {code}:\n{self.log(name)}"
        self.processes.clear()
        _close(self._asked)

    def log(self, name: str) -> str:
        return (self.log_dir / f"{name}.log").read_text()[-3000:]

    def alive(self) -> None:
        for name, process in self.processes.items():
            code = process.poll()
            assert code is None, f"{name} ended with {code}:\n{self.log(name)}"

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        who = threading.get_ident(), self.address
        with suppress(WarehouseBusy):
            if who in self._asked:
                return self._asked[who].rows(sql, parameters)
        # There is no client yet, or its connections were closed.
        if who in self._asked:
            self._asked.pop(who).close()
        self._asked[who] = self.client
        return self._asked[who].rows(sql, parameters)

    def wait_rows(self, sql: str, what: str, patience_s: float = PATIENCE_S) -> list[tuple[Any, ...]]:
        def check() -> list[tuple[Any, ...]]:
            self.alive()
            result = self.rows(sql)
            return result if result and result[0][0] else []

        try:
            result: list[tuple[Any, ...]] = wait_for(check, what, patience_s)
            return result
        except AssertionError as error:
            logs = "\n".join(f"--- {name}\n{self.log(name)}" for name in self.processes)
            raise AssertionError(f"{error}\n{logs}") from None

    def wait_settled(self) -> None:
        """Wait for all that the monitor has read: a second commit after the first has revised what waited."""
        for _ in range(2):
            before = self.rows("SELECT max(record_seq) FROM progress FINAL")[0][0]
            self.wait_rows(f"SELECT max(record_seq) > {before} FROM progress FINAL", "another commit of the monitor")

    def wait_judged(self, n: int, patience_s: float = PATIENCE_S) -> None:
        """Wait until so many events are in sealed panes, and everything about them is written."""
        counted = f"SELECT sum(n) = {n} AND min(sealed) FROM volume FINAL WHERE slice = 'all'"
        self.wait_rows(counted, f"{n} events in sealed panes", patience_s)
        self.wait_settled()

    def wait_flushed(self) -> None:
        """Wait until a flush is open that began after this call: it knows the contracts that its sketcher has read."""
        enough = len(self.read_all(self.topics.partials)) + 2 * self.partials_partitions
        wait_for(lambda: len(self.read_all(self.topics.partials)) >= enough, "two flushes", 60)

    def produce(
        self, messages: Iterable[tuple[int, bytes | None, list[tuple[str, bytes]] | None]], topic: str | None = None
    ) -> None:
        batching = {"linger.ms": 20, "queue.buffering.max.messages": 2_000_000}
        producer = Producer({"bootstrap.servers": self.bootstrap, **batching})
        for i, (partition, value, headers) in enumerate(messages):
            producer.produce(topic or self.topics.predictions, value, partition=partition, headers=list(headers or ()))
            if i % 10_000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0

    def end(self, partitions: int) -> None:
        self.produce((p, b"", [("barograph-mark", b"end")]) for p in range(partitions))

    def read_all(self, topic: str) -> list[Any]:
        return read_topic(self.bootstrap, topic)


def configure_topic(bootstrap: str, topic: str, **values: str) -> None:
    change = AlterConfigOpType.SET
    entries = [ConfigEntry(key.replace("_", "."), value, incremental_operation=change) for key, value in values.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(30)


def read_topic(bootstrap: str, topic: str) -> list[Any]:
    reader = {"group.id": "reader", "isolation.level": "read_committed", "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": bootstrap, "enable.partition.eof": True, **reader})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    result, ended = [], 0
    while ended < len(partitions):
        message = consumer.poll(10)
        assert message is not None, f"{topic} could not be read"
        if message.error():
            ended += 1
        else:
            result.append(message)
    consumer.close()
    return result


def _close(clients: dict[tuple[int, Address], Client]) -> None:
    while clients:
        clients.popitem()[1].close()


def baseline_row(baseline: Baseline, effective_from_s: int, accepted_at_ms: int) -> dict[str, Any]:
    return {
        **{"model": baseline.model, "version": baseline.version, "baseline_id": baseline.id, "reason": "test"},
        **{"effective_from": effective_from_s, "body": dump_baseline(baseline).decode(), "accepted_at": accepted_at_ms},
    }


def simple_contract(**changes: Any) -> Contract:
    """Two numbers, a flag and a category; hourly panes, windows of 3 h and a day."""
    contract = Contract(
        model="toy",
        pane_s=3600,
        lateness_s=600,
        out_of_order_s=600,
        windows=(Window(3 * 3600, 3600), Window(86400, 3 * 3600)),
        slice_min_n=1,
        fields=(
            Field(name="x", type="float", source="features.x"),
            Field(name="k", type="int", source="features.k"),
            Field(name="flag", type="bool", source="features.flag"),
            Field(name="colour", type="category", source="features.colour"),
        ),
        slices=(Slice(name="region", source="context.region"),),
    )
    return msgspec.structs.replace(contract, **changes)


def simple_baseline(rows: int = 10_000, seed: int = 1) -> Baseline:
    rng = np.random.default_rng(seed)
    regions = np.array(["north", "south"])[rng.integers(0, 2, rows)]
    x = rng.normal(size=rows)
    k = rng.integers(0, 5, rows).astype(float)
    flag = rng.integers(0, 2, rows).astype(float)
    colour = rng.choice(["red", "green", "blue"], rows, p=[0.5, 0.3, 0.2])
    masks = {
        "all": np.ones(rows, bool),
        "region=north": regions == "north",
        "region=south": regions == "south",
        "region=other": np.zeros(rows, bool),
    }
    edges = {"x": tuple(np.quantile(x, np.arange(1, 10) / 10).tolist()), "k": (0.5, 1.5, 2.5, 3.5), "flag": (0.5,)}

    def counts(cells: np.ndarray, n: int) -> dict[str, SliceCounts]:
        return {
            name: SliceCounts(cells=tuple(np.bincount(cells[m], minlength=n).tolist())) for name, m in masks.items()
        }

    def numeric(name: str, values: np.ndarray) -> FieldBaseline:
        return FieldBaseline(
            name=name,
            kind="numeric",
            integer=name != "x",
            edges=edges[name],
            low=None if name == "flag" else float(values.min()),
            high=None if name == "flag" else float(values.max()),
            mean=float(values.mean()),
            std=float(values.std()),
            quantiles=tuple(exact_quantiles(np.sort(values), np.linspace(0.0, 1.0, QUANTILE_RANKS)).tolist()),
            slices=counts(np.searchsorted(edges[name], values, side="right"), len(edges[name]) + 2),
        )

    retained = ("red", "green", "blue")
    codes = np.array([retained.index(c) for c in colour])
    colours = FieldBaseline(name="colour", kind="category", categories=retained, slices=counts(codes, 5))
    return Baseline(
        model="toy",
        version="1",
        rows=rows,
        slice_rows={s: int(m.sum()) for s, m in masks.items()},
        dimensions=(SliceValues(name="region", source="context.region", values=("north", "south"), trained=True),),
        fields=(numeric("x", x), numeric("k", k), numeric("flag", flag), colours),
    )


def with_dimension(baseline: Baseline, dimension: SliceValues) -> Baseline:
    names = [f"{dimension.name}={value}" for value in (*dimension.values, "other")]
    fields = tuple(
        msgspec.structs.replace(
            field, slices={**field.slices, **{name: SliceCounts(cells=(0,) * field.n_cells) for name in names}}
        )
        for field in baseline.fields
    )
    return msgspec.structs.replace(
        baseline,
        slice_rows={**baseline.slice_rows, **dict.fromkeys(names, 0)},
        dimensions=(*baseline.dimensions, dimension),
        fields=fields,
    )
