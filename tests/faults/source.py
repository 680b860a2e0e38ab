"""The source data: seeded events, labels and malformed messages, each recorded with its expected outcome."""

import heapq
import json
import random
import threading
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, encode_arrow
from confluent_kafka import KafkaError, KafkaException, Producer

from barograph_server.streams.topics import Topics
from tests.support.poison import KINDS, Kind

HOUR_MS = 3_600_000
STRICT, LOOSE = "toy", "bat"
"""The two models. Events of the first are never late; some of the second are hours late. Each model has its own
partition of `partials`."""
JITTER_MS = 300_000
"""Largest deviation of event times from their order; the contract allows twice as much."""
STRAGGLE_MS = 6 * HOUR_MS
ARROW_ROWS = 8
HEAVY = frozenset({"deep", "megabyte string", "ten thousand keys"})
LIGHT_KINDS = tuple(kind for kind in KINDS if kind.name not in HEAVY)
Headers = list[tuple[str, bytes]] | None
ARROW: Headers = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
END: Headers = [("barograph-mark", b"end")]
BAD_LABELS: tuple[tuple[bytes, Headers, str], ...] = (
    (b"{", None, "not-json"),
    (b"", None, "empty"),
    (b'{"model": "toy", "id": "a", "label": null, "at": 1}', None, "wrong-type"),
    (b'{"model": "nobody", "id": "a", "label": true, "at": 1}', None, "unknown-model"),
    (b'{"model": "toy", "label": true, "at": 1}', None, "missing-id"),
    (b"nope", ARROW, "not-arrow"),
)


@dataclass(frozen=True, slots=True)
class Event:
    model: str
    version: str
    id: str
    at_ms: int
    x: float | None
    k: int | None
    flag: bool | None
    colour: str | None
    region: str
    score: float | None
    invalid: tuple[str, ...] = ()
    exact: bool = True
    """Whether its raw row must have exactly these values; malformed events may have others."""


@dataclass(frozen=True, slots=True)
class Label:
    id: str
    label: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A message and its expected events, labels or dead letters, each with its index in the message."""

    value: bytes | None
    headers: Headers
    events: tuple[tuple[int, Event], ...] = ()
    labels: tuple[tuple[int, Label], ...] = ()
    dead: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Mix:
    loose: float = 0.2
    straggling: float = 0.02
    """Share of the late events among those of the loose model."""
    arrow: float = 0.02
    poison: float = 0.02
    bad_label: float = 0.02
    labelled: float = 0.8
    corrected: float = 0.05


@dataclass
class Source:
    bootstrap: str
    topics: Topics
    seed: int
    rate: float
    partitions: int = 3
    step_ms: int = 2_000
    """Event time between two messages, in ms; on the live clock events have the current time."""
    live: bool = False
    mix: Mix = field(default_factory=Mix)
    versions: list[str] = field(default_factory=lambda: ["1"])
    sent: dict[tuple[str, int], list[Sent]] = field(default_factory=dict)
    hold_at_ms: float = float("inf")
    """Events of this time or later are not sent until it is raised, for example after a change of the registry."""
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.start_ms = (int(time.time() * 1000) // HOUR_MS - 72) * HOUR_MS
        self.n = 0
        self._partitions_in_use = self.partitions
        self._pending_labels: list[tuple[int, int, Label]] = []
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._run, name="source", daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 10,
                # Longer than every outage that the harness causes.
                "message.timeout.ms": 1_800_000,
                "message.max.bytes": 1_040_000,
                "topic.metadata.refresh.interval.ms": 1_000,
                "log_level": 0,
            }
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        while self._pending_labels:
            self._send_label(heapq.heappop(self._pending_labels)[2])
        self.flush()

    def flush(self) -> None:
        left = self._producer.flush(300)
        if left:
            self.failures.append(f"{left} messages of the source never reached the broker")

    def end(self) -> None:
        for topic in (self.topics.predictions, self.topics.labels):
            for partition in range(self.partitions):
                self._send(topic, partition, Sent(b"", END))
        self.flush()

    def add_partition(self) -> int:
        self._partitions_in_use += 1
        return self._partitions_in_use

    @property
    def now_ms(self) -> int:
        return int(time.time() * 1000) if self.live else self.start_ms + self.n * self.step_ms

    def _run(self) -> None:
        try:
            self._send_at_rate()
        except Exception as error:
            self.failures.append(f"the source failed: {type(error).__name__}: {error}")
            raise

    def _send_at_rate(self) -> None:
        began, sent = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - began) * self.rate)
            if due <= sent or self.now_ms + JITTER_MS >= self.hold_at_ms:
                self._producer.poll(0)
                if self.now_ms + JITTER_MS >= self.hold_at_ms:
                    began, sent = time.monotonic(), 0
                time.sleep(0.01)
                continue
            self.send_one()
            sent += 1

    def send_one(self) -> None:
        rng, at_ms = self.rng, self.now_ms
        self.n += 1
        if rng.random() < self.mix.poison:
            message = self._poison(rng.choice(LIGHT_KINDS), at_ms)
        elif rng.random() < self.mix.arrow:
            message = self._arrow(at_ms)
        else:
            message = _as_json(self._event(at_ms))
        self._send(self.topics.predictions, rng.randrange(self._partitions_in_use), message)
        for _, event in message.events:
            if event.model == STRICT:
                self._label(event)
        while self._pending_labels and self._pending_labels[0][0] <= self.n:
            self._send_label(heapq.heappop(self._pending_labels)[2])
        if rng.random() < self.mix.bad_label:
            value, headers, reason = rng.choice(BAD_LABELS)
            self._send(self.topics.labels, rng.randrange(self.partitions), Sent(value, headers, dead=((0, reason),)))

    def send_heavy(self) -> None:
        for kind in KINDS:
            if kind.name in HEAVY:
                self.n += 1
                message = self._poison(kind, self.now_ms)
                self._send(self.topics.predictions, self.rng.randrange(self._partitions_in_use), message)

    def _send(self, topic: str, partition: int, message: Sent) -> None:
        self.sent.setdefault((topic, partition), []).append(message)
        options: dict[str, Any] = {"headers": list(message.headers or ()), "on_delivery": self._delivered}
        while True:
            try:
                self._producer.produce(topic, message.value, partition=partition, **options)
                return
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                # A partition that was just added is unknown until the next refresh of metadata.
                if error.args[0].code() != KafkaError._UNKNOWN_PARTITION:
                    raise
                self._producer.poll(0.1)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self.failures.append(f"a message of the source was not delivered: {error}")

    def _event(self, at_ms: int, *, model: str | None = None) -> Event:
        rng = self.rng
        chosen = model or (LOOSE if rng.random() < self.mix.loose else STRICT)
        off_ms = 0 if self.live else rng.randrange(-JITTER_MS, JITTER_MS)
        if chosen == LOOSE and rng.random() < self.mix.straggling:
            off_ms -= STRAGGLE_MS if not self.live else 20_000
        return Event(
            model=chosen,
            version=rng.choice(self.versions) if chosen == STRICT else "1",
            id=f"e{self.n}",
            at_ms=at_ms + off_ms,
            x=None if rng.random() < 0.05 else rng.gauss(0.0, 1.0),
            k=None if rng.random() < 0.05 else rng.randrange(5),
            flag=rng.random() < 0.5,
            colour=None if rng.random() < 0.05 else rng.choice(("red", "green", "blue", "mauve")),
            region=rng.choice(("north", "south", "elsewhere")),
            score=rng.random(),
        )

    def _arrow(self, at_ms: int) -> Sent:
        events = []
        for i in range(ARROW_ROWS):
            plain = self._event(at_ms, model=STRICT)
            events.append(replace(plain, id=f"{plain.id}-{i}"))
        kinds = {name: pa.string() for name in ("model", "version", "id", "features.colour", "context.region")}
        kinds |= {"at_ms": pa.int64(), "features.k": pa.int64(), "features.flag": pa.bool_()}
        kinds |= {"features.x": pa.float64(), "score": pa.float64()}
        columns = {
            name: pa.array([getattr(e, name.rpartition(".")[2]) for e in events], kind) for name, kind in kinds.items()
        }
        columns["at"] = columns.pop("at_ms").cast(pa.timestamp("ms", "UTC"))
        return Sent(encode_arrow(pa.table(columns)), ARROW, events=tuple(enumerate(events)))

    def _poison(self, kind: Kind, at_ms: int) -> Sent:
        plain = replace(self._event(at_ms, model=STRICT), version="1", x=0.5, k=3, flag=True, colour="red")
        value = kind.make(_event_fields(plain))
        if kind.name == "Arrow with one bad row":
            rows = ((0, 0.1, 1, True, "red", ""), (2, 0.3, 3, True, "blue", "-c"))
            good = tuple(
                (i, replace(plain, id=plain.id + end, x=x, k=k, flag=flag, colour=c, region="north", score=None))
                for i, x, k, flag, c, end in rows
            )
            return Sent(value, kind.headers, events=good, dead=((1, str(kind.reason)),))
        if kind.reason is not None:
            return Sent(value, kind.headers, dead=((0, str(kind.reason)),))
        colour = {"megabyte string": "x", "lone surrogate": "?"}.get(kind.name, plain.colour)
        return Sent(
            value, kind.headers, events=((0, replace(plain, colour=colour, invalid=kind.invalid, exact=False)),)
        )

    def _label(self, event: Event) -> None:
        rng = self.rng
        if rng.random() >= self.mix.labelled:
            return
        delay_ms = 1_000 if self.live else 3 * HOUR_MS
        first = Label(event.id, rng.random() < 0.5, event.at_ms + rng.randrange(delay_ms))
        wait = rng.randrange(int(self.rate * 5) + 1)
        heapq.heappush(self._pending_labels, (self.n + wait, rng.randrange(1 << 30), first))
        if rng.random() < self.mix.corrected:
            second = Label(event.id, not first.label, first.at_ms + 1)
            heapq.heappush(self._pending_labels, (self.n + wait + 50, rng.randrange(1 << 30), second))

    def _send_label(self, label: Label) -> None:
        fields = {"model": STRICT, "id": label.id, "label": label.label, "at": label.at_ms}
        # All labels of an id go to one partition, as the format requires. Any partition will do here.
        partition = zlib.crc32(label.id.encode()) % self.partitions
        self._send(self.topics.labels, partition, Sent(json.dumps(fields).encode(), None, labels=((0, label),)))


def _event_fields(event: Event) -> dict[str, Any]:
    return {
        "model": event.model,
        "version": event.version,
        "id": event.id,
        "at": event.at_ms,
        "features": {"x": event.x, "k": event.k, "flag": event.flag, "colour": event.colour},
        "context": {"region": event.region},
        "score": event.score,
    }


def _as_json(event: Event) -> Sent:
    return Sent(json.dumps(_event_fields(event)).encode(), None, events=((0, event),))
