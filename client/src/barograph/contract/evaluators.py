"""The evaluators of a language model's answers, as its contract describes them."""

from __future__ import annotations

from functools import cache
from typing import Annotated, get_args

import msgspec

from barograph.contract.kinds import ChoiceKind, IntegerKind, NameKind, NumberKind
from barograph.contract.sections import Duration, File, Name, Positive, PositiveShare, Prose, Share

FAULTY, SOUND = "faulty", "sound"
"""Classes of evaluations, and the labels that people give."""

CHECKS: dict[str, str] = {
    "citations": "A cited source is unknown, or does not say what the answer claims. Needs `documents`.",
    "json": "The answer is not JSON of a schema. Needs `schema`.",
    "pattern": "The answer does not match a regular expression. Needs `pattern`.",
    "refusal": "The answer is a refusal.",
    "language": "The answer is in another language than the prompt.",
    "personal-data": "The answer has personal data or secrets that neither the prompt nor `documents` have.",
    "grounding": "Too few of the answer's word sequences are in a document. Needs `documents` and `at_least`.",
}
"""Every check with the condition under which an answer is `faulty`."""

COMPARISONS = ("exact", "normalized", "tokens")
"""How self-consistency compares two answers."""


class For(msgspec.Struct, frozen=True):
    """What a setting is for: checks, `judge` or `consistency`."""

    needed: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    by_content: bool = False
    """Whether it names files: their content decides an evaluator's version, not the name."""


class EvaluatorBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge may use in an hour of the clock; None: no limit."""

    calls: Annotated[int | None, IntegerKind(1, 10**9), "Calls of the endpoint per hour.", "no limit"] = None
    tokens: Annotated[int | None, IntegerKind(1, 10**12), "Input and output tokens per hour.", "no limit"] = None
    usd: Annotated[
        Positive | None, "US dollars per hour, at the prices of the endpoint in the settings.", "no limit"
    ] = None


class Evaluator(msgspec.Struct, frozen=True, kw_only=True):
    """A check or a judge of answers. Names of files are those in the evaluator's folder of files.

    Self-consistency is a judge without rubric: the endpoint serves the answering model, which answers again.
    """

    check: Annotated[str, ChoiceKind(tuple(CHECKS)), "A check by rules ([checks](evaluation.md)).", "none"] = ""
    judge: Annotated[File, "The file of a rubric, by which a language model judges; instead of `check`.", "none"] = ""
    consistency: Annotated[
        int | None,
        IntegerKind(1, 20),
        "How many further answers of the endpoint, which serves the answering model, are compared with the answer; "
        "instead of `check`.",
        "none",
    ] = None
    compare: Annotated[
        str,
        ChoiceKind(COMPARISONS),
        "How answers are compared: as `exact` texts, `normalized` words and values in their order, or the share of "
        "words and values (`tokens`) in both.",
        "tokens",
        For(allowed=("consistency",)),
    ] = ""
    temperature: Annotated[
        float | None,
        NumberKind(0.0, 2.0, above=True),
        "The temperature of further answers.",
        "0.8",
        For(allowed=("consistency",)),
    ] = None
    max_tokens: Annotated[
        int | None, IntegerKind(1, 10**5), "Most tokens of a further answer.", "1000", For(allowed=("consistency",))
    ] = None
    endpoint: Annotated[
        Name, For(("judge", "consistency")), "The endpoint of the judge, by its name in the settings.", "none"
    ] = ""
    documents: Annotated[
        str,
        NameKind("the name of a folder"),
        "The folder of documents that answers cite; of a judge: the `context` of its rubric is selected from them.",
        "none",
        For(("citations", "grounding"), ("personal-data", "judge"), by_content=True),
    ] = ""
    schema: Annotated[File, For(("json",), by_content=True), "The file of a JSON Schema.", "none"] = ""
    pattern: Annotated[
        Prose, For(("pattern",)), "A regular expression of RE2 that the answer must contain.", "none"
    ] = ""
    at_least: Annotated[
        PositiveShare | None,
        "The smallest share of word sequences in one of the documents, or the smallest agreement of answers.",
        "none",
        For(("grounding", "consistency")),
    ] = None
    share: Annotated[Share, "The share of answers with text that are evaluated, selected by hash of the id."] = 1.0
    prompts: Annotated[dict[str, Share], "Other shares by prompt: `{answer@8: 1}`."] = {}
    slices: Annotated[dict[str, Share], "Other shares by value of a slice: `{country=de: 0.5}`."] = {}
    budget: Annotated[EvaluatorBudget, "What the judge may use in an hour of the clock.", "no limit"] = (
        EvaluatorBudget()
    )
    promise: Annotated[
        PositiveShare | None,
        "The largest share of faulty answers that is promised. The rule `rate-above-promise` compares it with the "
        "rate that labels of people correct.",
        "none",
    ] = None
    anchors: Annotated[
        File, "The file of [anchors](evaluation.md#judge-drift), by which drift of the judge is found.", "none"
    ] = ""
    anchors_every_s: Annotated[Duration, "How often the judge evaluates its anchors, within its budget."] = 21_600

    @property
    def kind(self) -> str:
        """`judge` or `check`."""
        return "check" if self.check else "judge"


@cache
def purposes() -> dict[str, For]:
    """Return what each setting that is for some kinds of evaluators is for."""
    members = msgspec.structs.fields(Evaluator)
    return {each.name: mark for each in members for mark in get_args(each.type)[1:] if isinstance(mark, For)}
