"""The labels of a training table: what they are, and which classes there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from barograph.contract import LabelSpec
from barograph.contract.kinds import name_fault

from cli.infer.columns import TooManyTexts, read_numbers, read_texts
from cli.infer.errors import OptionError
from cli.infer.profile import Roles
from cli.infer.tables import Table, is_text, plain_type

MAX_CLASSES = 1000
"""With more distinct labels than this they are not listed."""
BINARY = 2


def infer_label(table: Table, roles: Roles, scores: Sequence[str]) -> tuple[LabelSpec | None, str]:
    """Decide the type of the labels and their classes, with the reason.

    Args:
        table: The training table.
        roles: Which column holds the labels, and whether there is a score.
        scores: The classes that columns of probabilities are named by.

    Raises:
        OptionError: the column holds moments or spans.
    """
    if roles.label is None:
        return None, ""
    kind = plain_type(table.columns[roles.label])
    positive = True if roles.score is not None else None
    if pa.types.is_boolean(kind):
        return LabelSpec(type="bool", positive=positive), "true or false"
    if is_text(kind):
        return _classes(table, roles, scores, "classes")
    if pa.types.is_temporal(kind):
        raise OptionError(f"--label {roles.label}: the column holds {kind}; a label is a class, a flag or a number")
    values = read_numbers(table, roles.label)
    valid = values[np.isfinite(values)]
    if ((valid == 0) | (valid == 1)).all() and len(scores) <= BINARY:
        return LabelSpec(type="bool", positive=positive), "0 or 1"
    if pa.types.is_integer(kind) and (roles.class_ is not None or scores):
        return _classes(table, roles, scores, f"whole numbers, beside {'scores' if scores else 'a class'}")
    return LabelSpec(type="float"), "a number to predict"


def _classes(table: Table, roles: Roles, scores: Sequence[str], why: str) -> tuple[LabelSpec, str]:
    """Name the classes of a model that has more than two, or scores for each."""
    assert roles.label is not None
    try:
        observed = set(read_texts(table, roles.label, MAX_CLASSES).values)
    except TooManyTexts as error:
        return LabelSpec(type="category"), f"{why}; {error}: not listed"
    known = {name for name in observed if name_fault(name) is None} | set(scores)
    if len(known) > BINARY or (scores and len(known) == BINARY and not roles.score):
        missing = sorted(known - set(scores)) if scores else []
        note = f"; no column of scores for {', '.join(missing[:5])}" if missing else ""
        return LabelSpec(type="category", classes=tuple(sorted(known))), f"{len(known):,} {why}{note}"
    if roles.score is not None:
        why += "; write into the contract which one the score is the probability of (label: positive)"
    return LabelSpec(type="category"), why
