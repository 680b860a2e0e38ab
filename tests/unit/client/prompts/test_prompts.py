"""The dictionary in a serving process: caught up, stale, from the cache file, fallbacks, and after a fork."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from barograph import Prompt, PromptError, Prompts
from barograph.prompts.content import content_hash
from barograph.prompts.file import parse_content
from barograph.prompts.records import PromptLabel, PromptRecord, PromptVersion, encode_prompt_record

from tests.unit.client.guard.guards import Clock, StartStop


class Message:
    def __init__(self, key: bytes | None, value: bytes | None) -> None:
        self._key, self._value = key, value

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def offset(self) -> int:
        return 5

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_000


class ManualTopicReader(StartStop):
    """Takes the place of the thread: a test passes messages on."""

    def __init__(
        self, settings: Any, topic: str, name: str, on_message: Any, on_tick: Any, *, on_current: Any, **_: Any
    ) -> None:
        self.settings, self.topic = settings, topic
        self.on_message, self.tick = on_message, on_tick
        self.confirm: Callable[[], None] = on_current

    def receive(self, *records: PromptRecord) -> None:
        for record in records:
            self.receive_raw(record.key, encode_prompt_record(record))

    def receive_raw(self, key: bytes | None, value: bytes | None) -> None:
        self.on_message(Message(key, value), True)
        self.tick()


def open_prompts(clock: Clock | None = None, **options: Any) -> tuple[Prompts, ManualTopicReader]:
    readers: list[ManualTopicReader] = []

    def make(*arguments: Any, **named: Any) -> Any:
        readers.append(ManualTopicReader(*arguments, **named))
        return readers[0]

    prompts = Prompts(bootstrap_servers="kafka:9092", monotonic=clock or Clock(), reader=make, **options)
    return prompts, readers[0]


def version_record(version: int, text: str = "v{version}: {{x}}", name: str = "answer") -> PromptVersion:
    content = parse_content(f"name: {name}\ntemplate: '{text.replace('{version}', str(version))}'\n")
    return PromptVersion(
        version=version, content=content, content_hash=content_hash(content), registered_at_ms=1_000 + version
    )


def label_record(version: int, sequence: int, label: str = "production", **changes: Any) -> PromptLabel:
    return PromptLabel(
        name="answer", label=label, version=version, sequence=sequence, changed_at_ms=sequence, **changes
    )


def shown(prompt: Prompt) -> tuple[str, str, str]:
    return prompt.id, prompt.label, prompt.source


def test_nothing_serves_before_everything_is_read_since_labels_of_the_past_must_not() -> None:
    prompts, reader = open_prompts(topic_prefix="eu-")
    assert (reader.topic, reader.settings["bootstrap.servers"]) == ("eu-prompts", "kafka:9092")
    reader.receive(version_record(1), version_record(2), label_record(1, 1), label_record(2, 2))
    with pytest.raises(PromptError, match="topic eu-prompts has not been read yet, and there is no cache file and no"):
        prompts.get("answer")
    assert not prompts.wait(0)
    reader.confirm()
    assert prompts.wait(0)
    assert shown(prompts.get("answer")) == ("answer@2", "production", "registry")
    assert shown(prompts.get("answer", version=1)) == ("answer@1", "", "registry")
    assert prompts.names == ("answer",)


def test_each_change_is_in_force_at_once_and_an_older_one_never_again() -> None:
    prompts, reader = open_prompts()
    reader.receive(version_record(1), label_record(1, 10))
    reader.confirm()
    retained = prompts.get("answer")
    reader.receive(version_record(2), label_record(2, 20))
    assert shown(prompts.get("answer")) == ("answer@2", "production", "registry")
    assert shown(retained) == ("answer@1", "production", "registry"), "a prompt that is in use does not change"
    reader.receive(label_record(1, 10))
    assert prompts.get("answer").version == 2, "the topic is reread from its beginning"
    reader.receive(label_record(1, 21, is_rollback=True))
    assert prompts.get("answer").version == 1
    reader.receive(version_record(1, "another text"))
    assert prompts.get("answer").render(x="y") == "v1: y", "a version never changes"
    reader.receive_raw(label_record(1, 1).key, None)
    assert prompts.get("answer").version == 1, "a deleted record changes nothing"


def test_prompts_become_stale_and_stay_in_force() -> None:
    clock = Clock()
    prompts, reader = open_prompts(clock, stale_s=30.0)
    reader.receive(version_record(1), label_record(1, 1))
    reader.confirm()
    clock.now_s += 29
    reader.tick()
    assert prompts.get("answer").source == "registry"
    clock.now_s += 1
    reader.tick()
    assert shown(prompts.get("answer")) == ("answer@1", "production", "stale")
    reader.confirm()
    assert prompts.get("answer").source == "registry"


def test_the_cache_file_serves_until_kafka_answers(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    before, reader = open_prompts(cache=path)
    assert not path.exists()
    reader.receive(version_record(1), label_record(1, 1))
    reader.confirm()
    assert path.stat().st_mode & 0o777 == 0o600
    reader.receive(version_record(2), label_record(2, 2))
    prompts, reader = open_prompts(cache=path, fallback={"answer": "fallback"})
    assert shown(prompts.get("answer")) == ("answer@2", "production", "cache")
    assert prompts.get("answer").content == before.get("answer").content
    assert shown(prompts.get("answer", label="candidate")) == ("answer@fallback", "", "fallback")
    with pytest.raises(PromptError, match="nothing of it in the cache file"):
        prompts.get("other")
    reader.receive(label_record(1, 3))
    assert prompts.get("answer").version == 2, "the topic has not been read to its end"
    reader.confirm()
    assert shown(prompts.get("answer")) == ("answer@1", "production", "registry")
    assert [each.name for each in tmp_path.iterdir()] == ["prompts.json"]


def test_a_file_that_is_no_cache_is_ignored_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "barograph.prompts")
    later = b'{"format": 2, "topic": "prompts", "records": []}'
    other = b'{"format": 1, "topic": "eu-prompts", "records": []}'
    for number, content in enumerate((b"", b"{}", b"[" * 10_000, later, other, b"\xff")):
        path = tmp_path / f"{number}.json"
        path.write_bytes(content)
        caplog.clear()
        prompts, reader = open_prompts(cache=path)
        [warning] = caplog.messages
        assert warning.startswith(f"the cache file {path} is ignored: "), content
        reader.receive(version_record(1), label_record(1, 1))
        reader.confirm()
        assert open_prompts(cache=path)[0].get("answer").source == "cache", content
        assert prompts.get("answer").source == "registry", content


def test_a_cache_file_that_cannot_be_replaced_is_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "prompts.json"
    path.mkdir()
    prompts, reader = open_prompts(cache=path)
    with caplog.at_level(logging.WARNING, "barograph.prompts"):
        caplog.clear()
        reader.receive(version_record(1), label_record(1, 1))
        reader.confirm()
        reader.receive(version_record(2), label_record(2, 2))
    [warning] = caplog.messages
    assert warning.startswith(f"the cache file {path} cannot be written: ")
    assert list(tmp_path.iterdir()) == [path], "the temporary file is removed"
    assert prompts.get("answer").version == 2


def test_a_fallback_serves_in_an_outage_and_is_reported_once_everything_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    prompts, reader = open_prompts(fallback={"answer": "Answer {{x}}"})
    with caplog.at_level(logging.WARNING, "barograph.prompts"):
        assert prompts.get("answer").render(x="why?", more=1) == "Answer why?"
        assert prompts.assign("answer", unit=1, shares={"7": 0.5, "8": 0.5}).id == "answer@fallback"
        assert not caplog.messages
        reader.confirm()
        prompts.get("answer")
        prompts.get("answer")
    assert caplog.messages == [
        "the fallback serves: no prompt answer is registered in topic prompts. Register it with `barograph prompts "
        "register`."
    ]
    reader.receive(version_record(1), label_record(1, 1))
    assert prompts.get("answer").id == "answer@1"


def test_what_exists_nowhere_is_a_clear_error() -> None:
    prompts, reader = open_prompts()
    reader.receive(version_record(1), label_record(1, 1))
    reader.confirm()
    calls: tuple[tuple[Callable[[], Prompt], str], ...] = (
        (lambda: prompts.get("anser"), "no prompt anser is registered in topic prompts; did you mean answer?"),
        (lambda: prompts.get("answer", label="candidate"), "prompt answer has no label candidate; it has 1"),
        (lambda: prompts.get("answer", version=2), "prompt answer has no version 2; it has 1, production. Register it"),
        (lambda: prompts.assign("answer", unit="u", shares={"3": 1.0}), "prompt answer has no version 3"),
    )
    for call, message in calls:
        with pytest.raises(PromptError) as caught:
            call()
        assert str(caught.value).startswith(message)
    with pytest.raises(ValueError, match="both label 'production' and version 1 are given"):
        prompts.get("answer", label="production", version=1)
    for unit in ("", None):
        with pytest.raises(ValueError, match="the unit is empty"):
            prompts.assign("answer", unit=unit, shares={"1": 1.0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stale_s is 9; it must be at least 10"):
        open_prompts(stale_s=9)


def test_units_keep_their_version_or_label() -> None:
    prompts, reader = open_prompts()
    reader.receive(version_record(1), version_record(2), label_record(2, 1, "candidate"), label_record(1, 2))
    reader.confirm()
    shares = {"production": 0.5, "candidate": 0.5}
    ids = [prompts.assign("answer", unit=unit, shares=shares).id for unit in range(200)]
    assert set(ids) == {"answer@1", "answer@2"}
    assert ids == [prompts.assign("answer", unit=str(unit), shares=shares).id for unit in range(200)]
    assert {prompts.assign("answer", unit=u, shares={"1": 0.0, "2": 1.0}).id for u in range(50)} == {"answer@2"}


def test_unreadable_records_are_ignored_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    prompts, reader = open_prompts()
    reader.receive(version_record(1), label_record(1, 1))
    reader.confirm()
    with caplog.at_level(logging.WARNING, "barograph.prompts"):
        for key, value in (
            (b"x", b"no JSON"),
            (None, b"{}"),
            (label_record(1, 1).key, encode_prompt_record(label_record(2, 2**53))),
            (b"x", b"[" * 100_000),
            (b"answer\0version\0002", encode_prompt_record(version_record(1))),
            (version_record(2).key, encode_prompt_record(version_record(2)).replace(b"v2", b"v3")),
            (label_record(1, 1).key, encode_prompt_record(label_record(1, 2)).replace(b'"version":1', b'"version":0')),
        ):
            reader.receive_raw(key, value)
    [warning] = caplog.messages
    assert warning.startswith("an unreadable record in topic prompts is ignored, as are further ones: offset 5: ")
    assert prompts.get("answer").version == 1


def test_a_forked_child_reads_with_a_thread_of_its_own() -> None:
    prompts, reader = open_prompts()
    reader.receive(version_record(1), label_record(1, 1))
    reader.confirm()
    pid = os.fork()
    if pid == 0:
        is_expected = reader.started == 2 and prompts.wait(0) and prompts.get("answer").version == 1
        os._exit(0 if is_expected else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.started == 1
    assert prompts.close() == 0
    assert reader.stopped == 1
    assert prompts.get("answer").version == 1
