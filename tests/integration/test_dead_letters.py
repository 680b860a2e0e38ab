"""Dead letters on Apache Kafka: replayed exactly once despite kills, linked when rejected again, never deleted."""

import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from barograph.events import ARROW_CONTENT_TYPE, CONTENT_TYPE_HEADER, END_MARK, MARK_HEADER, Reason, encode_arrow
from confluent_kafka import Producer

from barograph_server.streams.dead_letters.dead_letter import Resolution
from barograph_server.streams.dead_letters.message import dead_message
from barograph_server.streams.dead_letters.reader import DeadLetterFilter
from barograph_server.streams.dead_letters.replay import DeadLetterReplayer
from barograph_server.streams.events.batch import DEAD_LETTER_HEADER, TOKEN_HEADER, RejectedEvent
from barograph_server.streams.records import Partial, Progress, Tally, decode
from tests.support import command_line, killed_replay
from tests.support.environment import enter_folder, kafka_lines
from tests.support.forked_processors import fork
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract, wait_for
from tests.support.sketching import settings_of

NOW_MS = int(time.time() * 1000) - 600_000
DEAD_LETTERS, BATCH = 12, 4


def event(i: int, model: str = "toy", **changes: Any) -> bytes:
    plain = {"model": model, "version": "1", "id": f"e{i}", "at": NOW_MS + i, "producer": "p", "seq": i}
    return json.dumps(
        plain | {"features": {"x": i / 8, "colour": "red"}, "context": {"region": "north"}} | changes
    ).encode()


def replay(pipeline: Pipeline, call: str) -> tuple[int, str]:
    """Replay in a process that is killed at a call; return its exit code and its log."""
    options = {"bootstrap_servers": pipeline.bootstrap, "prefix": pipeline.prefix, "batch": BATCH}
    log = pipeline.log_dir / f"replay {call}.log"
    return fork(killed_replay.main, [call, json.dumps(options)], log, os.environ).wait(120), log.read_text()


def resolutions(pipeline: Pipeline) -> dict[str, Resolution]:
    messages = pipeline.read_all(pipeline.topics.dead_letters)
    assert len({m.key() for m in messages}) == len(messages), "a dead letter was resolved twice"
    return {m.key().decode(): msgspec.json.decode(m.value(), type=Resolution) for m in messages}


@pytest.mark.long
def test_a_replay_killed_at_any_point_sends_every_dead_letter_once(pipeline: Pipeline) -> None:
    pipeline.create(source_partitions=2)
    producer = Producer({"bootstrap.servers": pipeline.bootstrap})
    values = [event(i, "later") for i in range(DEAD_LETTERS)]
    for i, value in enumerate(values):
        rejected = RejectedEvent(Reason.UNKNOWN_MODEL, i % 2, i, 0, value, "later")
        producer.produce(pipeline.topics.predictions_dead, **dead_message(rejected, pipeline.topics.predictions))
    assert producer.flush(30) == 0
    # Calls of each transaction: begin, 2 × BATCH produce, commit. init_transactions is call 0.
    commit = 2 * BATCH + 2
    sent = 0
    for call in ("5+", str(commit), f"{commit}+", f"{commit + 3}+"):
        code, log = replay(pipeline, call)
        assert code == -9, f"call {call}: {log}"
        before, sent = sent, len(resolutions(pipeline))
        # Only a run that was killed after a commit sent messages, in whole transactions.
        assert sent - before == (BATCH if int(call.rstrip("+")) > commit or call == f"{commit}+" else 0), call
        assert len(pipeline.read_all(pipeline.topics.predictions)) == sent, call
    settings = settings_of(pipeline)
    assert DeadLetterReplayer(settings).replay(DeadLetterFilter()).resolved.total() == DEAD_LETTERS - sent > 0
    assert DeadLetterReplayer(settings).replay(DeadLetterFilter()).resolved.total() == 0
    messages = pipeline.read_all(pipeline.topics.predictions)
    assert sorted(m.value() for m in messages) == sorted(values)
    assert {m.value(): m.partition() for m in messages} == {value: i % 2 for i, value in enumerate(values)}
    assert Counter(each.state for each in resolutions(pipeline).values()) == {"replayed": DEAD_LETTERS}


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    return command_line.output_of(capsys, code, "dead-letters", *words)


def groups(capsys: pytest.CaptureFixture[str], *words: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    report = json.loads(run(capsys, "list", "--format", "json", *words))
    return {(group["topic"].rpartition("-")[2], group["model"], group["reason"]): group for group in report}


def counted(pipeline: Pipeline, model: str) -> tuple[int, int]:
    """Count a model's events and producer numbers in committed partials and tallies."""
    events = numbers = 0
    for message in pipeline.read_all(pipeline.topics.partials):
        record = decode(message.value())
        if isinstance(record, Partial) and record.model == model and record.slice_from == record.field_from == 0:
            events += int(record.counts[0, 0])
        if isinstance(record, Tally) and record.model == model and record.topic == "predictions":
            numbers += sum(each.n for each in record.producers)
    return events, numbers


@pytest.mark.long
def test_dead_letters_are_replayed_counted_once_and_linked_when_rejected_again(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.prepare()
    rows: dict[str, list[Any]] = {"model": ["toy", "later"], "version": ["1", "1"], "id": ["a0", "a1"]}
    table = pa.table({**rows, "at": [NOW_MS, NOW_MS + 1], "features.x": [0.5, 1.5]})
    messages: list[tuple[int, bytes | None, Any]] = [(0, event(i), None) for i in range(5)]
    messages += [(0, event(i, "later"), None) for i in range(10, 13)]
    messages += [(0, event(5, at="once upon a time"), None), (0, b'{"model": "toy", "id": Jane', None)]
    messages.append((0, encode_arrow(table), [(CONTENT_TYPE_HEADER, ARROW_CONTENT_TYPE)]))
    pipeline.produce(messages)
    label = {"model": "later", "id": "e10", "label": True, "at": NOW_MS}
    pipeline.produce([(0, json.dumps(label).encode(), None)], pipeline.topics.labels)
    pipeline.start_all("sketcher", "recorder", clock="live")
    topics = pipeline.topics
    wait_for(lambda: len(pipeline.read_all(topics.predictions_dead)) == 6, "six dead predictions")
    wait_for(lambda: len(pipeline.read_all(topics.labels_dead)) == 1, "a dead label")
    enter_folder(tmp_path, monkeypatch, pipeline.address, kafka_lines(pipeline.bootstrap, pipeline.prefix))
    before = groups(capsys)
    assert {key: group["waiting"] for key, group in before.items()} == {
        ("predictions", "later", "unknown-model"): 4,
        ("labels", "later", "unknown-model"): 1,
        ("predictions", "toy", "bad-time"): 1,
        ("predictions", "", "not-json"): 1,
    }
    assert "6 dead letters waiting" in run(capsys, "list", "--topic", "predictions", "--since", "1h")
    assert run(capsys, "list", "--until", "1h") == "No dead letters.\n"
    assert "Select the dead letters to replay" in run(capsys, "replay", code=1)
    # Fix the cause: apply the model's contract.
    baseline = msgspec.structs.replace(simple_baseline(), model="later")
    pipeline.register(simple_contract(model="later"), [baseline])
    for name in ("sketcher-0", "recorder-0"):
        wait_for(lambda: '"models": 2' in pipeline.log(name), f"the contract in {name}", 60)  # noqa: B023
    pipeline.wait_flushed()
    assert "4 dead letters waiting" in run(capsys, "replay", "--model", "later", "--topic", "predictions", "--dry-run")
    output = run(capsys, "replay", "--model", "later")
    assert f"Replayed 4 of {topics.predictions}." in output
    assert f"Replayed 1 of {topics.labels}." in output
    # An event that is still malformed is rejected again.
    assert f"Replayed 1 of {topics.predictions}." in run(capsys, "replay", "--reason", "bad-time")
    pipeline.wait_rows("SELECT count() = 4 FROM all_predictions WHERE model = 'later'", "the events as raw rows", 60)
    pipeline.wait_rows("SELECT count() = 1 FROM labels FINAL WHERE model = 'later'", "the label", 60)
    wait_for(lambda: len(pipeline.read_all(topics.predictions_dead)) == 7, "one that was rejected again", 60)
    wait_for(lambda: counted(pipeline, "later") == (4, 3), "the events in partials")
    # Its number was counted on first receipt.
    assert counted(pipeline, "toy") == (6, 6)
    # A message that only claims to be this replay is an ordinary event, whatever token it invents.
    claim = [(DEAD_LETTER_HEADER, f"{topics.predictions_dead}/0/0".encode()), ("barograph-counted", b"1")]
    token = (TOKEN_HEADER, b"0123456789abcdef" * 2)
    pipeline.produce([(0, event(6), claim), (0, event(7), [*claim, token])])
    wait_for(lambda: counted(pipeline, "toy") == (8, 8), "the forged replays as ordinary events")
    assert pipeline.log("sketcher-0").count("replay headers ignored") == 1
    back = pipeline.read_all(topics.predictions_dead)[-1]
    first = next(m for m in pipeline.read_all(topics.predictions_dead) if m.value() == back.value())
    assert dict(back.headers())["replay-of"].decode() == f"{topics.predictions_dead}/0/{first.offset()}"
    assert dict(back.headers())["reason"] == b"bad-time"
    counts = {"topic": topics.predictions, "waiting": 1, "replayed": 1, "dropped": 0, "rejected_again": 1}
    assert groups(capsys)["predictions", "toy", "bad-time"].items() >= counts.items()
    (resent,) = [m for m in pipeline.read_all(topics.predictions) if m.value() == back.value() and m.headers()]
    assert dict(resent.headers())[TOKEN_HEADER].decode() in {each.token for each in resolutions(pipeline).values()}
    sent = len(pipeline.read_all(topics.predictions))
    assert "rejected again" in run(capsys, "replay", "--model", "toy")
    assert len(pipeline.read_all(topics.predictions)) == sent
    assert run(capsys, "replay", "--model", "later").startswith("No dead letter was replayed")
    name = f"{topics.predictions_dead}/{back.partition()}/{back.offset()}"
    shown = run(capsys, "show", name)
    assert "once upon a time" in shown
    assert ["replay", "of", f"{topics.predictions_dead}/0/{first.offset()}"] in map(str.split, shown.splitlines())
    # No contract covers these bytes: only their shape is shown.
    assert "Jane" not in run(capsys, "show", "--reason", "not-json")
    assert '{"xxxxx": "xxx", "xx": xxxx' in run(capsys, "show", "--reason", "not-json")
    assert "Jane" in run(capsys, "show", "--reason", "not-json", "--unmasked")
    assert "--because is empty" in run(capsys, "drop", name, "--because", " ", code=1)
    assert "1 of" in run(capsys, "drop", name, "--because", "a test clock")
    assert len(pipeline.read_all(topics.predictions_dead)) == 7
    assert "dropped" in run(capsys, "show", name)
    assert "a test clock" in run(capsys, "show", name)
    assert "no dead letter" in run(capsys, "drop", name, "--because", "once more", code=1)
    # A dropped dead letter can still be replayed, with both options.
    assert "1 of" in run(capsys, "replay", name, "--dropped", "--again")
    wait_for(lambda: len(pipeline.read_all(topics.predictions_dead)) == 8, "it is rejected again")
    assert [m.headers()[0][0] for m in pipeline.read_all(topics.predictions)[-1:]] == [DEAD_LETTER_HEADER]
    pipeline.alive()


def test_an_end_marker_on_the_live_clock_is_a_dead_letter_and_ends_no_model(pipeline: Pipeline) -> None:
    pipeline.prepare()
    topics, end = pipeline.topics, [(MARK_HEADER, END_MARK)]
    pipeline.produce([(0, event(0), None), (0, b"", end), (0, event(1), None)])
    pipeline.produce([(0, b"", end)], topics.labels)
    pipeline.start_all("sketcher", "recorder", clock="live")
    wait_for(lambda: counted(pipeline, "toy") == (2, 2), "the events around the end marker")
    for topic in (topics.predictions_dead, topics.labels_dead):
        wait_for(lambda: len(pipeline.read_all(topic)) == 1, f"the end marker in {topic}", 60)  # noqa: B023
        (dead,) = pipeline.read_all(topic)
        assert dict(dead.headers())["reason"] == b"unexpected-mark"
    records = [decode(message.value()) for message in pipeline.read_all(topics.partials)]
    ranges = [covered for record in records if isinstance(record, Progress) for covered in record.ranges]
    assert ranges
    assert not any(covered.end_mark for covered in ranges)
