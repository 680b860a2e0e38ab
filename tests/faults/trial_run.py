"""One run: broker, engine, proxy, topics, source, fleet and observer, and the oracle at its end."""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from barograph.contract import Contract, LabelSpec
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.sketches.baseline.baseline import Baseline
from tests.faults import oracle
from tests.faults.expected import Expected, compute_expected
from tests.faults.fleet import KINDS, Fleet
from tests.faults.observer import Observer
from tests.faults.proxy import WarehouseProxy
from tests.faults.source import LOOSE, STRICT, Source
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract

QUIET_S = 150.0
"""Time without a change after which a run ends, in seconds, even if data is missing."""
DOUBLED_S = 3.0
"""Time without a change after which a run ends if data is duplicated, in seconds."""
Say = Callable[[str], None]


@dataclass
class Servers:
    broker: LocalKafka
    engine: LocalClickHouse


@dataclass
class World:
    """The topics, database and processors of one run, on the servers of all runs."""

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
    kills: Counter[str] = field(default_factory=Counter)
    stops_s: list[float] = field(default_factory=list)
    """Times from SIGTERM to the exit of a processor, in seconds."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.rng = random.Random(self.seed)
        name = f"f{uuid.uuid4().hex[:8]}"
        engine, broker = self.servers.engine, self.servers.broker
        direct = engine.address(name)
        self.proxy = WarehouseProxy(engine.host, engine.port)
        # The harness connects to the engine directly, processors connect through the proxy.
        self.pipeline = Pipeline(broker.bootstrap_servers, direct, f"{name}-", self.folder, self.clock)
        self.pipeline.settings = {
            "port": self.proxy.port,
            "session_timeout_s": 4.0,
            "transaction_timeout_s": 10.0,
            "score_s": 1.0,
            "report_s": 5.0,
            "flush_events": 2_000,
            # Reconnect soon after a failure: outages here last seconds.
            "kafka": {"reconnect.backoff.max.ms": "1000"},
            **self.settings,
        }
        self.fleet = Fleet(self.pipeline, self.folder / "kill-points", self.sabotage)
        self.observer = Observer(self.pipeline, live=self.clock == "live")
        where = broker.bootstrap_servers, self.pipeline.topics
        self.source = Source(*where, self.seed, self.rate, self.partitions, live=self.clock == "live")
        self.baselines: list[tuple[int, Baseline]] = [(0, simple_baseline())]
        self.damaged: set[int] = set()
        """Numbers of the damaged records that were written to `partials`."""

    def begin(self, counts: dict[str, int]) -> None:
        """Create topics and tables, register two models, start so many processors of each kind and the source."""
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
        self.source.stop()
        if self.clock == "replay":
            self.source.end()
        verdict = oracle.Verdict()
        expected = self.expected()
        if not self.arrive(expected):
            self.say("… not everything arrived; see below")
            verdict.evidence += self.positions()
        self.observer.stop()
        for violation in self.observer.violations:
            verdict.say(violation)
        verdict.compared["checks for values that go back"] += self.observer.checks
        for failure in self.source.failures:
            verdict.say(failure)
        oracle.check_source(verdict, self.pipeline, self.source.sent)
        if self.runs("monitor"):
            oracle.check_panes(verdict, self.pipeline, expected)
            oracle.check_verdicts(verdict, self.pipeline, expected, self.contract, strict=self.clock == "replay")
            oracle.check_nothing_lost(verdict, self.pipeline)
            oracle.check_dead(verdict, self.pipeline, self.pipeline.topics.predictions, expected)
            oracle.check_dead_partials(verdict, self.pipeline, self.damaged)
        if self.runs("recorder"):
            oracle.check_raw(verdict, self.pipeline, expected)
            oracle.check_dead(verdict, self.pipeline, self.pipeline.topics.labels, expected)
        if self.runs("recorder") and self.runs("monitor"):
            oracle.check_dead_counts(verdict, self.pipeline, expected)
        if self.runs("scorer"):
            oracle.check_scores(verdict, self.pipeline, expected)
        return verdict

    def positions(self) -> list[str]:
        try:
            lines = positions(self.pipeline.bootstrap, self.pipeline.prefix)
        except Exception as error:
            lines = [f"offsets cannot be read: {error}"]
        for name in self.fleet.members:
            log = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
            lines += [f"{name}: {line[:300]}" for line in [each for each in log if each.startswith("{")][-3:]]
            # The innermost frame of each thread of the dump.
            lines += [f"{name}: {frame.strip()}" for line, frame in pairwise(log[-400:]) if "hread 0x" in line]
        return lines

    def runs(self, kind: str) -> bool:
        """Whether the run has processors of a kind. The oracle does not check the output of others."""
        return bool(self.fleet.names(kind))

    def close(self) -> None:
        self.fleet.close()
        self.proxy.stop()
        self.pipeline.rows("SELECT 1")
        with self.pipeline.client as client:
            client.command(f"DROP DATABASE {self.pipeline.address.database}")

    def expected(self) -> Expected:
        return compute_expected(self.source.sent, self.pipeline.topics, self.contract, self.baselines)

    def counted(self) -> tuple[int, ...]:
        [row] = self.pipeline.rows(
            "SELECT (SELECT sum(n) FROM volume FINAL WHERE slice = 'all'), (SELECT count() FROM predictions FINAL), "
            "(SELECT count() FROM labels FINAL), (SELECT countIf(NOT sealed) FROM volume FINAL WHERE n > 0), "
            "(SELECT sum(predictions) FROM performance_state FINAL WHERE slice = 'all'), "
            "(SELECT sum(labelled) FROM performance_state FINAL WHERE slice = 'all'), "
            "(SELECT sum(n) FROM dead_letters WHERE topic IN ('predictions', 'labels'))"
        )
        return tuple(int(n) for n in row)

    def wait_begun(self, n: int = 1, timeout_s: float = 120.0) -> None:
        """Wait until the panes and the raw rows, if the run has processors that write them, have `n` events."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            counted, recorded, *_ = self.counted()
            if (counted >= n or not self.runs("monitor")) and (recorded >= n or not self.runs("recorder")):
                return
            time.sleep(0.2)
        raise AssertionError(f"nothing arrived within {timeout_s:.0f} s of the start; see the logs in {self.folder}")

    def arrive(self, expected: Expected) -> bool:
        """Wait until all expected data has arrived, or until nothing has changed for some time; return which."""
        events = sum(n for key, n in expected.volume.items() if key[2] == "all")
        scored = [each for key, each in expected.labelled.items() if key[1] == "all"]
        recorded = self.runs("recorder")
        topics = self.pipeline.topics
        counting = [topics.predictions, topics.labels] if recorded else [topics.predictions]
        expected_counts = (
            events if self.runs("monitor") else 0,
            len(expected.predictions) if recorded else 0,
            len(expected.labels) if recorded else 0,
            0,
            sum(n for n, _ in scored) if self.runs("scorer") else 0,
            sum(known for _, known in scored) if self.runs("scorer") else 0,
            sum(expected.dead[topic].total() for topic in counting) if self.runs("monitor") else 0,
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
            if result == expected_counts and settled_since is None:
                settled_since = now
                before = self._newest_record_seq()
            # Late revisions are written one commit after the panes that they revise.
            settled = settled_since is not None and now - settled_since > 2.5
            if settled and (not self.runs("monitor") or self._newest_record_seq() > before):
                return result == expected_counts
            # Duplicates never disappear.
            doubled = any(n > most for n, most in zip(result, expected_counts, strict=True) if most) and result[3] == 0
            if now - since > (DOUBLED_S if doubled else self.quiet_s):
                self.fleet.dump_stacks()
                self.say(f"… {result} of {expected_counts}, and no change for {self.quiet_s:.0f} s")
                return result == expected_counts
            time.sleep(0.3)

    def _newest_record_seq(self) -> int:
        [(record_seq,)] = self.pipeline.rows("SELECT max(record_seq) FROM progress FINAL")
        return int(record_seq)


TIMEOUT_S = 10.0


def positions(bootstrap: str, prefix: str) -> list[str]:
    """Return a line for each group and partition of topics with a prefix: committed, last stable and end offsets."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = admin.list_topics(timeout=TIMEOUT_S).topics
    partitions = [TopicPartition(name, p) for name in sorted(topics) for p in topics[name].partitions]
    partitions = [each for each in partitions if each.topic.startswith(prefix)]
    stable = _offsets(admin, partitions, IsolationLevel.READ_COMMITTED)
    end = _offsets(admin, partitions, IsolationLevel.READ_UNCOMMITTED)
    lines = [f"{t} {p}: stable to {stable[t, p]}, end {end[t, p]}" for t, p in stable if stable[t, p] != end[t, p]]
    groups = [each.group_id for each in admin.list_consumer_groups(request_timeout=TIMEOUT_S).result().valid]
    for group in sorted(name for name in groups if name.startswith(prefix)):
        described = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result()
        members = {
            f"{each.group_instance_id or each.client_id}": [
                (p.topic, p.partition) for p in (each.assignment.topic_partitions if each.assignment else [])
            ]
            for each in described.members
        }
        lines.append(f"group {group}: {described.state.name.lower()}, members {members}")
        request = ConsumerGroupTopicPartitions(group)
        committed = admin.list_consumer_group_offsets([request], request_timeout=TIMEOUT_S)[group].result()
        lines += [
            f"group {group}: {each.topic} {each.partition} committed {each.offset} of {end[each.topic, each.partition]}"
            for each in sorted(committed.topic_partitions)
            if (each.topic, each.partition) in end and each.offset < end[each.topic, each.partition]
        ]
    return lines


def _offsets(
    admin: AdminClient, partitions: Iterable[TopicPartition], isolation: IsolationLevel
) -> dict[tuple[str, int], int]:
    latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    queries = dict.fromkeys(partitions, latest)
    futures = admin.list_offsets(queries, isolation_level=isolation, request_timeout=TIMEOUT_S)
    return {(each.topic, each.partition): future.result().offset for each, future in futures.items()}
