"""Messages of `labels` → raw rows and dead letters; every label ends in one of the two.

A label is a flag, a finite number or a text. It is recorded as text, numbers in their shortest form (1, 0.25), so
that JSON and Arrow give the same rows.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.events import Reason
from numpy.typing import NDArray

from streams.events.arrow_decoder import BYTES_OMITTED, split_rows
from streams.events.arrow_message import DETAIL_CHARS, open_table, rejection_reason
from streams.events.batch import MessageBatch, RejectedEvent
from streams.events.event_time import parse_time_ms, rejected_times, times_ms
from streams.recorder.arrow_rows import as_numbers, as_texts, is_number, is_text, plain
from streams.recorder.rows import positions, rows_of, times
from streams.recorder.values import clean

MAX_DETAIL_CHARS = 200
_TEXT, _NUMBER, _FLAG = "string", "number", "bool"


@dataclass(slots=True)
class DecodedLabels:
    """What a batch of messages holds."""

    rows: list[pa.Table] = field(default_factory=list)
    """Rows of the table `labels`, without their epoch."""
    rejected: list[RejectedEvent] = field(default_factory=list)


class _Label(msgspec.Struct, gc=False):
    model: str
    id: str
    label: bool | int | float | str
    at: int | str


class _Refused(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail[:MAX_DETAIL_CHARS]
        self.model = ""
        """Where it is known and has a contract."""


_decode = msgspec.json.Decoder(_Label).decode


def decode_json_labels(batch: MessageBatch, models: frozenset[str]) -> DecodedLabels:
    """Decode JSON labels of the models that have a contract."""
    decoded = DecodedLabels()
    labels: list[_Label] = []
    where: list[int] = []
    for i, value in enumerate(batch.values):
        try:
            labels.append(_read(value, models))
            where.append(i)
        except _Refused as refused:
            decoded.rejected.append(batch.reject(i, refused.reason, refused.detail, model=refused.model))
    if not labels:
        return decoded
    place = np.array(where)
    at_ms, unreadable = times_ms([label.at for label in labels])
    reasons = rejected_times(at_ms, batch.received_ms[place], unreadable)
    if reasons is not None:
        for i in np.flatnonzero(reasons != "").tolist():
            detail = f"at = {str(labels[i].at)[:60]!r}"
            decoded.rejected.append(batch.reject(where[i], Reason(str(reasons[i])), detail, model=labels[i].model))
        good = reasons == ""
        labels = [label for label, kept in zip(labels, good.tolist(), strict=True) if kept]
        at_ms, place = at_ms[good], place[good]
    if labels:
        values = [label.label for label in labels]
        made = positions(batch, place) | {
            "model": pa.array([label.model for label in labels]),
            "id": pa.array([label.id for label in labels]),
            "label": pa.array([label_text(value) for value in values]),
            "label_type": pa.array([_type_of(value) for value in values]),
            "at": times(at_ms),
        }
        decoded.rows.append(rows_of("labels", made))
    return decoded


def label_text(value: bool | int | float | str) -> str:
    """Write a label as text: numbers in their shortest form, whole ones without a point."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value)


def _type_of(value: bool | int | float | str) -> str:
    if isinstance(value, bool):
        return _FLAG
    return _TEXT if isinstance(value, str) else _NUMBER


def _read(value: bytes | None, models: frozenset[str]) -> _Label:
    try:
        label = _decode(value)  # type: ignore[arg-type]
        if label.id and label.model in models:
            return label
    except (ValueError, RecursionError, TypeError):
        pass
    return _tolerant(value, models)


def _tolerant(value: bytes | None, models: frozenset[str]) -> _Label:
    """Decode a label that does not fit the format, or say why it is none."""
    if not value:
        raise _Refused(Reason.EMPTY)
    try:
        raw = json.loads(value.decode())
    except RecursionError:
        raise _Refused(Reason.TOO_DEEP) from None
    except ValueError as error:
        raise _Refused(Reason.NOT_JSON, str(error)) from None
    if not isinstance(raw, dict):
        raise _Refused(Reason.NOT_AN_OBJECT, f"the message is {type(raw).__name__}")
    model = _required(raw, "model", Reason.MISSING_MODEL)
    if model not in models:
        raise _Refused(Reason.UNKNOWN_MODEL, model)
    try:
        return _of_model(raw, model)
    except _Refused as refused:
        refused.model = model
        raise


def _of_model(raw: dict[str, Any], model: str) -> _Label:
    event_id = _required(raw, "id", Reason.MISSING_ID)
    if raw.get("at") is None:
        raise _Refused(Reason.MISSING_TIME)
    at = parse_time_ms(raw["at"])
    if at is None:
        raise _Refused(Reason.BAD_TIME, f"at = {str(raw['at'])[:60]!r}")
    label = raw.get("label")
    if label is None:
        raise _Refused(Reason.WRONG_TYPE, "label is missing")
    if isinstance(label, float) and not math.isfinite(label):
        raise _Refused(Reason.WRONG_TYPE, f"label is {label}")
    if not isinstance(label, bool | int | float | str):
        raise _Refused(Reason.WRONG_TYPE, f"label must be a flag, a number or a string, not {type(label).__name__}")
    return _Label(model, event_id, clean(label) if isinstance(label, str) else label, at)


def _required(raw: dict[str, Any], name: str, missing: Reason) -> str:
    value = raw.get(name)
    if value is None or value == "":
        raise _Refused(missing)
    if not isinstance(value, str):
        raise _Refused(Reason.WRONG_TYPE, f"{name} must be a string, not {type(value).__name__}")
    return clean(value)


def decode_arrow_labels(batch: MessageBatch, models: frozenset[str]) -> DecodedLabels:
    """Decode Arrow batches of labels of the models that have a contract; a bad row never costs its batch."""
    decoded = DecodedLabels()
    for i, value in enumerate(batch.values):
        try:
            table = open_table(value)
        except ValueError as error:
            decoded.rejected.append(batch.reject(i, rejection_reason(value, error), str(error)))
            continue
        if table.num_rows:
            found = DecodedLabels()
            try:
                _add_table(batch, i, table, models, found)
            except (pa.ArrowException, ValueError, TypeError) as error:  # columns that Arrow cannot compute on
                decoded.rejected.append(batch.reject(i, Reason.NOT_ARROW, str(error)[:DETAIL_CHARS]))
                continue
            decoded.rows += found.rows
            decoded.rejected += found.rejected
    return decoded


def _add_table(
    batch: MessageBatch, message: int, table: pa.Table, models: frozenset[str], decoded: DecodedLabels
) -> None:
    n = table.num_rows
    where = np.full(n, message)
    reasons = np.full(n, "", dtype="U20")
    details: dict[str, str] = {}

    def refuse(bad: NDArray[np.bool_], reason: Reason, detail: str = "") -> None:
        new = bad & (reasons == "")
        if new.any():
            reasons[new] = str(reason)
            details[reason] = detail

    def texts(name: str, missing: Reason) -> pa.Array:
        column = plain(table.column(name)) if name in table.column_names else pa.nulls(n, pa.string())
        given = as_texts(column)
        refuse(_mask(pc.fill_null(pc.equal(given, ""), True)), missing)
        if not (is_text(column.type) or pa.types.is_null(column.type)):
            refuse(np.ones(n, dtype=bool), Reason.WRONG_TYPE, f"{name} must be text, not {column.type}")
        return given

    model = texts("model", Reason.MISSING_MODEL)
    known = _mask(pc.is_in(model, value_set=pa.array(sorted(models), pa.string())))
    refuse(~known, Reason.UNKNOWN_MODEL)
    event_id = texts("id", Reason.MISSING_ID)
    at_ms, no_time, bad_time = arrow_times(table)
    refuse(no_time, Reason.MISSING_TIME)
    refuse(bad_time, Reason.BAD_TIME)
    refused = rejected_times(at_ms, batch.received_ms[where], None)
    if refused is not None:
        for reason in (Reason.FUTURE_TIME, Reason.TOO_OLD):
            refuse(refused == reason, reason)
    label, kind, detail = _arrow_labels(table)
    refuse(_mask(pc.is_null(label)), Reason.WRONG_TYPE, detail)
    good = reasons == ""
    at = int(batch.partition[message]), int(batch.offset[message])
    received_ms = int(batch.received_ms[message])
    bad = np.flatnonzero(~good).tolist()
    for i, row in zip(bad, split_rows(table, bad), strict=True):
        reason = Reason(str(reasons[i]))
        named = model[i].as_py() if known[i] else ""
        detail = details[reason] if row else BYTES_OMITTED
        decoded.rejected.append(RejectedEvent(reason, *at, i, row, detail, named, received_ms))
    if good.any():
        kept = pa.array(good)
        rows = np.flatnonzero(good)
        made = positions(batch, where[rows], rows.astype(np.int32)) | {
            "model": model.filter(kept),
            "id": event_id.filter(kept),
            "label": label.filter(kept),
            "label_type": pa.repeat(kind, len(rows)),
            "at": times(at_ms[good]),
        }
        decoded.rows.append(rows_of("labels", made))


def _mask(column: Any) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool)


def arrow_times(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Read the column `at`: Unix ms, where it is missing, where it cannot be read; each of shape (n,)."""
    n = table.num_rows
    never, always = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    if "at" not in table.column_names:
        return np.zeros(n, dtype=np.int64), always, never
    column = plain(table.column("at"))
    missing = _mask(pc.is_null(column))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False)
    elif not pa.types.is_integer(column.type):
        return np.zeros(n, dtype=np.int64), missing, ~missing
    at_ms = pc.fill_null(column.cast(pa.int64(), safe=False), 0).to_numpy(zero_copy_only=False)
    return np.asarray(at_ms), missing, never


def _arrow_labels(table: pa.Table) -> tuple[pa.Array, str, str]:
    """Read the column `label`: texts, null where there is no label; their type; what is wrong with the nulls."""
    missing = "label is missing or not finite"
    if "label" not in table.column_names:
        return pa.nulls(table.num_rows, pa.string()), _TEXT, missing
    column = plain(table.column("label"))
    kind = column.type
    if pa.types.is_boolean(kind):
        return as_texts(column), _FLAG, missing
    if pa.types.is_integer(kind):
        return as_texts(column), _NUMBER, missing
    if is_number(kind):
        texts = [label_text(value) if math.isfinite(value) else None for value in as_numbers(column).tolist()]
        return pa.array(texts, pa.string()), _NUMBER, missing
    if is_text(kind) or pa.types.is_null(kind):
        return as_texts(column), _TEXT, missing
    return pa.nulls(len(column), pa.string()), _TEXT, f"label must be a flag, a number or a string, not {kind}"
