"""Malformed events among ten times as many valid ones, and fuzzing inputs: each is accounted for."""

import json
import time
from collections import Counter

import numpy as np
import pytest
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER

from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import MessageBatch
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from tests.fuzz.corpus import read_corpus
from tests.fuzz.seeds import seeds
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.poison import KINDS
from tests.support.toy_events import START_MS, messages, toy_event

NOW_MS = int(time.time() * 1000)
LARGE = {"megabyte string": 5, "deep": 5, "ten thousand keys": 10, "too many rows": 10}
"""Kinds of a megabyte are sent less often."""


@pytest.mark.parametrize(
    "bad", [pytest.param(680, marks=pytest.mark.smoke), pytest.param(10_000, marks=pytest.mark.long)]
)
def test_every_malformed_event_is_accounted_for(pipeline: Pipeline, bad: int) -> None:
    pipeline.create(1)
    pipeline.register(simple_contract(), [simple_baseline()])
    kinds = [kind for kind in KINDS for _ in range(LARGE.get(kind.name, bad // (len(KINDS) - len(LARGE)) + 1))]
    assert len(kinds) >= bad
    assert len({kind.name for kind in kinds}) >= 15
    sent: list[tuple[int, bytes | None, list[tuple[str, bytes]] | None]] = []
    counted, reasons, invalid = 0, Counter[str](), Counter[str]()
    originals: dict[int, bytes] = {}
    for i in range(10 * bad):
        sent.append((0, json.dumps(toy_event(i, START_MS + i)).encode(), None))
        counted += 1
        for kind in kinds[i // 10 :: bad] if i % 10 == 0 else ():
            value = kind.make(toy_event(i, START_MS + i))
            if kind.reason is not None:
                reasons[kind.reason] += 1
                originals[len(sent)] = value or b""
            counted += kind.good_rows + (kind.reason is None)
            invalid.update(kind.invalid)
            sent.append((0, value, kind.headers))
    pipeline.start("sketcher")
    pipeline.start("monitor")
    pipeline.produce(sent)
    pipeline.end(1)
    pipeline.wait_rows(f"SELECT sum(n) = {counted} FROM volume FINAL WHERE slice = 'all'", f"{counted} events counted")
    pipeline.wait_settled()
    dead = pipeline.read_all(pipeline.topics.predictions_dead)
    headers = [{name: value.decode() for name, value in message.headers()} for message in dead]
    assert Counter(h["reason"] for h in headers) == reasons
    assert {int(h["source-offset"]) for h in headers} == set(originals)
    assert all(h["source-topic"] == pipeline.topics.predictions and h["source-partition"] == "0" for h in headers)
    for message, retained in zip(dead, headers, strict=True):
        if retained["reason"] != "missing-id" or retained["index"] == "0":
            assert (message.value() or b"") == originals[int(retained["source-offset"])]
    assert dict(pipeline.rows("SELECT field, sum(invalid) FROM panes FINAL WHERE slice = 'all' GROUP BY field")) == {
        name: invalid[name] for name in ("x", "k", "flag", "colour")
    }


def events_of(decoder: ArrowDecoder, value: bytes) -> int:
    """Number of events of an Arrow message by itself: its rows, or one if it is dead-lettered as a whole."""
    counts = decoder.decode(MessageBatch([value], np.zeros(1, np.int32), np.zeros(1, np.int64), np.array([NOW_MS])))
    return sum(len(events) for events in counts.events) + len(counts.rejected)


def test_every_fuzzing_input_is_accounted_for(pipeline: Pipeline) -> None:
    pipeline.create(1)
    pipeline.register(simple_contract(), [simple_baseline()])
    arrow = [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]
    inputs = {name: [*seeds()[name], *read_corpus(name)] for name in seeds()}
    for topic, kind in ((pipeline.topics.predictions, "predictions"), (pipeline.topics.labels, "labels")):
        # Every input in every encoding: a decoder must survive inputs of another format.
        plain = [data for name, counts in inputs.items() if not name.endswith("-arrow") for data in counts]
        pipeline.produce(((0, data, None) for data in plain), topic)
        pipeline.produce(((0, data, arrow) for data in inputs[f"{kind}-arrow"] + plain), topic)
    pipeline.produce(messages([toy_event(0, START_MS)]))
    pipeline.end(1)
    baseline = simple_baseline()
    registry = build_registry([(simple_contract(), 0)], [RegisteredBaseline(baseline, baseline.id, 0, 0)])
    decoder = ArrowDecoder(registry)
    n = len(plain) + sum(events_of(decoder, data) for data in [*inputs["predictions-arrow"], *plain]) + 1
    for kind in ("sketcher", "monitor", "recorder"):
        pipeline.start(kind)
    dead = "(SELECT sum(n) FROM dead_letters WHERE topic = 'predictions')"
    pipeline.wait_rows(
        f"SELECT sum(n) + {dead} = {n} FROM volume FINAL WHERE slice = 'all'", f"{n} events counted or dead-lettered"
    )
    pipeline.alive()
