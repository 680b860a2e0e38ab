"""One run: broker, engine, door, topics, source, fleet and observer, and the oracle at its end."""

from __future__ import annotations

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from barograph.contract import Contract, LabelSpec

from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from sketches.baseline.baseline import Baseline
from tests.faults import oracle
from tests.faults.expected import Expected, work_out
from tests.faults.fleet import KINDS, Fleet
from tests.faults.observer import Observer
from tests.faults.proxy import Door
from tests.faults.source import LOOSE, STRICT, Source
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from warehouse.client import Address

QUIET_S = 150.0
"""A run in which nothing changes for so long, all processors running, has come to its end, whatever it misses."""
DOUBLED_S = 3.0
"""… and one in which something is there twice can be compared sooner."""
Say = Callable[[str], None]


@dataclass
class Servers:
    """The broker and the engine of all runs, restarted by some of their faults."""

    broker: LocalKafka
    engine: LocalClickHouse


@dataclass
class World:
    """A run's own topics, database and processors on the servers of all runs."""

    servers: Servers
    folder: Path
    seed: int
    say: Say
    rate: float = 60.0
    clock: str = "replay"
    partitions: int = 3
    sabotage: str = ""
    contract: Contract = field(
        default_factory=lambda: simple_contract(
            model=STRICT, label=LabelSpec(type="bool", positive=True, horizon_s=2 * 86400)
        )
    )
    settings: dict[str, Any] = field(default_factory=dict)
    quiet_s: float = QUIET_S
    done: Counter[str] = field(default_factory=Counter)
    """Faults by name."""
    kills: Counter[str] = field(default_factory=Counter)
    """Kills -9 by processor and place."""
    stops_s: list[float] = field(default_factory=list)
    """How long each SIGTERM took."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rng = random.Random(self.seed)
        name = f"f{uuid.uuid4().hex[:8]}"
        engine, broker = self.servers.engine, self.servers.broker
        direct = Address(engine.host, engine.port, name)
        self.door = Door(engine.host, engine.port)
        # The harness looks straight at the engine; processors come through the door.
        self.pipeline = Pipeline(broker.bootstrap_servers, direct, f"{name}-", self.folder, self.clock)
        self.pipeline.settings = {
            "port": self.door.port,
            "session_timeout_s": 4.0,
            "transaction_timeout_s": 10.0,
            "score_s": 1.0,
            "report_s": 5.0,
            "flush_events": 2_000,
            # What was refused once is asked for again soon: outages here last seconds.
            "kafka": {"reconnect.backoff.max.ms": "1000"},
            **self.settings,
        }
        self.fleet = Fleet(self.pipeline, self.folder / "places", self.sabotage)
        self.observer = Observer(self.pipeline, live=self.clock == "live")
        self.source = Source(
            broker.bootstrap_servers,
            self.pipeline.topics,
            self.seed,
            self.rate,
            self.partitions,
            live=self.clock == "live",
        )
        self.baselines: list[tuple[int, Baseline]] = [(0, simple_baseline())]
        self.buried: set[int] = set()
        """Numbers of the damaged records that were written to `partials`."""

    def begin(self, counts: dict[str, int]) -> None:
        """Make topics and tables, register two models, start so many processors of each kind, and the source."""
        self.pipeline.create(self.partitions)
        loose = msgspec.structs.replace(self.contract, model=LOOSE, label=None)
        self.pipeline.register(self.contract, [self.baselines[0][1]])
        self.pipeline.register(loose, [msgspec.structs.replace(self.baselines[0][1], model=LOOSE)])
        for kind in KINDS:
            for i in range(counts.get(kind, 0)):
                self.fleet.add(kind, f"{kind}-{i}")
        self.fleet.begin()
        self.observer.start()
        self.source.start()

    def finish(self) -> oracle.Verdict:
        """End the source, wait until all of it has arrived, and hold the result to the source data."""
        self.source.stop()
        if self.clock == "replay":
            self.source.end()
        verdict = oracle.Verdict()
        expected = self.expected()
        if not self.arrive(expected):
            self.say("… not everything arrived; see below")
        self.observer.stop()
        for sentence in self.observer.broken:
            verdict.say(sentence)
        verdict.compared["checks for values that go back"] += self.observer.looks
        for sentence in self.source.failures:
            verdict.say(sentence)
        oracle.check_source(verdict, self.pipeline, self.source.sent)
        if self.runs("monitor"):
            oracle.check_panes(verdict, self.pipeline, expected)
            oracle.check_verdicts(verdict, self.pipeline, expected, self.contract, strict=self.clock == "replay")
            oracle.check_nothing_lost(verdict, self.pipeline)
            oracle.check_dead(verdict, self.pipeline, self.pipeline.topics.predictions, expected)
            oracle.check_buried(verdict, self.pipeline, self.buried)
        if self.runs("recorder"):
            oracle.check_raw(verdict, self.pipeline, expected)
            oracle.check_dead(verdict, self.pipeline, self.pipeline.topics.labels, expected)
        if self.runs("recorder") and self.runs("monitor"):
            oracle.check_dead_counts(verdict, self.pipeline, expected)
        if self.runs("scorer"):
            oracle.check_scores(verdict, self.pipeline, expected)
        return verdict

    def runs(self, kind: str) -> bool:
        """Whether there are processors of a kind: what none of them wrote is not looked for."""
        return bool(self.fleet.names(kind))

    def close(self) -> None:
        """End all that this run started."""
        self.fleet.close()
        self.door.close()
        self.pipeline.rows("SELECT 1")
        with self.pipeline.client as client:
            client.command(f"DROP DATABASE {self.pipeline.address.database}")

    def expected(self) -> Expected:
        """What the source data say."""
        return work_out(self.source.sent, self.pipeline.topics, self.contract, self.baselines)

    def counted(self) -> tuple[int, ...]:
        """Events in panes, raw predictions, raw labels, unsealed panes, scored and labelled predictions."""
        [row] = self.pipeline.rows(
            "SELECT (SELECT sum(n) FROM volume FINAL WHERE slice = 'all'), (SELECT count() FROM predictions FINAL), "
            "(SELECT count() FROM labels FINAL), (SELECT countIf(NOT sealed) FROM volume FINAL WHERE n > 0), "
            "(SELECT sum(predictions) FROM performance_state FINAL WHERE slice = 'all'), "
            "(SELECT sum(labelled) FROM performance_state FINAL WHERE slice = 'all')"
        )
        return tuple(int(n) for n in row)

    def wait_begun(self, n: int = 1, patience_s: float = 120.0) -> None:
        """Wait until so many events are in panes and raw rows, as far as anybody writes them."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            counted, recorded, *_ = self.counted()
            if (counted >= n or not self.runs("monitor")) and (recorded >= n or not self.runs("recorder")):
                return
            time.sleep(0.2)
        raise AssertionError(f"nothing arrived within {patience_s:.0f} s of the start; see the logs in {self.folder}")

    def arrive(self, expected: Expected) -> bool:
        """Wait until everything is there, or nothing has changed for a while."""
        events = sum(n for key, n in expected.volume.items() if key[2] == "all")
        scored = [each for key, each in expected.labelled.items() if key[1] == "all"]
        recorded = self.runs("recorder")
        wanted_value = (
            events if self.runs("monitor") else 0,
            len(expected.predictions) if recorded else 0,
            len(expected.labels) if recorded else 0,
            0,
            sum(n for n, _ in scored) if self.runs("scorer") else 0,
            sum(known for _, known in scored) if self.runs("scorer") else 0,
        )
        last: tuple[int, ...] = ()
        since = time.monotonic()
        settled_since: float | None = None
        before = -1
        while True:
            now = time.monotonic()
            result = self.counted()
            if result != last:
                last, since = result, now
            if result == wanted_value and settled_since is None:
                settled_since = now
                before = self._newest_record_seq()
            # Late revisions are written one commit after the panes that they revise.
            settled = settled_since is not None and now - settled_since > 2.5
            if settled and (not self.runs("monitor") or self._newest_record_seq() > before):
                return result == wanted_value
            # What is there twice never goes away again.
            doubled = any(n > most for n, most in zip(result, wanted_value, strict=True) if most) and result[3] == 0
            if now - since > (DOUBLED_S if doubled else self.quiet_s):
                self.fleet.say_where()
                self.say(f"… {result} of {wanted_value} and no change for {self.quiet_s:.0f} s")
                return result == wanted_value
            time.sleep(0.3)

    def _newest_record_seq(self) -> int:
        [(record_seq,)] = self.pipeline.rows("SELECT max(record_seq) FROM progress FINAL")
        return int(record_seq)
