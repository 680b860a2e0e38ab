"""Checks of the section `evaluators` of a contract."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from barograph.contract.evaluators import Evaluator, EvaluatorBudget, purposes
from barograph.contract.kinds import MAX_NAME_CHARS, Path
from barograph.contract.problems import quoted

if TYPE_CHECKING:
    from barograph.contract import Contract

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
_KINDS = ("check", "judge", "consistency")
_EVALUATOR = Evaluator()


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
    decided_by = tuple((*path, key) for key in _KINDS)
    for key, purpose in purposes().items():
        is_set = getattr(evaluator, key) not in ("", None)
        if kind in purpose.needed and not is_set:
            yield (*path, key), f"is missing; {what} needs it", decided_by
        elif is_set and kind not in (*purpose.needed, *purpose.allowed):
            yield (*path, key), f"has no effect with {what}; remove it", decided_by
    if evaluator.check and evaluator.budget != EvaluatorBudget():
        yield (*path, "budget"), "has no effect with a check, which calls nothing; remove it", ()
    if evaluator.check and evaluator.anchors:
        yield (*path, "anchors"), "has no effect with a check, whose rules do not drift; remove it", ()
    if evaluator.consistency and evaluator.anchors:
        yield (*path, "anchors"), "has no effect with self-consistency, which has no rubric; remove it", ()
    if evaluator.anchors_every_s != _EVALUATOR.anchors_every_s and not evaluator.anchors:
        yield (*path, "anchors_every"), "has no effect without anchors; write anchors: FILE, or remove it", ()
