"""Rubrics: what a judge decides, by which scale, in a YAML file."""

import os
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from barograph.contract.kinds import (
    ChoiceKind,
    Diagnostics,
    IntegerKind,
    Key,
    ListKind,
    NameKind,
    NumberKind,
    Path,
    RecordKind,
    TextKind,
    Unreadable,
)
from barograph.contract.problems import ContractError, quoted
from barograph.contract.yaml_nodes import Node, ScalarNode
from barograph.contract.yaml_tree import read_file, read_tree

from barograph_server.streams.evaluator.judges.chat import ChatParameters

AnswerClass = Literal["faulty", "sound"]
InputName = Literal["prompt", "answer", "context", "reference"]
FORMAT = 1
INPUTS: tuple[InputName, ...] = ("prompt", "context", "reference", "answer")
"""In the order of the message: the answer is last."""
MAX_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class JudgedTexts:
    """An answer, and what the judge may know about it."""

    prompt: str
    answer: str
    context: str = ""
    """What the model received beside the prompt, such as documents."""
    reference: str = ""
    """A correct answer."""

    def text_of(self, name: InputName) -> str:
        return str(getattr(self, name))


@dataclass(frozen=True, slots=True)
class ScoreRange:
    """Scores from `low` to `high`; those up to `faulty_at_most` mean faulty."""

    low: int
    high: int
    faulty_at_most: int

    def class_of(self, score: int) -> AnswerClass:
        return "faulty" if score <= self.faulty_at_most else "sound"


@dataclass(frozen=True, slots=True)
class RubricExample:
    """An answer with the right result, which the judge sees before the answer that it evaluates."""

    texts: JudgedTexts
    result: AnswerClass | int
    """A class, or a score if the rubric has scores."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rubric:
    """What a judge decides, and by which scale."""

    name: str
    question: str
    faulty: str
    """When an answer is faulty."""
    sound: str
    """When an answer is sound."""
    scores: ScoreRange | None = None
    inputs: tuple[InputName, ...] = ("prompt", "answer")
    reason: Literal["first", "last", "none"] = "first"
    """Where the reason is in the result: before the class, after it, or nowhere."""
    examples: tuple[RubricExample, ...] = ()
    parameters: ChatParameters = field(default_factory=ChatParameters)


class _ScoresKind:
    """A range of whole numbers such as `1-5`, from 0 to 100."""

    def read(self, node: Node, path: Path, diagnostics: Diagnostics) -> tuple[int, int]:
        text = node.text if isinstance(node, ScalarNode) else ""
        match = re.fullmatch(r"(\d{1,3})\s*-\s*(\d{1,3})", text, re.ASCII)
        if match is None or not int(match[1]) < int(match[2]) <= 100:
            raise Unreadable(f"{quoted(text)} is not a range of scores; write the lowest and the highest, such as 1-5")
        return int(match[1]), int(match[2])


_SCALE = RecordKind(
    (
        Key("faulty", TextKind(), "when an answer is faulty", "when an answer is faulty", required=True),
        Key("sound", TextKind(), "when an answer is sound", "when an answer is sound", required=True),
    )
)
_EXAMPLE = RecordKind(
    (
        *(Key(name, TextKind(), f"the {name}") for name in INPUTS),
        Key("class", ChoiceKind(("faulty", "sound")), "the right class, without scores"),
        Key("score", IntegerKind(0, 100), "the right score, with scores"),
        Key("reason", TextKind(), "the reason"),
    )
)
_MODEL = RecordKind(
    (
        Key("temperature", NumberKind(0.0, 2.0), "temperature of the judge", "0"),
        Key("max_tokens", IntegerKind(1, 100_000), "most tokens of the judge's answer", "300"),
        Key("seed", IntegerKind(0, 2**31 - 1), "seed of the first vote", "1"),
    )
)
RUBRIC = RecordKind(
    (
        Key("rubric", IntegerKind(FORMAT, FORMAT), "the version of the format", str(FORMAT), required=True),
        Key("name", NameKind(), "the name of the evaluator", "a name", required=True),
        Key("question", TextKind(), "what is judged", "the question that the judge answers", required=True),
        Key("scale", _SCALE, "the classes", "with the keys faulty and sound", required=True),
        Key("scores", _ScoresKind(), "scores, from which the class follows", "no scores"),
        Key("faulty_at_most", IntegerKind(0, 100), "the highest score of faulty answers"),
        Key("inputs", ListKind(ChoiceKind(INPUTS), 1, is_distinct=True), "the texts that the judge sees",
            "[prompt, answer]"),
        Key("reason", ChoiceKind(("first", "last", "none")), "place of the reason in the result", "first"),
        Key("examples", ListKind(_EXAMPLE), "answers with their result", "no examples"),
        Key("model", _MODEL, "how the judge samples"),
    )
)  # fmt: skip


def read_rubric(path: str | os.PathLike[str]) -> Rubric:
    """Read a rubric.

    Raises:
        ContractError: the file cannot be read, or a key is unknown, missing or has a wrong value; the text has a line
            per problem.
    """
    return parse_rubric(read_file(path, "a rubric"), os.fspath(path))


def parse_rubric(text: str | bytes, file: str) -> Rubric:
    """Parse the text of a rubric.

    Raises:
        ContractError: as for `read_rubric`.
    """
    diagnostics = Diagnostics(file)
    values: list[dict[str, Any]] = diagnostics.read_child(RUBRIC, read_tree(text, file), ())
    if values and not diagnostics.problems:
        _check(values[0], diagnostics)
    if diagnostics.problems:
        raise ContractError(sorted(diagnostics.problems))
    return _build(values[0])


def _check(values: dict[str, Any], diagnostics: Diagnostics) -> None:
    """Check what depends on several keys."""

    def note(path: Path, message: str) -> None:
        known = path
        while known not in diagnostics.lines:
            known = known[:-1]
        diagnostics.note(path, diagnostics.lines[known], message)

    for path, text in (("question",), values["question"]), *((("scale", k), v) for k, v in values["scale"].items()):
        if not text.strip():
            note(path, "the text is empty; write what the judge needs")
    if "scores" in values:
        low, high = values["scores"]
        if "faulty_at_most" not in values:
            note(("faulty_at_most",), "is missing; write the highest score of faulty answers")
        elif not low <= values["faulty_at_most"] < high:
            note(("faulty_at_most",), f"is not a score that leaves one for sound; write {low} to {high - 1}")
    elif "faulty_at_most" in values:
        note(("faulty_at_most",), "needs scores; write scores: 1-5, or remove the key")
    inputs = values.get("inputs", ("prompt", "answer"))
    if "answer" not in inputs:
        note(("inputs",), "answer is missing; the judge evaluates it")
    examples = values.get("examples", ())
    if len(examples) > MAX_EXAMPLES:
        note(("examples",), f"the list has {len(examples)} entries; write at most {MAX_EXAMPLES}")
    for position, example in enumerate(examples):
        path = ("examples", position)
        for name in INPUTS:
            if name in inputs and not example.get(name, "").strip():
                note((*path, name), "is missing; the rubric's inputs contain it")
            elif name in example and name not in inputs:
                note((*path, name), "is not one of the rubric's inputs; remove it, or add it to inputs")
        right, wrong = ("score", "class") if "scores" in values else ("class", "score")
        if wrong in example:
            note((*path, wrong), f"the rubric has {'scores' if right == 'score' else 'no scores'}; write {right}")
        elif right not in example:
            note((*path, right), "is missing; write the right result")
        elif right == "score" and not values["scores"][0] <= example["score"] <= values["scores"][1]:
            note((*path, "score"), "is outside the scores of the rubric; write one of them")


def _build(values: dict[str, Any]) -> Rubric:
    low, high = values.get("scores", (0, 0))
    scores = ScoreRange(low, high, values["faulty_at_most"]) if high else None
    named: frozenset[InputName] = frozenset(values.get("inputs", ("prompt", "answer")))
    examples = tuple(
        RubricExample(
            JudgedTexts(*(each.get(name, "") for name in ("prompt", "answer", "context", "reference"))),
            each["score"] if scores else each["class"],
            each.get("reason", ""),
        )
        for each in values.get("examples", ())
    )
    return Rubric(
        values["name"],
        values["question"],
        values["scale"]["faulty"],
        values["scale"]["sound"],
        scores,
        tuple(name for name in INPUTS if name in named),
        values.get("reason", "first"),
        examples,
        ChatParameters(**values.get("model", {})),
    )
