"""Messages of `labels` → raw rows and rejected events; every label ends in one of the two.

A label is a flag, a finite number or a text. It is recorded as text, numbers in their shortest form (1, 0.25), so that
JSON and Arrow give the same rows. Rows keep what was sent: the scorer reads every form of a value that the contract
allows, so a corrected contract applies to labels that are recorded already.
"""

import json
import math
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract.label_values import label_text
from barograph.events import Reason
from barograph.publisher.label_columns import label_texts
from numpy.typing import NDArray

from barograph_server.streams.events.arrow_decoder import BYTES_OMITTED, split_rows
from barograph_server.streams.events.arrow_message import COLUMN_ERRORS, open_table, reject_message, rejection_reason
from barograph_server.streams.events.batch import OUT_OF_MEMORY, MessageBatch, RejectedEvent
from barograph_server.streams.events.event_time import RETENTION_MS, arrow_times_ms, rejected_times, times_ms
from barograph_server.streams.events.event_type import Rejection, replace_surrogates, required_text, required_time_ms
from barograph_server.streams.recorder.arrow_values import (
    is_number,
    is_text,
    plain_array,
    plain_column,
    to_mask,
    to_numbers,
    to_text,
)
from barograph_server.streams.recorder.rows import build_table, position_columns, time_column

MAX_DETAIL_CHARS = 200
_TEXT, _NUMBER, _FLAG = "string", "number", "bool"


@dataclass(slots=True)
class DecodedLabels:
    rows: list[pa.Table] = field(default_factory=list)
    """Rows of the table `labels`, without their epoch."""
    rejected: list[RejectedEvent] = field(default_factory=list)


class _Label(msgspec.Struct, gc=False):
    model: str
    id: str
    label: bool | int | float | str
    at: int | str


_decode = msgspec.json.Decoder(_Label).decode


def decode_json_labels(batch: MessageBatch, models: frozenset[str], retention_ms: int = RETENTION_MS) -> DecodedLabels:
    """Decode JSON labels of the models that have a contract."""
    decoded = DecodedLabels()
    labels: list[_Label] = []
    positions: list[int] = []
    for i, value in enumerate(batch.values):
        try:
            labels.append(_read(value, models))
            positions.append(i)
        except Rejection as rejection:
            detail = rejection.detail[:MAX_DETAIL_CHARS]
            decoded.rejected.append(batch.reject(i, rejection.reason, detail, model=rejection.model))
        except MemoryError:
            decoded.rejected.append(batch.reject(i, Reason.TOO_LARGE, OUT_OF_MEMORY))
    if not labels:
        return decoded
    messages = np.array(positions)
    at_ms, unreadable = times_ms([label.at for label in labels])
    reasons = rejected_times(at_ms, batch.received_ms[messages], unreadable, retention_ms)
    if reasons is not None:
        for i in np.flatnonzero(reasons != "").tolist():
            detail = f"at = {str(labels[i].at)[:60]!r}"
            decoded.rejected.append(batch.reject(positions[i], Reason(str(reasons[i])), detail, model=labels[i].model))
        mask = reasons == ""
        labels = list(compress(labels, mask.tolist()))
        at_ms, messages = at_ms[mask], messages[mask]
    if labels:
        values = [label.label for label in labels]
        columns = position_columns(batch, messages) | {
            "model": pa.array([label.model for label in labels]),
            "id": pa.array([label.id for label in labels]),
            "label": pa.array([label_text(value) for value in values]),
            "label_type": pa.array([_type_of(value) for value in values]),
            "at": time_column(at_ms),
        }
        decoded.rows.append(build_table("labels", columns))
    return decoded


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
    return _read_lenient(value, models)


def _read_lenient(value: bytes | None, models: frozenset[str]) -> _Label:
    """Decode a label that does not fit the format.

    Raises:
        Rejection: the message is not a label.
    """
    if not value:
        raise Rejection(Reason.EMPTY)
    try:
        raw = json.loads(value.decode())
    except RecursionError:
        raise Rejection(Reason.TOO_DEEP) from None
    except ValueError as error:
        raise Rejection(Reason.NOT_JSON, str(error)) from None
    if not isinstance(raw, dict):
        raise Rejection(Reason.NOT_AN_OBJECT, f"the message is {type(raw).__name__}")
    model = required_text(raw, "model", Reason.MISSING_MODEL)
    if model not in models:
        raise Rejection(Reason.UNKNOWN_MODEL, model)
    try:
        return _label_of(raw, model)
    except Rejection as rejection:
        rejection.model = model
        raise


def _label_of(raw: dict[str, Any], model: str) -> _Label:
    event_id = required_text(raw, "id", Reason.MISSING_ID)
    at_ms = required_time_ms(raw)
    label = raw.get("label")
    if label is None:
        raise Rejection(Reason.WRONG_TYPE, "label is missing")
    if isinstance(label, float) and not math.isfinite(label):
        raise Rejection(Reason.WRONG_TYPE, f"label is {label}")
    if not isinstance(label, bool | int | float | str):
        raise Rejection(Reason.WRONG_TYPE, f"label must be a flag, a number or a string, not {type(label).__name__}")
    return _Label(model, event_id, replace_surrogates(label) if isinstance(label, str) else label, at_ms)


def decode_arrow_labels(batch: MessageBatch, models: frozenset[str], retention_ms: int = RETENTION_MS) -> DecodedLabels:
    """Decode Arrow batches of labels of the models that have a contract. An invalid row never costs its batch."""
    decoded = DecodedLabels()
    for i, value in enumerate(batch.values):
        try:
            table = open_table(value)
        except ValueError as error:
            decoded.rejected.append(batch.reject(i, rejection_reason(value, error), str(error)))
            continue
        if table.num_rows:
            result = DecodedLabels()
            try:
                _decode_table(batch, i, table, models, result, retention_ms)
            except COLUMN_ERRORS as error:
                decoded.rejected.append(reject_message(batch, i, error))
                continue
            decoded.rows += result.rows
            decoded.rejected += result.rejected
    return decoded


def _decode_table(
    batch: MessageBatch,
    message: int,
    table: pa.Table,
    models: frozenset[str],
    decoded: DecodedLabels,
    retention_ms: int,
) -> None:
    n = table.num_rows
    messages = np.full(n, message)
    reasons = np.full(n, "", dtype="U20")
    details: dict[str, str] = {}

    def reject(mask: NDArray[np.bool_], reason: Reason, detail: str = "") -> None:
        new = mask & (reasons == "")
        if new.any():
            reasons[new] = str(reason)
            details[reason] = detail

    def required(name: str, missing: Reason) -> pa.Array:
        column = plain_column(table, name)
        texts = to_text(column)
        reject(to_mask(pc.fill_null(pc.equal(texts, ""), True)), missing)
        if not (is_text(column.type) or pa.types.is_null(column.type)):
            reject(np.ones(n, dtype=bool), Reason.WRONG_TYPE, f"{name} must be text, not {column.type}")
        return texts

    model = required("model", Reason.MISSING_MODEL)
    has_contract = to_mask(pc.is_in(model, value_set=pa.array(sorted(models), pa.string())))
    reject(~has_contract, Reason.UNKNOWN_MODEL)
    event_id = required("id", Reason.MISSING_ID)
    at_ms, no_time, bad_time = arrow_times_ms(plain_column(table, "at") if "at" in table.column_names else None, n)
    reject(no_time, Reason.MISSING_TIME)
    reject(bad_time, Reason.BAD_TIME)
    times = rejected_times(at_ms, batch.received_ms[messages], None, retention_ms)
    if times is not None:
        for reason in (Reason.FUTURE_TIME, Reason.TOO_OLD):
            reject(times == reason, reason)
    label, kind, detail = _arrow_labels(table)
    reject(to_mask(pc.is_null(label)), Reason.WRONG_TYPE, detail)
    accepted = reasons == ""
    source = int(batch.partition[message]), int(batch.offset[message])
    received_ms = int(batch.received_ms[message])
    bad = np.flatnonzero(~accepted).tolist()
    for i, row in zip(bad, split_rows(table, bad), strict=True):
        reason = Reason(str(reasons[i]))
        model_name = model[i].as_py() if has_contract[i] else ""
        detail = details[reason] if row else BYTES_OMITTED
        decoded.rejected.append(RejectedEvent(reason, *source, i, row, detail, model_name, received_ms))
    if accepted.any():
        mask = pa.array(accepted)
        rows = np.flatnonzero(accepted)
        columns = position_columns(batch, messages[rows], rows.astype(np.int32)) | {
            "model": model.filter(mask),
            "id": event_id.filter(mask),
            "label": label.filter(mask),
            "label_type": pa.repeat(kind, len(rows)),
            "at": time_column(at_ms[accepted]),
        }
        decoded.rows.append(build_table("labels", columns))


def _arrow_labels(table: pa.Table) -> tuple[pa.Array, str, str]:
    """Return the column `label` as text, null for an invalid label; the label type; and the detail for the nulls."""
    missing = "label is missing or not finite"
    if "label" not in table.column_names:
        return pa.nulls(table.num_rows, pa.string()), _TEXT, missing
    column = plain_array(table.column("label"))
    kind = column.type
    if pa.types.is_boolean(kind):
        return to_text(column), _FLAG, missing
    if pa.types.is_integer(kind):
        return to_text(column), _NUMBER, missing
    if is_number(kind):
        return label_texts(pa.array(to_numbers(column), from_pandas=True)), _NUMBER, missing
    if is_text(kind) or pa.types.is_null(kind):
        return to_text(column), _TEXT, missing
    return pa.nulls(len(column), pa.string()), _TEXT, f"label must be a flag, a number or a string, not {kind}"
