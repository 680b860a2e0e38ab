import logging
import math
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from barograph import Prompt, PromptError, Prompts, load_prompt
from barograph.prompts.content import (
    MAX_TEMPLATE_CHARS,
    PromptContent,
    PromptMessage,
    PromptVariable,
    content_hash,
    label_fault,
)
from barograph.prompts.errors import PromptFileError
from barograph.prompts.file import parse_content
from barograph.prompts.prompt import fallback_prompt, parse_prompt_id
from barograph.prompts.prompts import check_shares, choose_arm
from barograph.prompts.records import PromptLabel, PromptRecord, PromptVersion, encode_prompt_record
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_consumer import FakeMessage
from tests.unit.client.test_guard import Clock, ManualReader


class PromptReader(ManualReader):
    def receive(self, *records: PromptRecord) -> None:  # type: ignore[override]
        for record in records:
            self.receive_raw(record.key, encode_prompt_record(record))

    def receive_raw(self, key: bytes | None, value: bytes | None) -> None:
        self.on_message(FakeMessage(5, value, key_=key), True)
        self.tick()


def open_prompts(clock: Clock | None = None, **options: Any) -> tuple[Prompts, PromptReader]:
    reader = PromptReader()
    prompts = Prompts(bootstrap_servers="kafka:9092", monotonic=clock or Clock(), reader=reader.open, **options)
    return prompts, reader


def open_current(*records: PromptRecord, **options: Any) -> tuple[Prompts, PromptReader]:
    """Open prompts that have read version 1, in force, and then these records."""
    prompts, reader = open_prompts(**options)
    reader.receive(version_record(1), label_record(1, 1), *records)
    reader.confirm()
    return prompts, reader


def version_record(version: int, text: str = "v{version}: {{x}}") -> PromptVersion:
    content = parse_content(f"name: answer\ntemplate: '{text.replace('{version}', str(version))}'\n")
    digest = content_hash(content)
    return PromptVersion(version=version, content=content, content_hash=digest, registered_at_ms=1_000 + version)


def label_record(version: int, sequence: int, label: str = "production", **changes: Any) -> PromptLabel:
    changes |= {"sequence": sequence, "changed_at_ms": sequence}
    return PromptLabel(name="answer", label=label, version=version, **changes)


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
    prompts, reader = open_current()
    retained = prompts.get("answer")
    reader.receive(version_record(2), label_record(2, 20))
    assert shown(prompts.get("answer")) == ("answer@2", "production", "registry")
    assert shown(retained) == ("answer@1", "production", "registry"), "a prompt that is in use does not change"
    reader.receive(label_record(1, 1))
    assert prompts.get("answer").version == 2, "the topic is reread from its beginning"
    reader.receive(label_record(1, 21, is_rollback=True))
    assert prompts.get("answer").version == 1
    reader.receive(version_record(1, "another text"))
    assert prompts.get("answer").render(x="y") == "v1: y", "a version never changes"
    reader.receive_raw(label_record(1, 1).key, None)
    assert prompts.get("answer").version == 1, "a deleted record changes nothing"


def test_prompts_become_stale_and_stay_in_force() -> None:
    clock = Clock()
    prompts, reader = open_current(clock=clock, stale_s=30.0)
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
        prompts, _ = open_current(cache=path)
        [warning] = caplog.messages
        assert warning.startswith(f"the cache file {path} is ignored: "), content
        assert open_prompts(cache=path)[0].get("answer").source == "cache", content
        assert prompts.get("answer").source == "registry", content


def test_a_cache_file_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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


def test_a_fallback_serves_in_an_outage_and_is_reported_once_all_is_read(caplog: pytest.LogCaptureFixture) -> None:
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
    prompts, _ = open_current()
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
    prompts, _ = open_current(version_record(2), label_record(2, 2, "candidate"))
    shares = {"production": 0.5, "candidate": 0.5}
    ids = [prompts.assign("answer", unit=unit, shares=shares).id for unit in range(200)]
    assert set(ids) == {"answer@1", "answer@2"}
    assert ids == [prompts.assign("answer", unit=str(unit), shares=shares).id for unit in range(200)]
    assert {prompts.assign("answer", unit=u, shares={"1": 0.0, "2": 1.0}).id for u in range(50)} == {"answer@2"}


def test_unreadable_records_are_ignored_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    prompts, reader = open_current()
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
    prompts, reader = open_current()
    pid = os.fork()
    if pid == 0:
        is_expected = reader.started == 2 and prompts.wait(0) and prompts.get("answer").version == 1
        os._exit(0 if is_expected else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.started == 1
    assert prompts.close() == 0
    assert reader.stopped == 1
    assert prompts.get("answer").version == 1


WHOLE = """
name: answer
description: |
  Answers questions of customers.
owner: support
parent: 6
template:
  - role: system
    content: "You answer in {{ language }}. Draft: {{draft}}"
  - {role: user, content: "{{question}}"}
variables:
  question: {description: as it was typed}
  language: {type: text}
  draft: {type: bool, required: false}
config:
  model: small
  temperature: 0.2
  max_tokens: 200
  stop: [END, "3"]
  tools: {strict: true, seed: null, id: 1.50}
"""


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(PromptFileError) as caught:
        parse_content(text, "p.yaml")
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_every_key_is_read() -> None:
    tools = {"strict": True, "seed": None, "id": 1.5}
    assert parse_content(WHOLE) == PromptContent(
        name="answer",
        description="Answers questions of customers.\n",
        owner="support",
        parent=6,
        template=(
            PromptMessage("system", "You answer in {{ language }}. Draft: {{draft}}"),
            PromptMessage("user", "{{question}}"),
        ),
        variables={
            "question": PromptVariable(description="as it was typed"),
            "language": PromptVariable(),
            "draft": PromptVariable(type="bool", required=False),
        },
        config={"model": "small", "temperature": 0.2, "max_tokens": 200, "stop": ["END", "3"], "tools": tools},
    )
    content = parse_content("name: a\ntemplate: '{{x}} and {{y}}, {{ x }}'\n")
    assert content.variables == {"x": PromptVariable(), "y": PromptVariable()}
    assert parse_content("name: a\ntemplate: no variable, {x} and }} and {% stay text\n").variables == {}


def test_the_hash_covers_every_value_and_nothing_else() -> None:
    digest = content_hash(parse_content(WHOLE))
    # The same on all machines and in all releases: a registered version is found by it.
    assert digest == "c846e58fe5611f8e4a3649773299cfb7d31266c737321ec844392fedb872df91"
    lines = WHOLE.strip().splitlines()
    moved = "\n".join(["# a comment", *lines[3:5], *lines[:3], *lines[5:]])
    assert content_hash(parse_content(moved)) == digest
    changes = [
        ("name: answer", "name: answers"),
        ("customers", "clients"),
        ("support", "sales"),
        ("You answer", "You reply"),
        ("typed", "spoken"),
        ("type: bool", "type: int"),
        ("required: false", "required: true"),
        ('"3"', "3"),
        ("strict: true", "strict: false"),
    ]
    digests = {content_hash(parse_content(WHOLE.replace(*change))) for change in changes}
    assert len(digests | {digest}) == len(changes) + 1


def test_all_problems_are_reported_with_their_lines() -> None:
    message = '{role: user, content: "{{question}}"}'
    cases: list[tuple[str | bytes, list[str] | None]] = [
        ("", ["p.yaml:1: this is not a prompt; begin with name: NAME and template: TEXT"]),
        (b"\xff", ["p.yaml:1: byte 0 is not UTF-8; save the file as UTF-8"]),
        (
            "owner: x\n",
            [
                "p.yaml:1: name: is missing; write name: answer",
                'p.yaml:1: template: is missing; write template: "Answer the question: {{question}}"',
            ],
        ),
        (
            "name: a@1\ntemplate: ''\nparent: 0\nunknown: 1\nconfig: [1]\nvariables: {1x: {typ: text}}\n",
            [
                "p.yaml:1: name: 'a@1' has an @, which separates name and version; remove it",
                "p.yaml:2: template: the text is empty; write it, with placeholders such as {{question}}",
                "p.yaml:3: parent: '0' is out of range or not a whole number; "
                "write a whole number from 1 to 1000000000",
                "p.yaml:4: unknown: the key 'unknown' is unknown; "
                "write one of name, template, variables, config, owner, parent, description",
                "p.yaml:5: config: write a map of `key: value` lines",
                "p.yaml:6: variables.1x.typ: the key 'typ' is unknown; did you mean type?",
                "p.yaml:6: variables.1x: is not the name of a variable; "
                "write letters, digits and underscores, no digit first",
            ],
        ),
        (
            "name: a\ntemplate: |\n  one {{x}}\n  two {{x y}}\n  {% if x %}\n",
            [
                "p.yaml:2: template: line 2 of the text: '{{x y}}' is not a placeholder; write {{name}} with letters, "
                "digits and underscores",
                "p.yaml:2: template: line 3 of the text: '{% if x %}' is a statement of Jinja; templates have "
                "placeholders only: compute the value, and pass it as a variable",
            ],
        ),
        (
            "name: a\ntemplate: '{{question}} {{other}}'\nvariables:\n  questoin: {}\n  unused: {}\n",
            [
                "p.yaml:3: variables.question: is in the template and not declared; did you mean questoin?",
                "p.yaml:3: variables.other: is in the template and not declared; write one of questoin, unused",
                "p.yaml:4: variables.questoin: is in no template; write {{questoin}} there, or remove it",
                "p.yaml:5: variables.unused: is in no template; write {{unused}} there, or remove it",
            ],
        ),
        ("name: a\ntemplate: []\n", [f"p.yaml:2: template: the list is empty; write a message such as {message}"]),
        (
            "name: a\ntemplate: {role: user}\n",
            [f"p.yaml:2: template: write text, or a list of messages such as - {message}"],
        ),
        ("name: a\ntemplate: x\ntemplate: y\n", ["p.yaml:3: template: occurs twice (first in line 2); remove one"]),
        ("name: a\ntemplate: x\nconfig: {t: 1e999}\n", None),
    ]
    for text, expected in cases:
        reported = problems(text)
        assert sorted(reported) == sorted(reported if expected is None else expected), text


def test_templates_have_a_limit() -> None:
    half = "x" * (MAX_TEMPLATE_CHARS // 2)
    messages = f"- {{role: user, content: {half}}}\n"
    assert parse_content(f"name: a\ntemplate:\n{messages * 2}").texts == (half, half)
    [problem] = problems(f"name: a\ntemplate:\n{messages * 2}- {{role: user, content: y}}\n")
    assert problem == "p.yaml:2: template: the texts have 200,001 characters; write at most 200,000"
    [problem] = problems(f"name: a\ntemplate: x\nconfig: {{a: [{', '.join(['y' * 9_000] * 101)}]}}\n")
    assert "bytes as JSON; write at most 900,000" in problem


def test_a_file_is_a_prompt_without_a_registry(tmp_path: Path) -> None:
    path = tmp_path / "answer.yaml"
    path.write_text("name: answer\ntemplate: 'Answer: {{question}}'\n")
    prompt = load_prompt(path)
    assert (prompt.id, prompt.version, prompt.source) == ("answer@file", 0, "file")
    assert prompt.render(question="why?") == "Answer: why?"
    with pytest.raises(PromptError, match=r"none\.yaml: cannot be read: no such file or directory; give the path"):
        load_prompt(tmp_path / "none.yaml")


def prompt(text: str) -> Prompt:
    return Prompt(content=parse_content(text), version=7, source="registry")


TYPED = prompt(
    "name: answer\ntemplate: '{{t}}|{{i}}|{{f}}|{{b}}'\n"
    "variables: {t: {}, i: {type: int}, f: {type: float}, b: {type: bool, required: false}}\n"
)


def test_values_of_every_type_are_written() -> None:
    assert TYPED.render(t="x", i=-3, f=0.5, b=True) == "x|-3|0.5|true"
    assert TYPED.render(t="", i=10**20, f=2) == "|100000000000000000000|2|"
    assert TYPED.render(t="x", i=1, f=1.0, b=None) == "x|1|1.0|"
    assert prompt("name: a\ntemplate: '{{self}} {{values}}'\n").render(self="x", values="y") == "x y", "any name"


@given(st.text(), st.text())
def test_values_are_inserted_literally(first: str, second: str) -> None:
    text = prompt("name: a\ntemplate: '<{{x}}> {{ y }} {{x}} {z} %s \\1'\n")
    assert text.render(x=first, y=second) == f"<{first}> {second} {first} {{z}} %s \\1"


def test_braces_inside_a_value_are_no_placeholders() -> None:
    text = prompt("name: a\ntemplate: '{{x}} {{y}}'\n")
    assert text.render(x="{{y}}", y="{{x}} {0} $y") == "{{y}} {{x}} {0} $y"
    chat = prompt("name: a\ntemplate:\n- {role: system, content: 'Be {{how}}.'}\n- {role: user, content: '{{q}}'}\n")
    system, user = {"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}
    assert chat.render(how="short", q="Why?") == [system, user]


def test_all_values_that_do_not_fit_are_one_error() -> None:
    with pytest.raises(PromptError) as caught:
        TYPED.render(i="3", f=float("nan"), b=1, other=2, t=None)
    assert str(caught.value) == (
        "values for answer@7 do not fit its variables: missing: t; unknown: other (it has t, i, f, b); "
        "i is str, not a whole number; f is float, not a finite number; b is int, not True or False"
    )
    for wrong in ({"i": True}, {"i": 1.0}, {"f": True}, {"t": b"x"}, {"t": 3}):
        with pytest.raises(PromptError, match=r"^values for answer@7 do not fit its variables: \w is \w+, not "):
            TYPED.render(**({"t": "x", "i": 1, "f": 1.0} | wrong))


def test_a_fallback_accepts_the_values_of_other_versions_and_is_checked_at_once() -> None:
    fallback = fallback_prompt("answer", "Answer {{question}} ({{n}})")
    assert (fallback.id, fallback.source) == ("answer@fallback", "fallback")
    assert fallback.render(question="why?", n=3, context="unknown") == "Answer why? (3)"
    with pytest.raises(PromptError, match="missing: n"):
        fallback.render(question="why?")
    messages = fallback_prompt("a", [{"role": "user", "content": "{{x}}"}])
    assert messages.content.template == (PromptMessage("user", "{{x}}"),)
    other = fallback_prompt("b", TYPED)
    assert (other.id, other.source, other.content.variables) == ("b@7", "fallback", TYPED.content.variables)
    wrong: tuple[object, ...] = (None, 3, [], {}, b"x", [{"role": "nobody", "content": "x"}], "{{a b}}")
    for malformed in wrong:
        with pytest.raises(PromptError, match="the fallback of a"):
            fallback_prompt("a", malformed)


def test_an_id_has_a_name_and_perhaps_a_version_and_a_label_is_no_version() -> None:
    assert label_fault("candidate") is None
    assert label_fault("7") == "'7' looks like a version; write a word such as production"
    assert label_fault("a@7") == "'a@7' has an @, which separates name and version; remove it"
    assert parse_prompt_id("answer@7") == ("answer", 7)
    assert parse_prompt_id("a b") == ("a b", None)
    for wrong in ("a@", "a@0", "a@x", "a@1@2", "a@99999999999"):
        with pytest.raises(PromptError, match="is not a prompt; write NAME or NAME@VERSION"):
            parse_prompt_id(wrong)


N = 20_000
UNITS = [f"user-{i}" for i in range(N)]


def arms(shares: dict[str, float], experiment: str = "answer") -> list[str]:
    return [choose_arm(experiment, unit, shares) for unit in UNITS]


def test_assignments_are_the_same_on_all_machines_and_in_all_releases() -> None:
    shares = {"7": 0.5, "8": 0.3, "candidate": 0.2}
    assert "".join(arm[0] for arm in arms(shares)[:40]) == "778877c8cc8878c77777887cc7778887c7888878"
    assert arms(dict(reversed(shares.items()))) == arms(shares), "the order of arms does not matter"


def test_shares_are_met_within_binomial_bounds() -> None:
    two = ({"7": 0.9, "8": 0.1}, {"7": 0.5, "8": 0.5}, {"7": 0.999, "8": 0.001})
    for shares in (*two, {"a": 0.2, "b": 0.3, "c": 0.5, "d": 0.0}):
        counts = Counter(arms(shares))
        for arm, share in shares.items():
            # Units and hash are fixed, so the test gives the same result at each run.
            assert abs(counts[arm] - N * share) <= 4 * math.sqrt(N * share * (1 - share)), (shares, arm)
    shares = {"7": 0.5, "8": 0.5}
    same = sum(a == b for a, b in zip(arms(shares), arms(shares, "summary"), strict=True))
    assert abs(same - N / 2) <= 4 * math.sqrt(N / 4), "prompts are assigned independently"


def test_only_the_necessary_units_move() -> None:
    """One share changes and the others keep their proportions."""
    for before, after in (
        ({"7": 0.9, "8": 0.1}, {"7": 0.8, "8": 0.2}),
        ({"7": 0.9, "8": 0.1}, {"7": 1.0}),
        ({"7": 1.0}, {"7": 0.95, "8": 0.05}),
        ({"7": 0.6, "8": 0.2, "9": 0.2}, {"7": 0.45, "8": 0.15, "9": 0.4}),
    ):
        grown = {arm for arm, share in after.items() if share > before.get(arm, 0) + 1e-9}
        necessary = sum(after[arm] - before.get(arm, 0) for arm in grown)
        moves = [(old, new) for old, new in zip(arms(before), arms(after), strict=True) if old != new]
        assert {new for _, new in moves} == grown
        assert abs(len(moves) - N * necessary) <= 4 * math.sqrt(N * necessary * (1 - necessary))


def test_shares_that_are_none_are_rejected() -> None:
    rejected: list[tuple[dict[str, Any], str]] = [
        ({}, "sum to 0"),
        ({"7": 0.5}, "sum to 0.5"),
        ({"7": -0.5, "8": 1.0}, "share of '7' is -0.5"),
        ({"7": float("nan")}, "share of '7' is nan"),
        ({"7": "1"}, "share of '7' is '1'"),
    ]
    for shares, message in rejected:
        with pytest.raises(ValueError, match=message):
            check_shares(shares)
