"""One bad producer: floods of everything that has a limit are accounted for, and no processor's memory follows them."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from barograph.events import MAX_MESSAGE_BYTES
from confluent_kafka import KafkaError, Producer

from barograph_server.streams.sketcher.summarise import MAX_VERSIONS
from barograph_server.streams.tallies import MAX_KINDS, MAX_PRODUCERS
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.toy_events import HOUR_MS, toy_event

BEGIN_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 10 * HOUR_MS
MIB = 1 << 20
ROOM_MIB = 600
"""How much memory each processor may take, its own code and libraries among it."""

NOT_JSON, DEEP, WIDE, EACH_OWN, LONG = 100, 20, 30, 1_500, 10
"""Messages of each flood: about a MiB each of the first three."""


def flood() -> Iterator[bytes]:
    """Messages, of each kind the number above."""
    for i in range(NOT_JSON):
        yield b"{" + str(i).encode() + b"x" * 900_000
    for _ in range(DEEP):
        yield b'{"model": ' + b"[" * 450_000 + b"]" * 450_000
    for i in range(WIDE):
        wide = {f"{i}-{n}": n for n in range(45_000)}
        yield json.dumps(toy_event(i, BEGIN_MS, features=toy_event(i, BEGIN_MS)["features"] | wide)).encode()
    for i in range(EACH_OWN):
        features = toy_event(i, BEGIN_MS)["features"] | {"colour": f"{i}" + "c" * 500}
        own = {"context": {"region": f"{i}" + "r" * 500}, "error": f"E{i}" + "e" * 300, "features": features}
        # A version of its own each, a producer too.
        yield json.dumps(toy_event(i, BEGIN_MS, **own, version=f"v{i}", producer=f"p{i}", seq=0)).encode()
    for i in range(LONG):
        yield json.dumps(toy_event(i, BEGIN_MS, version="w" * 500_000 + str(i), id="i" * 300_000)).encode()
    for i in range(EACH_OWN):
        yield json.dumps(toy_event(i, BEGIN_MS, model=f"nobody's {i}")).encode()


COUNTED = WIDE + EACH_OWN + LONG


@pytest.mark.long
def test_floods_are_accounted_for_in_bounded_memory(pipeline: Pipeline) -> None:
    pipeline.create(source_partitions=1)
    pipeline.register(simple_contract(), [simple_baseline()])
    kinds = ("sketcher", "recorder", "monitor")
    # A forked process would also hold the modules of all other processors.
    pipeline.fresh_interpreter = True
    for kind in kinds:
        pipeline.start(kind, flush_s=15.0)
    pipeline.produce((0, message, None) for message in flood())
    pipeline.end(1)
    pipeline.wait_rows(f"SELECT sum(n) = {COUNTED} AND min(sealed) FROM volume FINAL WHERE slice = 'all'", "volume")
    pipeline.wait_rows(f"SELECT count() = {COUNTED} FROM predictions FINAL", "raw rows")
    # Tallies are written after the panes.
    pipeline.wait_rows(f"SELECT sum(n) = {EACH_OWN} FROM errors FINAL WHERE slice = 'all'", "errors by kind")
    peaks = {kind: peak_mib(pipeline.processes[f"{kind}-0"].pid) for kind in kinds}
    print(peaks)
    reasons = Counter(
        dict(dead.headers())["reason"].decode() for dead in pipeline.read_all(pipeline.topics.predictions_dead)
    )
    assert reasons == {"not-json": NOT_JSON, "too-deep": DEEP, "unknown-model": EACH_OWN}
    [(versions, strangers)] = pipeline.rows(
        "SELECT uniqExact(version), sumIf(n, version = 'other') FROM volume FINAL WHERE slice = 'all'"
    )
    assert versions <= 2 + 2 * MAX_VERSIONS
    assert strangers >= COUNTED - WIDE - 2 * MAX_VERSIONS
    assert pipeline.rows("SELECT max(length(version)) < 300 FROM panes") == [(True,)]
    assert pipeline.rows("SELECT uniqExact(slice) FROM volume FINAL WHERE n > 0") == [(3,)]
    [(producers,)] = pipeline.rows("SELECT uniqExact(producer) FROM producers")
    assert producers <= 2 * MAX_PRODUCERS + 1
    [(kinds_told,)] = pipeline.rows(
        "SELECT max(k) FROM (SELECT uniqExact(kind) AS k FROM errors GROUP BY record_seq, version)"
    )
    assert kinds_told <= MAX_KINDS + 1
    assert max(peaks.values()) < ROOM_MIB, peaks


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("NOT TESTED: this system does not tell a process's peak of memory")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_the_broker_rejects_messages_above_the_limit(pipeline: Pipeline) -> None:
    pipeline.create()
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "message.max.bytes": 8 * MIB})
    refused: list[KafkaError | None] = []
    producer.produce(
        pipeline.topics.predictions,
        b"x" * (MAX_MESSAGE_BYTES + 1),
        on_delivery=lambda error, _message: refused.append(error),
    )
    producer.flush(30)
    assert [error and error.code() for error in refused] == [KafkaError.MSG_SIZE_TOO_LARGE]
