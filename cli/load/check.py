"""What a file's columns mean, checked before the first event is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from barograph.contract import Contract
from barograph.contract.check import CONFIDENCE
from barograph.publisher.pii import Pii
from barograph.publisher.tables import Block, LabelTables, PredictionTables
from barograph.values import InvalidEvent

from cli.load.files import EventFile, LoadError

Kind = Literal["predictions", "labels"]

_SHOWN = 8
"""Columns that a message names before it says how many more."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file whose columns were understood."""

    file: EventFile
    kind: Kind
    columns: frozenset[str]
    """The columns that are read."""
    notes: tuple[str, ...]
    """What is worth knowing before it is loaded."""


def understand(file: EventFile, contract: Contract, version: str | None) -> Source:
    """Find out what a file holds.

    A file with a column `label` and no column of a prediction holds labels, any other predictions.

    Args:
        file: the file.
        contract: the model's contract.
        version: the version of predictions without a column `version`.

    Raises:
        LoadError: columns are missing or cannot be what they should be.
    """
    names = file.schema.names
    tables = _prediction_tables(contract, version or "")
    try:
        if "label" in names and not _is_prediction(names, tables):
            return _labels(file)
        return _predictions(file, contract, version, tables)
    except InvalidEvent as error:
        raise LoadError(f"{file.path}: {error}.") from error


def blocks(source: Source, contract: Contract, version: str | None) -> Iterator[Block]:
    """Read the events of a file as the publisher takes them, with the count of rows that no event can be made of.

    Raises:
        LoadError: the file is damaged, or a column holds what no event can.
    """
    tables: PredictionTables | LabelTables = LabelTables(contract.model)
    if source.kind == "predictions":
        tables = _prediction_tables(contract, version or "")
    try:
        for batch in source.file.batches(source.columns):
            yield from tables.blocks(batch)
    except InvalidEvent as error:
        raise LoadError(f"{source.file.path}: {error}.") from error


def _prediction_tables(contract: Contract, version: str) -> PredictionTables:
    # Personal data is protected by the publisher, once; what is hashed here would be hashed again there.
    return PredictionTables(contract, version, Pii(Contract(model=contract.model), b""))


def _is_prediction(names: list[str], tables: PredictionTables) -> bool:
    found, _ = tables.columns(["id", *(name for name in names if name != "id")])
    return not found.keys() <= {"id", "model", "at"}


def _predictions(file: EventFile, contract: Contract, version: str | None, tables: PredictionTables) -> Source:
    names = file.schema.names
    found, left_out = tables.columns(names)
    if "at" not in found:
        raise LoadError(
            f"{file.path} has no column at: add one with the time of each prediction (timestamps, or milliseconds "
            "since 1970)."
        )
    _check_times(file)
    if version is None and "version" not in found:
        raise LoadError(f"{file.path} has no column version: say which version made the predictions, with --version.")
    held = {*found, CONFIDENCE} if any(source.startswith("scores.") for source in found) else set(found)
    missing = [field.source for field in contract.fields if field.source not in held]
    if contract.fields and len(missing) == len(contract.fields):
        raise LoadError(
            f"{file.path} has no column of a field that the contract of {contract.model} watches: "
            f"{_some(missing)}. Rename its columns, or give the contract that it belongs to."
        )
    notes = []
    if missing:
        notes.append(f"{file.path}: not among its columns, so they count as null: {_some(missing)}.")
    if left_out:
        notes.append(f"{file.path}: not in the contract, so not sent: {_some(left_out)}.")
    return Source(file, "predictions", frozenset(names[position] for position in found.values()), tuple(notes))


def _labels(file: EventFile) -> Source:
    names = file.schema.names
    if "id" not in names:
        raise LoadError(f"{file.path} has no column id: labels need id, label and the time at.")
    notes = []
    if "at" in names:
        _check_times(file)
    else:
        notes.append(f"{file.path} has no column at: its labels count as known from now on.")
    left_out = [name for name in names if name not in ("id", "label", "at", "model")]
    if left_out:
        notes.append(f"{file.path}: no part of a label, so not sent: {_some(left_out)}.")
    return Source(file, "labels", frozenset(names) - frozenset(left_out), tuple(notes))


def _check_times(file: EventFile) -> None:
    kind = file.schema.field("at").type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (
        pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        raise LoadError(f"{file.path}: the column at is {kind}; make it timestamps, or milliseconds since 1970.")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
