"""The section `evaluators` of the contract file: its keys, and how it is read, checked and written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import msgspec

from barograph.contract.evaluators import CHECKS, COMPARISONS, Evaluator, EvaluatorBudget
from barograph.contract.kinds import (
    MAX_NAME_CHARS,
    ChoiceKind,
    DurationKind,
    IntegerKind,
    Key,
    MapKind,
    NameKind,
    NumberKind,
    Path,
    RecordKind,
    TextKind,
)
from barograph.contract.problems import quoted
from barograph.contract.yaml_text import duration_scalar, flow_map, number_scalar, text_scalar

if TYPE_CHECKING:
    from barograph.contract import Contract

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_NEEDS = {
    "citations": ("documents",),
    "json": ("schema",),
    "pattern": ("pattern",),
    "grounding": ("documents", "at_least"),
    "judge": ("endpoint",),
    "consistency": ("endpoint", "at_least"),
}
"""Check, `judge` or `consistency` → the settings that it needs."""
_ALLOWS = {
    "personal-data": ("documents",),
    "judge": ("documents",),
    "consistency": ("compare", "temperature", "max_tokens"),
}
"""The settings that it may have."""
_OF_KINDS = ("documents", "schema", "pattern", "at_least", "endpoint", "compare", "temperature", "max_tokens")
_KINDS = ("check", "judge", "consistency")
_EVALUATOR = Evaluator()
_EVERY = "anchors_every_s"
_SHARE = NumberKind(0.0, 1.0)

BUDGET = RecordKind(
    (
        Key("calls", IntegerKind(1, 10**9), "Calls of the endpoint per hour.", default="no limit"),
        Key("tokens", IntegerKind(1, 10**12), "Input and output tokens per hour.", default="no limit"),
        Key(
            "usd",
            NumberKind(0.0, above=True),
            "US dollars per hour, at the prices of the endpoint in the settings.",
            default="no limit",
        ),
    )
)

EVALUATOR = RecordKind(
    (
        Key("check", ChoiceKind(tuple(CHECKS)), "A check by rules ([checks](evaluation.md)).", default="none"),
        Key(
            "judge",
            NameKind("the name of a file"),
            "The file of a rubric, by which a language model judges; instead of `check`.",
            default="none",
        ),
        Key(
            "consistency",
            IntegerKind(1, 20),
            "How many further answers of the endpoint, which serves the answering model, are compared with the answer; "
            "instead of `check`.",
            default="none",
        ),
        Key(
            "compare",
            ChoiceKind(COMPARISONS),
            "How answers are compared: as `exact` texts, `normalized` words and values in their order, or the share of "
            "words and values (`tokens`) in both.",
            default="tokens",
        ),
        Key("temperature", NumberKind(0.0, 2.0, above=True), "The temperature of further answers.", default="0.8"),
        Key("max_tokens", IntegerKind(1, 100_000), "Most tokens of a further answer.", default="1000"),
        Key("endpoint", NameKind(), "The endpoint of the judge, by its name in the settings.", default="none"),
        Key(
            "documents",
            NameKind("the name of a folder"),
            "The folder of documents that answers cite; of a judge: the `context` of its rubric is selected from them.",
            default="none",
        ),
        Key("schema", NameKind("the name of a file"), "The file of a JSON Schema.", default="none"),
        Key("pattern", TextKind(), "A regular expression of RE2 that the answer must contain.", default="none"),
        Key(
            "at_least",
            NumberKind(0.0, 1.0, above=True),
            "The smallest share of word sequences in one of the documents, or the smallest agreement of answers.",
            default="none",
        ),
        Key(
            "share",
            _SHARE,
            "The share of answers with text that are evaluated, selected by hash of the id.",
            default=number_scalar(_EVALUATOR.share),
        ),
        Key("prompts", MapKind(_SHARE), "Other shares by prompt: `{answer@8: 1}`.", default="{}"),
        Key("slices", MapKind(_SHARE), "Other shares by value of a slice: `{country=de: 0.5}`.", default="{}"),
        Key("budget", BUDGET, "What the judge may use in an hour of the clock.", default="no limit"),
        Key(
            "promise",
            NumberKind(0.0, 1.0, above=True),
            "The largest share of faulty answers that is promised. The rule `rate-above-promise` compares it with "
            "the rate that labels of people correct.",
            default="none",
        ),
        Key(
            "anchors",
            NameKind("the name of a file"),
            "The file of [anchors](evaluation.md#judge-drift), by which drift of the judge is found.",
            default="none",
        ),
        Key(
            "anchors_every",
            DurationKind(),
            "How often the judge evaluates its anchors, within its budget.",
            default=duration_scalar(_EVALUATOR.anchors_every_s),
        ),
    )
)


def build_evaluators(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Evaluator]:
    """Build the evaluators from the values that were read."""
    return {name: _evaluator(settings) for name, settings in values.items()}


def _evaluator(settings: Mapping[str, Any]) -> Evaluator:
    members = {_EVERY if key == "anchors_every" else key: value for key, value in settings.items()}
    return Evaluator(**members | {"budget": EvaluatorBudget(**settings.get("budget", {}))})


def evaluator_settings(evaluator: Evaluator) -> dict[str, str]:
    """Write the settings of an evaluator that differ from the default, as YAML."""
    written = {}
    for name in evaluator.__struct_fields__:
        value = getattr(evaluator, name)
        if value == getattr(_EVALUATOR, name):
            continue
        if name == _EVERY:
            written["anchors_every"] = duration_scalar(value)
        elif isinstance(value, EvaluatorBudget):
            limits = {key: limit for key, limit in msgspec.to_builtins(value).items() if limit is not None}
            written[name] = flow_map({key: number_scalar(limit) for key, limit in limits.items()})
        elif isinstance(value, dict):
            written[name] = flow_map({text_scalar(key): number_scalar(share) for key, share in value.items()})
        else:
            written[name] = text_scalar(value) if isinstance(value, str) else number_scalar(value)
    return written


def evaluator_failures(contract: Contract) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    """List the failed checks of the section: path, message, and the values that the check depends on."""
    section = ("evaluators",)
    if contract.evaluators and (contract.text is None or not contract.text.sample):
        message = "read the texts of answers, which are not published; write text: {content: redact, sample: 0.1}"
        yield section, message, (("text",),)
    for name, evaluator in contract.evaluators.items():
        path: Path = (*section, name)
        if not _NAME.fullmatch(name):
            message = f"{quoted(name)} is not a name of an evaluator; write up to 60 letters, digits, - and _"
            yield path, message, ()
        if len(contract.model) + 1 + len(name) > MAX_NAME_CHARS:
            message = f"makes a name of more than {MAX_NAME_CHARS} characters with the model's; shorten one"
            yield path, message, (("model",),)
        sources = {each.name: each.source for each in contract.slices}
        for key in evaluator.slices:
            dimension, equals, _ = key.partition("=")
            if not equals or not sources.get(dimension, "").startswith("context."):
                message = f"{quoted(key)} is no value of a slice from context; write SLICE=VALUE, such as country=de"
                yield (*path, "slices"), message, (("slices",),)
        if contract.rollback is not None and contract.arms is not None and name in contract.rollback.margins:
            shares = {evaluator.prompts.get(arm, evaluator.share) for arm in contract.arms.shares}
            if len(shares) > 1:
                message = "differ between the arms that rollback compares; write one share for all of them"
                yield (*path, "prompts"), message, (("rollback", "margins", name),)
        kinds = [kind for kind in _KINDS if getattr(evaluator, kind)]
        if len(kinds) != 1:
            message = f"has both {' and '.join(kinds)}" if kinds else "has neither check, judge nor consistency"
            yield path, f"{message}; write one of them", tuple((*path, kind) for kind in _KINDS)
            continue
        yield from _setting_failures(path, evaluator)
        if evaluator.check == "personal-data" and contract.text is not None and contract.text.content == "redact":
            message = "finds nothing in text whose personal data is replaced; write text: {content: keep}"
            yield (*path, "check"), message, (("text", "content"),)
        for key, ending in (("judge", ".yaml"), ("documents", ""), ("schema", ".json"), ("anchors", ".jsonl")):
            file = getattr(evaluator, key)
            if file and (PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts or "\\" in file):
                message = (
                    f"{quoted(file)} is outside of the evaluator's folder; write a relative path such as {key}{ending}"
                )
                yield (*path, key), message, ()


def _setting_failures(path: Path, evaluator: Evaluator) -> Iterator[tuple[Path, str, tuple[Path, ...]]]:
    kind = evaluator.check or ("judge" if evaluator.judge else "consistency")
    what = f"the check {kind}" if evaluator.check else "a judge" if evaluator.judge else "self-consistency"
    needs = _NEEDS.get(kind, ())
    decided_by = tuple((*path, key) for key in _KINDS)
    for key in _OF_KINDS:
        is_set = getattr(evaluator, key) not in ("", None)
        if key in needs and not is_set:
            yield (*path, key), f"is missing; {what} needs it", decided_by
        elif is_set and key not in (*needs, *_ALLOWS.get(kind, ())):
            yield (*path, key), f"has no effect with {what}; remove it", decided_by
    if evaluator.check and evaluator.budget != EvaluatorBudget():
        yield (*path, "budget"), "has no effect with a check, which calls nothing; remove it", ()
    if evaluator.check and evaluator.anchors:
        yield (*path, "anchors"), "has no effect with a check, whose rules do not drift; remove it", ()
    if evaluator.consistency and evaluator.anchors:
        yield (*path, "anchors"), "has no effect with self-consistency, which has no rubric; remove it", ()
    if evaluator.anchors_every_s != _EVALUATOR.anchors_every_s and not evaluator.anchors:
        yield (*path, "anchors_every"), "has no effect without anchors; write anchors: FILE, or remove it", ()
