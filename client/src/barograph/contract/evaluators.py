"""The evaluators of a language model's answers, as its contract describes them."""

from __future__ import annotations

from typing import ClassVar

import msgspec

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


class EvaluatorBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge may use in an hour of the clock; None: no limit."""

    calls: int | None = None
    tokens: int | None = None
    usd: float | None = None

    def __post_init__(self) -> None:
        if self.usd is not None:
            # Equal integers and floats must give the same contract id.
            msgspec.structs.force_setattr(self, "usd", self.usd + 0.0)


class Evaluator(msgspec.Struct, frozen=True, kw_only=True):
    """A check or a judge of answers. Names of files are those in the evaluator's folder of files.

    Self-consistency is a judge without rubric: the endpoint serves the answering model, which answers again.
    """

    LATER: ClassVar = (
        *("consistency", "compare", "temperature", "max_tokens", "promise"),
        *("anchors", "anchors_every_s", "slices"),
    )

    check: str = ""
    """One of `CHECKS`; empty for a judge."""
    judge: str = ""
    """The file of the rubric by which a language model judges; empty for a check and for self-consistency."""
    consistency: int | None = None
    """How many further answers of the model are compared with the answer; None if it is not self-consistency."""
    compare: str = ""
    """One of `COMPARISONS`, with `consistency`; empty for `tokens`."""
    temperature: float | None = None
    """The temperature of further answers; None for 0.8."""
    max_tokens: int | None = None
    """Most tokens of a further answer; None for 1,000."""
    endpoint: str = ""
    """The endpoint of the judge, by its name in the settings of the evaluator."""
    documents: str = ""
    """The folder of documents that answers cite; the `context` of a judge's rubric is selected from them."""
    schema: str = ""
    """The file of a JSON Schema."""
    pattern: str = ""
    """A regular expression of RE2, which must match somewhere in the answer."""
    at_least: float | None = None
    """The smallest share of word sequences in the documents for `sound`, or the smallest agreement of answers."""
    share: float = 1.0
    """The share of answers with text that are evaluated, selected by hash of the id."""
    prompts: dict[str, float] = msgspec.field(default_factory=dict)
    """Prompt (`answer@8`) → its share, if it differs."""
    slices: dict[str, float] = msgspec.field(default_factory=dict)
    """Value of a slice (`country=de`) → its share, if it differs. Of several shares of an answer the largest counts."""
    budget: EvaluatorBudget = EvaluatorBudget()
    promise: float | None = None
    """The largest share of faulty answers that is promised."""
    anchors: str = ""
    """The file of answers with known classes that the judge evaluates again and again; empty: its drift is not
    tested."""
    anchors_every_s: int = 21_600
    """How often the judge evaluates its anchors."""

    def __post_init__(self) -> None:
        for name in ("at_least", "share", "temperature", "promise"):
            value = getattr(self, name)
            if value is not None:
                msgspec.structs.force_setattr(self, name, value + 0.0)

    @property
    def kind(self) -> str:
        """`judge` or `check`."""
        return "check" if self.check else "judge"
