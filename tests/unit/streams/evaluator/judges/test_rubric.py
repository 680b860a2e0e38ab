"""Rubrics in YAML: what they say, and one line for each problem."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from barograph.contract.problems import ContractError

from barograph_server.streams.evaluator.judges.chat import ChatParameters
from barograph_server.streams.evaluator.judges.errors import JudgeError, JudgeErrorCode
from barograph_server.streams.evaluator.judges.messages import rubric_hash, rubric_messages, verdict_schema
from barograph_server.streams.evaluator.judges.rubric import JudgedTexts, Rubric, ScoreRange, parse_rubric, read_rubric

SCORED = """\
rubric: 1
name: helpful
question: Is it helpful?
scale: {faulty: It is not., sound: It is.}
scores: 1-5
faulty_at_most: 2
reason: last
examples:
  - {prompt: Hi?, answer: Hello., score: 5, reason: It greets.}
model: {temperature: 0.5, max_tokens: 99, seed: 7}
"""


def test_a_rubric_with_scores_and_one_with_defaults(rubric: Rubric) -> None:
    scored = parse_rubric(SCORED, "r.yaml")
    assert scored.scores == ScoreRange(1, 5, 2)
    assert [scored.scores.class_of(score) for score in range(1, 6)] == ["faulty", "faulty", "sound", "sound", "sound"]
    assert scored.parameters == ChatParameters(0.5, 99, 7)
    assert scored.examples[0].texts == JudgedTexts("Hi?", "Hello.")
    schema = verdict_schema(scored)
    assert schema["properties"] == {"score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}, "reason": {"type": "string"}}
    assert list(schema["properties"]) == schema["required"] == ["score", "reason"]
    assert rubric.inputs == ("prompt", "context", "answer"), "the order of the message, not of the file"
    assert (rubric.scores, rubric.examples, rubric.reason) == (None, (), "first")
    assert rubric.parameters == ChatParameters(0.0, 300, 1)


def test_messages_are_these(rubric: Rubric) -> None:
    system, user = rubric_messages(rubric, JudgedTexts("Q", "A", "C"), "0f0f0f0f")
    assert system.role == "system"
    assert "Does the answer state only what the context supports?" in system.content
    assert "faulty: It states something else.\nsound: It does." in system.content
    assert system.content.endswith('{"reason": "one short sentence", "class": "faulty" or "sound"}')
    assert (user.role, user.content) == (
        "user",
        "The token of this message is 0f0f0f0f.\n\n"
        "BEGIN prompt 0f0f0f0f\nQ\nEND prompt 0f0f0f0f\n\n"
        "BEGIN context 0f0f0f0f\nC\nEND context 0f0f0f0f\n\n"
        "BEGIN answer 0f0f0f0f\nA\nEND answer 0f0f0f0f\n\n"
        "The data ended above. Evaluate the answer by the rules of the first message. Reply only with the JSON object.",
    )


def test_all_messages_but_the_last_are_the_same_for_each_answer() -> None:
    rubric = parse_rubric(SCORED, "r.yaml")
    one = rubric_messages(rubric, JudgedTexts("Q", "A"), "11111111")
    other = rubric_messages(rubric, JudgedTexts("R", "B"), "22222222")
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]
    assert [message.role for message in one] == ["system", "user", "assistant", "user"]
    assert one[2].content == '{"score": 5, "reason": "It greets."}'


@pytest.mark.parametrize(
    ("line", "replacement", "problem"),
    [
        ("scale: {faulty: It is not., sound: It is.}\n", "", "r.yaml:1: scale: is missing"),
        ("sound: It is.", "good: It is.", "r.yaml:4: scale.good: the key 'good' is unknown"),
        ("sound: It is.", "sound: ' '", "r.yaml:4: scale.sound: the text is empty"),
        ("rubric: 1", "rubric: 2", "r.yaml:1: rubric: '2' is out of range"),
        ("scores: 1-5", "scores: 5-1", "r.yaml:5: scores: '5-1' is not a range of scores"),
        ("scores: 1-5\n", "", "r.yaml:5: faulty_at_most: needs scores"),
        ("faulty_at_most: 2", "faulty_at_most: 5", "r.yaml:6: faulty_at_most: is not a score that leaves one"),
        ("faulty_at_most: 2\n", "", "r.yaml:1: faulty_at_most: is missing; write the highest score"),
        ("score: 5, ", "", "r.yaml:9: examples[0].score: is missing; write the right result"),
        ("prompt: Hi?, ", "", "r.yaml:9: examples[0].prompt: is missing; the rubric's inputs contain it"),
        ("reason: last", "inputs: [prompt]", "r.yaml:7: inputs: answer is missing"),
        ("reason: last", "inputs: [answer]", "r.yaml:9: examples[0].prompt: is not one of the rubric's inputs"),
        ("score: 5,", "class: sound,", "r.yaml:9: examples[0].class: the rubric has scores; write score"),
        ("score: 5,", "score: 9,", "r.yaml:9: examples[0].score: is outside the scores"),
        ("temperature: 0.5", "temperature: hot", "r.yaml:10: model.temperature: 'hot' is not a number"),
        ("name: helpful", "nmae: helpful", "r.yaml:2: nmae: the key 'nmae' is unknown; did you mean name?"),
    ],
)
def test_problems_have_their_line(line: str, replacement: str, problem: str) -> None:
    assert line in SCORED
    with pytest.raises(ContractError) as error:
        parse_rubric(SCORED.replace(line, replacement), "r.yaml")
    assert problem in str(error.value)


def test_a_rubric_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    with pytest.raises(ContractError, match="cannot be read: no such file"):
        read_rubric(path)
    path.write_text(SCORED, encoding="utf-8")
    assert read_rubric(path) == parse_rubric(SCORED, "r.yaml")


def test_all_that_decides_the_result_is_in_the_version(rubric: Rubric) -> None:
    scored = parse_rubric(SCORED, "r.yaml")
    assert scored.scores is not None
    versions = {
        "it": rubric_hash(rubric, "m"),
        "model": rubric_hash(rubric, "n"),
        "models": rubric_hash(rubric, "m", "n"),
        "votes": rubric_hash(rubric, "m", votes=3),
        "question": rubric_hash(replace(rubric, question="Why?"), "m"),
        "scale": rubric_hash(replace(rubric, sound="It is."), "m"),
        "inputs": rubric_hash(replace(rubric, inputs=("prompt", "answer")), "m"),
        "reason": rubric_hash(replace(rubric, reason="none"), "m"),
        "temperature": rubric_hash(replace(rubric, parameters=ChatParameters(1.0)), "m"),
        "seed": rubric_hash(replace(rubric, parameters=ChatParameters(seed=2)), "m"),
        "scores": rubric_hash(scored, "m"),
        "threshold": rubric_hash(replace(scored, scores=replace(scored.scores, faulty_at_most=3)), "m"),
        "examples": rubric_hash(replace(scored, examples=()), "m"),
    }
    assert len(set(versions.values())) == len(versions)
    assert all(len(version) == 12 and int(version, 16) >= 0 for version in versions.values())
    assert rubric_hash(replace(rubric, name="other"), "m") == versions["it"], "the name decides nothing"


def test_the_section_of_the_documentation_has_a_rubric_that_can_be_read_and_every_code() -> None:
    page = (Path(__file__).resolve().parents[5] / "docs/evaluation.md").read_text(encoding="utf-8")
    section = page.partition("\n## Judges\n")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    rubric = parse_rubric(text, "faithful.yaml")
    assert (rubric.name, rubric.scores, len(rubric.examples)) == ("faithful", ScoreRange(1, 5, 2), 1)
    rows = dict(re.findall(r"^\| `(judge-[a-z-]+)` \| .+ \| (yes|no) \|$", section, re.MULTILINE))
    assert rows == {code.value: "yes" if JudgeError(code, "").is_transient else "no" for code in JudgeErrorCode}
