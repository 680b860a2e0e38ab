"""The values of a model's labels and classes, and the forms in which each value may be written.

Producers write a flag as `true`, 1, 1.0, "1" or "yes". The contract determines once which texts mean the same value.
The publisher, `barograph load`, `barograph infer` and the scorer's SQL all use this mapping.
"""

from __future__ import annotations

import json
import math
import re
from typing import Final

from barograph.contract.model import LabelSpec

TRUE: Final = "true"
FALSE: Final = "false"
TRUE_FORMS: Final = (TRUE, "1", "1.0", "yes", "y", "t")
"""Texts of a true flag, in lower case."""
FALSE_FORMS: Final = (FALSE, "0", "0.0", "no", "n", "f")
"""Texts of a false flag, in lower case."""
NUMBER_TEXT: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
"""Pattern of a number as text."""
_NUMBER = re.compile(NUMBER_TEXT, re.ASCII)
_FLAGS = {**dict.fromkeys(TRUE_FORMS, TRUE), **dict.fromkeys(FALSE_FORMS, FALSE)}


def label_text(value: bool | int | float | str) -> str:
    """Convert a label to text: numbers in their shortest form, whole numbers without a decimal point."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value)


def flag_value(text: str) -> str | None:
    """Return `true` or `false` for a text that is a form of a flag, in any case; None for other texts."""
    return _FLAGS.get(text.strip().lower())


def label_forms(label: LabelSpec) -> dict[str, str]:
    """Map the known forms of labels and classes to their values.

    The values are `true` and `false` for a bool, otherwise the classes of the contract. Look a text up as it is, then
    without surrounding spaces in lower case. If `is_open`, a text without a form is a value of its own. Labels of the
    type float have no forms: the result is empty.
    """
    if label.type == "float":
        return {}
    if label.type == "bool":
        positive = positive_value(label)
        named = {label.positive: positive} if isinstance(label.positive, str) else {}
        if label.negative is not None:
            named[label.negative] = FALSE if positive == TRUE else TRUE
        decimals = {f"{name}.0": value for name, value in named.items() if _is_whole(name)}
        return {**_FLAGS, **decimals, **named}
    values = label.classes or ((label.positive,) if isinstance(label.positive, str) else ())
    by_flag = {flag_value(value): value for value in values}
    # Of two classes 0 and 1, the class 1 is also written as true or yes.
    are_flags = None not in by_flag and len(by_flag) == len(values)
    forms = {form: by_flag[flag] for form, flag in _FLAGS.items() if flag in by_flag} if are_flags else {}
    for value in values:
        if _is_whole(value):
            forms.setdefault(f"{value}.0", value)
    return forms | {value: value for value in values}


def is_open(label: LabelSpec) -> bool:
    """Return whether texts without a form are values of their own: categories whose classes the contract omits."""
    return label.type == "category" and not label.classes


def has_open_classes(label: LabelSpec) -> bool:
    """Return whether an event may predict any class: all that are not the positive one are then negative."""
    if label.type == "bool":
        return isinstance(label.positive, str) and label.negative is None and flag_value(label.positive) is None
    return is_open(label)


def positive_value(label: LabelSpec) -> str:
    """Return the value of the positive class of a binary model: `true` or `false` for a bool.

    A named class of a bool is the label `true`, unless its name is a form of false, such as 0 or no.
    """
    if isinstance(label.positive, str):
        if label.type != "bool":
            return label.positive
        return FALSE if flag_value(label.positive) == FALSE else TRUE
    return FALSE if label.positive is False else TRUE


def describe_label(label: LabelSpec) -> str:
    """List what a label may be, for messages."""
    if label.type == "float":
        return "a finite number"
    if label.type == "bool":
        names = [name for name in (label.positive, label.negative) if isinstance(name, str)]
        return ", ".join(["true or false", "1 or 0", "yes or no", *names])
    if label.classes:
        listed = ", ".join(label.classes[:8])
        return listed if len(label.classes) <= 8 else f"{listed} and {len(label.classes) - 8:,} more classes"
    return "a class"


class LabelReader:
    """Converts labels to the type of the contract: flags for bool, numbers for float, classes for category."""

    def __init__(self, label: LabelSpec | None) -> None:
        """Derive the forms; without a label of the contract, every label stays as it is."""
        self._label = label
        self._forms = {} if label is None else label_forms(label)

    def read(self, value: bool | int | float | str) -> bool | int | float | str | None:
        """Convert a flag, a finite number or a text; None if it is not a form of any value."""
        label = self._label
        if label is None:
            return value
        if label.type == "float":
            return _number(value)
        if label.type == "bool" and isinstance(value, bool):
            return value
        text = label_text(value)
        result = self._forms.get(text)
        if result is None:
            result = self._forms.get(text.strip().lower())
        if result is None and is_open(label) and text.strip():
            result = text
        return result if result is None or label.type == "category" else result == TRUE


def refusal(label: LabelSpec) -> str:
    """Explain that a label is not a form of a value of the contract, and what to do."""
    remedy = "convert it"
    if label.type == "bool":
        remedy += ", or name the two values in the contract: label: {type: bool, positive: …, negative: …}"
    elif label.type == "category":
        remedy += ", or add it to label.classes in the contract"
    return f"a label must be {describe_label(label)} by the contract's label; {remedy}"


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _number(value: bool | int | float | str) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value.strip()):
            return None
        value = float(value)
    return value if math.isfinite(value) else None
