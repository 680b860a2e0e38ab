"""Malformed events, floods, hostile messages and invalid outputs: each is accounted for."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from barograph.contract import Contract, Field, LabelSpec, Slice, Window
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, MAX_MESSAGE_BYTES
from confluent_kafka import KafkaError, Producer

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceValues
from barograph_server.streams.events.arrow_decoder import ArrowDecoder
from barograph_server.streams.events.batch import OUT_OF_MEMORY, MessageBatch
from barograph_server.streams.registry.registry import RegisteredBaseline, build_registry
from barograph_server.streams.sketcher.summarise import MAX_VERSIONS
from barograph_server.streams.tallies import MAX_KINDS, MAX_PRODUCERS
from tests.fuzz.corpus import read_corpus
from tests.fuzz.seeds import seeds
from tests.support import scoring
from tests.support.arrow_bombs import LARGEST, TOO_LARGE
from tests.support.decoder_memory import REPEATS
from tests.support.outputs import CLASSES, class_field, numeric_field
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for, with_dimension
from tests.support.poison import KINDS
from tests.support.toy_events import HOUR_MS, START_MS, messages, toy_event

NOW_MS = int(time.time() * 1000)
LARGE = {"megabyte string": 5, "deep": 5, "ten thousand keys": 10, "too many rows": 10}
"""Kinds of a megabyte are sent less often."""


@pytest.mark.parametrize(
    "bad", [pytest.param(680, marks=pytest.mark.smoke), pytest.param(10_000, marks=pytest.mark.long)]
)
def test_every_malformed_event_is_accounted_for(pipeline: Pipeline, bad: int) -> None:
    pipeline.prepare()
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
    pipeline.start_all("sketcher", "monitor")
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
    pipeline.prepare()
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
    pipeline.start_all("sketcher", "monitor", "recorder")
    dead = "(SELECT sum(n) FROM dead_letters WHERE topic = 'predictions')"
    pipeline.wait_rows(
        f"SELECT sum(n) + {dead} = {n} FROM volume FINAL WHERE slice = 'all'", f"{n} events counted or dead-lettered"
    )
    pipeline.alive()


BEGIN_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 10 * HOUR_MS
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
    pipeline.prepare()
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
    assert pipeline.rows("SELECT uniqExact(producer) FROM producers")[0][0] <= 2 * MAX_PRODUCERS + 1
    of_kinds = "SELECT uniqExact(kind) AS k FROM errors GROUP BY record_seq, version"
    assert pipeline.rows(f"SELECT max(k) FROM ({of_kinds})")[0][0] <= MAX_KINDS + 1
    assert max(peaks.values()) < ROOM_MIB, peaks


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("NOT TESTED: this system does not tell a process's peak of memory")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def test_the_broker_rejects_messages_above_the_limit(pipeline: Pipeline) -> None:
    pipeline.create()
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "message.max.bytes": 8 << 20})
    refused: list[KafkaError | None] = []
    value = b"x" * (MAX_MESSAGE_BYTES + 1)
    producer.produce(pipeline.topics.predictions, value, on_delivery=lambda error, _message: refused.append(error))
    producer.flush(30)
    assert [error and error.code() for error in refused] == [KafkaError.MSG_SIZE_TOO_LARGE]


ROOT = Path(__file__).resolve().parents[2]
PEAK_MIB = 512
"""Memory that the documentation states for one message."""


def decode(group: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Decode a group of messages, each with the stated memory; return decoder, message and outcome."""
    words = [sys.executable, "-m", "tests.support.decoder_memory", group, str(PEAK_MIB)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    outcomes: list[tuple[str, str, dict[str, Any]]] = [json.loads(line) for line in done.stdout.splitlines()]
    decoders = Counter(decoder for decoder, _, _ in outcomes)
    assert (len(decoders), len(set(decoders.values()))) == (3, 1)
    for decoder, name, outcome in outcomes:
        assert "error" not in outcome, (decoder, name, outcome)
        assert not outcome.get("omitted"), (decoder, name)
        assert OUT_OF_MEMORY not in outcome.get("dead", ()), (decoder, name)
    return outcomes


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["arrow", "json"])
def test_a_message_is_decoded_within_the_stated_memory(encoding: str) -> None:
    for decoder, name, outcome in decode(encoding):
        if name in TOO_LARGE and name not in LARGEST:
            assert outcome["rows"] == 0, (decoder, name)
            assert outcome.get("dead", ["too-large"])[0] == "too-large", (decoder, name)


@pytest.mark.long
def test_every_arrow_type_is_counted_or_rejected_within_the_stated_memory() -> None:
    outcomes = {(decoder, name): outcome for decoder, name, outcome in decode("types")}
    names = {name for _, name in outcomes}
    for name in names:
        counted, labels = outcomes["sketcher-arrow", name], outcomes["labels-arrow", name]
        for outcome in (counted, labels):
            # Each row is counted or has a dead letter, or the message is one dead letter.
            rows, dead_letters = outcome["rows"], outcome["dead_letters"]
            assert rows + dead_letters == 3 * REPEATS or (rows, dead_letters) == (0, 1), (name, outcome)
        assert outcomes["recorder-arrow", name]["rows"] == counted["rows"], name
    assert sum(outcomes["sketcher-arrow", name]["rows"] > 0 for name in names) > 700


VALUES = np.linspace(0.0, 1.0, 101)


def make_model(
    name: str, fields: tuple[Field, ...], trained: tuple[FieldBaseline, ...], label: LabelSpec, *slices: Slice
) -> tuple[Contract, Baseline]:
    windows, n = (Window(86_400, 3600),), len(VALUES)
    contract = Contract(model=name, pane_s=3600, windows=windows, fields=fields, slices=slices, label=label)
    return contract, Baseline(model=name, version="1", rows=n, slice_rows={"all": n}, dimensions=(), fields=trained)


def one_probability() -> tuple[Contract, Baseline]:
    contract, baseline = make_model(
        "binary",
        (Field(name="score", type="float", source="score", low=0.0, high=1.0),),
        (numeric_field("score", VALUES, low=0.0, high=1.0),),
        LabelSpec(type="bool", positive=True, horizon_s=86_400),
        Slice(name="region", source="context.region", values=("north",)),
    )
    region = SliceValues(name="region", source="context.region", values=("north",), trained=False)
    return contract, with_dimension(baseline, region)


def many_probabilities() -> tuple[Contract, Baseline]:
    sources = [f"scores.{name}" for name in CLASSES]
    return make_model(
        "classes",
        (
            Field(name="class", type="category", source="class"),
            *(Field(name=source, type="float", source=source, low=0.0, high=1.0) for source in sources),
            Field(name="confidence", type="float", source="confidence"),
        ),
        (
            class_field("class", CLASSES, np.arange(len(VALUES)) % 3),
            *(numeric_field(source, VALUES, low=0.0, high=1.0) for source in sources),
            numeric_field("confidence", VALUES),
        ),
        LabelSpec(type="category", classes=CLASSES, horizon_s=86_400),
    )


def make_inputs() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    predictions: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []

    def predict(model: str, n: int, **members: Any) -> list[str]:
        own = [
            {"model": model, "version": "1", "id": f"{model}-{i}", "at": scoring.START_MS + 1_000 * i, **members}
            for i in range(len(predictions), len(predictions) + n)
        ]
        predictions.extend(own)
        return [str(event["id"]) for event in own]

    def label(model: str, ids: Iterable[str], label: Any, *, after_ms: int = 600_000) -> None:
        labels.extend({"model": model, "id": id_, "label": label, "at": scoring.START_MS + after_ms} for id_ in ids)

    good = predict("binary", 40, score=0.8, context={"region": "north"})
    label("binary", good[:20], label=True)
    label("binary", good[20:30], label=False)
    # Scores that are not probabilities.
    label("binary", predict("binary", 3, score=1.25), label=True)
    label("binary", predict("binary", 2, score=-0.5), label=True)
    predict("binary", 1, score="NaN")
    # A slice value of almost a megabyte.
    predict("binary", 6, score=0.2, context={"region": "x" * 900_000})
    # Labels of the wrong type, before their prediction, repeated, without a prediction, of an unknown model.
    label("binary", good[30:33], label="maybe")
    label("binary", good[30:31], label=0.5)
    label("binary", good[33:35], label=True, after_ms=-1_000)
    for i in range(11):
        label("binary", good[35:36], label=i % 2 == 1, after_ms=600_000 + i)
    label("binary", [f"nobody's-{i}" for i in range(5)], label=True)
    label("nobody", good[:7], label=True)
    label("binary", good[36:38], label=None)
    label("binary", good[36:37], label=[True])
    sure = {"no": 0.1, "perhaps": 0.2, "yes": 0.7}
    good = predict("classes", 30, scores=sure, **{"class": "yes"})
    label("classes", good[:20], label="yes")
    label("classes", good[20:22], label="bird")
    predict("classes", 4, scores=sure, **{"class": "bird"})
    predict("classes", 5, scores=sure | {"yes": 0.5}, **{"class": "yes"})
    predict("classes", 2, scores={"no": -0.5, "perhaps": 0.0, "yes": 1.5}, **{"class": "yes"})
    return predictions, labels


def test_each_kind_of_invalid_input_is_counted(pipeline: Pipeline) -> None:
    predictions, labels = make_inputs()
    pipeline.create()
    for contract, baseline in (one_probability(), many_probabilities()):
        pipeline.register(contract, [baseline])
    pipeline.start_all("sketcher", "monitor", "recorder")
    pipeline.start("scorer", score_s=0.5)
    pipeline.produce(messages(labels), pipeline.topics.labels)
    pipeline.produce(messages(predictions))
    pipeline.end(1)
    n = Counter(event["model"] for event in predictions)
    binary = {"out_of_range": 5, "unscored": 1, "wrong_type": 4, "early": 2, "corrections": 10, "unmatched": 5}
    classes = {"undeclared_label": 2, "undeclared_class": 4, "invalid_sum": 5, "out_of_range": 2}
    kinds = {
        name: own | {"predictions": n[name], "labelled": labelled, "unlabelled": n[name] - labelled}
        for name, own, labelled in (("binary", binary, 38), ("classes", classes, 20))
    }
    expected: Mapping[str, dict[tuple[Any, ...], int]] = {
        "SELECT model, sum(n) FROM volume FINAL WHERE slice = 'all' GROUP BY model": {(name,): n[name] for name in n},
        "SELECT model, field, kind, sum(n) FROM all_violations GROUP BY 1, 2, 3": {
            ("binary", "score", "above"): 3,
            ("binary", "score", "below"): 2,
            ("binary", "score", "invalid"): 1,
            ("classes", "class", "unseen"): 4,
            ("classes", "scores.yes", "above"): 2,
            ("classes", "scores.no", "below"): 2,
        },
        "SELECT model, kind, sum(n) AS n FROM label_counts GROUP BY 1, 2 HAVING n > 0": {
            (model, kind): count for model, of_model in kinds.items() for kind, count in of_model.items()
        },
        "SELECT topic, model, reason, sum(n) FROM dead_letters GROUP BY 1, 2, 3": {
            ("labels", "", "unknown-model"): 7,
            ("labels", "binary", "wrong-type"): 3,
        },
        # A value of a megabyte is in the slice of all other values.
        "SELECT slice, sum(n) FROM volume FINAL WHERE model = 'binary' GROUP BY slice": {
            ("all",): n["binary"],
            ("region=north",): 40,
            ("region=other",): 12,
        },
    }

    def counts(sql: str) -> dict[tuple[Any, ...], int]:
        return {tuple(key): n for *key, n in pipeline.rows(sql)}

    # Counts arrive through several processors at different times. A count that exceeds its target never equals it.
    for sql, target in expected.items():
        with suppress(AssertionError):  # the assertion below shows the difference
            wait_for(lambda: counts(sql) == target, sql, 120)  # noqa: B023
        pipeline.alive()
        assert counts(sql) == target
    pipeline.wait_settled()
    assert {sql: counts(sql) for sql in expected} == expected
    # A score that is not a probability is not measured. Of eleven labels of one prediction the last counts: false.
    [(tp, fp, fn, tn)] = pipeline.rows(
        f"SELECT {', '.join(f'sum(confusion[{i}])' for i in range(1, 5))} FROM performance_state FINAL "
        "WHERE model = 'binary' AND slice = 'all'"
    )
    assert (tp, fp, fn, tn) == (22, 11, 0, 0)
    # A raw row keeps a value of a megabyte.
    lengths = pipeline.rows("SELECT length(context['region']) AS n, count() FROM predictions WHERE n > 5 GROUP BY n")
    assert lengths == [(900_000, 6)]
    pipeline.alive()
