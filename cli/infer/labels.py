"""The label column of a training table: its type and classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from barograph.contract import LabelSpec
from barograph.contract.kinds import name_fault

from cli.infer.columns import TooManyValues, read_numbers, read_texts
from cli.infer.errors import OptionError
from cli.infer.profile import Roles
from cli.infer.tables import Table, is_text, plain_type

MAX_CLASSES = 1000
"""Maximum number of distinct labels that the contract lists."""
BINARY = 2


def infer_label(table: Table, roles: Roles, scores: Sequence[str]) -> tuple[LabelSpec | None, str]:
    """Infer the type and the classes of the labels, with the reason.

    Args:
        table: The training table.
        roles: The column of labels, and whether there is a score.
        scores: The classes in the names of the probability columns.

    Raises:
        OptionError: the column contains timestamps or durations.
    """
    if roles.label is None:
        return None, ""
    kind = plain_type(table.columns[roles.label])
    positive = True if roles.score is not None else None
    if pa.types.is_boolean(kind):
        return LabelSpec(type="bool", positive=positive), "true or false"
    if is_text(kind):
        return _list_classes(table, roles, scores, "classes")
    if pa.types.is_temporal(kind):
        raise OptionError(
            f"--label {roles.label}: the column has type {kind}; a label is a class, a boolean or a number"
        )
    values = read_numbers(table, roles.label)
    valid = values[np.isfinite(values)]
    if ((valid == 0) | (valid == 1)).all() and len(scores) <= BINARY:
        return LabelSpec(type="bool", positive=positive), "0 or 1"
    if pa.types.is_integer(kind) and (roles.class_ is not None or scores):
        return _list_classes(table, roles, scores, f"integers, with {'scores' if scores else 'a class column'}")
    return LabelSpec(type="float"), "a number"


def _list_classes(table: Table, roles: Roles, scores: Sequence[str], reason: str) -> tuple[LabelSpec, str]:
    """List the classes of a model with more than two, or with a score for each."""
    assert roles.label is not None
    try:
        observed = set(read_texts(table, roles.label, MAX_CLASSES).values)
    except TooManyValues as error:
        return LabelSpec(type="category"), f"{reason}; {error}: not listed"
    known = {name for name in observed if name_fault(name) is None} | set(scores)
    if len(known) > BINARY or (scores and len(known) == BINARY and not roles.score):
        missing = sorted(known - set(scores)) if scores else []
        note = f"; no score column for {', '.join(missing[:5])}" if missing else ""
        return LabelSpec(type="category", classes=tuple(sorted(known))), f"{len(known):,} {reason}{note}"
    if roles.score is not None:
        reason += "; set label: positive in the contract to the class whose probability the score is"
    return LabelSpec(type="category"), reason
