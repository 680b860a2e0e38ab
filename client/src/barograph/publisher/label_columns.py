"""Conversion of columns of labels to the type of the contract, as `LabelReader` converts single labels."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from barograph.contract import LabelSpec
from barograph.contract.label_values import NUMBER_TEXT, TRUE, is_open, label_forms
from barograph.string_views import to_string

_WHOLE_LIMIT = 2.0**53


def read_labels(label: LabelSpec, values: pa.Array) -> pa.Array:
    """Convert labels to flags (bool), doubles or integers (float) or texts (category).

    Args:
        values: Flags, numbers, texts or nulls, not dictionary-encoded.

    Returns:
        As many labels; null for a null, for a number that is not finite, and for a label that is not a form of a value.
    """
    if label.type == "float":
        return _read_numbers(values)
    texts = label_texts(values)
    forms = label_forms(label)
    known, meanings = pa.array(list(forms), pa.string()), pa.array(list(forms.values()), pa.string())
    positions = pc.index_in(texts, known, skip_nulls=True)
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    result = meanings.take(pc.coalesce(positions, pc.index_in(folded, known, skip_nulls=True)))
    if is_open(label):
        result = pc.coalesce(result, pc.if_else(pc.equal(pc.utf8_trim_whitespace(texts), ""), None, texts))
    return pc.equal(result, TRUE) if label.type == "bool" else result


def _read_numbers(values: pa.Array) -> pa.Array:
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return pa.nulls(len(values), pa.float64())
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        values = to_string(values)
    if pa.types.is_string(values.type):
        trimmed = pc.utf8_trim_whitespace(values)
        is_number = pc.match_substring_regex(trimmed, f"^{NUMBER_TEXT}$")
        # Arrow does not parse a plus sign.
        plain = pc.replace_substring_regex(pc.if_else(is_number, trimmed, None), r"^\+", "")
        values = plain.cast(pa.float64())
    if pa.types.is_floating(values.type):
        return pc.if_else(pc.is_finite(values), values, None)
    return values


def label_texts(values: pa.Array) -> pa.Array:
    """Convert labels to text: numbers in their shortest form, as `label_text` does; null if not finite."""
    kind = values.type
    if pa.types.is_boolean(kind):
        return pc.if_else(values, "true", "false")
    if not pa.types.is_floating(kind):
        return to_string(values)
    values = values.cast(pa.float64())
    is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), _WHOLE_LIMIT))
    whole = pc.if_else(is_whole, values, None).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(whole, pc.if_else(pc.is_finite(values), values, None).cast(pa.string()))
