"""Labels in files: what one entry holds, and which entries can be imported."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from barograph_server.warehouse.evaluation.review_queue import uniform_hash
from barograph_server.warehouse.evaluation.reviews import (
    MAX_NOTE_CHARS,
    MAX_REVIEWER_CHARS,
    RANDOM,
    REVIEW_LABELS,
    REVIEW_REASONS,
    Review,
)


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """One entry of a file: an answer with the label of one reviewer, or without a label."""

    where: str
    """Its place in the file, for messages: `line 3`."""
    id: str
    version: str
    reason: str
    probability: float
    """NaN if the file has none."""
    reviewer: str = ""
    label: str = ""
    """As the file has it; empty if nobody has labelled the answer."""
    at: datetime | None = None
    """None: the time of the import."""
    note: str = ""
    prompt: str = ""
    answer: str = ""


@dataclass(slots=True)
class ImportPlan:
    reviews: list[Review] = field(default_factory=list)
    """Labels that are new or newer than the stored ones."""
    unchanged: int = 0
    """Labels that are stored already."""
    older: int = 0
    """Labels older than the stored ones of the same reviewer, which stay."""
    without_label: int = 0
    """Answers that nobody has labelled."""
    cancelled: int = 0
    """Annotations that their reviewers cancelled."""
    problems: list[str] = field(default_factory=list)
    """Labels that are not imported, with place and reason."""


def plan_import(
    evaluator_model: str,
    entries: Sequence[LabelledAnswer],
    known: Mapping[tuple[str, str], bool],
    stored: Sequence[Review],
    now: datetime,
) -> ImportPlan:
    """Decide about each entry.

    Args:
        known: evaluated answers, as (id, version), with whether the evaluator has a result.
        stored: all labels of the evaluator so far.
        now: the time of labels without one.
    """
    plan = ImportPlan()
    before = {(each.id, each.version, each.reviewer): each for each in stored}
    groups: defaultdict[tuple[str, str, str], list[LabelledAnswer]] = defaultdict(list)
    for entry in entries:
        if not entry.label:
            plan.without_label += 1
        elif problem := _problem(evaluator_model, entry, known):
            plan.problems.append(f"{entry.where}: {problem}")
        else:
            groups[entry.id, entry.version, entry.reviewer].append(entry)
    for key, group in groups.items():
        labels = sorted({entry.label for entry in group})
        if len(labels) > 1:
            positions = " and ".join(entry.where for entry in group)
            plan.problems.append(
                f"{positions}: {key[2]} calls the answer {key[0]!r} both {' and '.join(labels)}; keep one of them"
            )
            continue
        # Of equal labels the latest one counts.
        entry = max(group, key=lambda each: each.at or now)
        plan.unchanged += len(group) - 1
        _add(plan, evaluator_model, entry, before.get(key), now)
    return plan


def _add(plan: ImportPlan, evaluator_model: str, entry: LabelledAnswer, stored: Review | None, now: datetime) -> None:
    at = entry.at or now
    content = (entry.label, entry.reason, entry.probability, entry.note)
    if stored is not None:
        is_same = content == (stored.label, stored.reason, stored.probability, stored.note)
        if is_same and entry.at in (None, stored.at):
            plan.unchanged += 1
            return
        if at <= stored.at:
            plan.older += 1
            return
    label, reason, probability, note = content
    plan.reviews.append(
        Review(evaluator_model, entry.id, entry.version, entry.reviewer, at, label, reason, probability, note)
    )


def _problem(evaluator_model: str, entry: LabelledAnswer, known: Mapping[tuple[str, str], bool]) -> str:
    """Return why an entry cannot be imported; empty if it can."""
    if entry.label not in REVIEW_LABELS:
        return f"the label {entry.label[:40]!r} is none of {', '.join(REVIEW_LABELS)}"
    if (entry.id, entry.version) not in known:
        return f"{evaluator_model} has not evaluated an answer {entry.id[:80]!r} of version {entry.version[:40]!r}"
    name = entry.reviewer
    if not name or len(name) > MAX_REVIEWER_CHARS or not name.isprintable():
        return f"the reviewer is missing, or is not a name of at most {MAX_REVIEWER_CHARS} characters; use --as NAME"
    if entry.reason not in REVIEW_REASONS:
        return f"the reason {entry.reason[:40]!r} is none of {', '.join(REVIEW_REASONS)}"
    if not (math.isfinite(entry.probability) and 0.0 < entry.probability <= 1.0):
        return "the probability with which the answer was chosen is not a number above 0 and at most 1"
    if len(entry.note) > MAX_NOTE_CHARS:
        return f"the note has more than {MAX_NOTE_CHARS:,} characters"
    if entry.reason == RANDOM and not uniform_hash("gold", evaluator_model, entry.id) < entry.probability:
        return (
            f"the answer {entry.id[:80]!r} is not in the random part of {entry.probability:g}; only answers that "
            "`barograph review` chose are random"
        )
    if entry.reason == RANDOM and not known[entry.id, entry.version]:
        return f"the evaluator has no result for the answer {entry.id[:80]!r}, so it is not in the random part"
    return ""
