"""Checks the columns of a file before its first event is published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from barograph.contract import CONFIDENCE, Contract, LabelSpec
from barograph.contract.label_values import refusal
from barograph.publisher.pii import Pii
from barograph.publisher.tables import Block, LabelTables, PredictionTables, unread_labels
from barograph.values import InvalidEvent

from cli.load.files import EventFile, LoadError
from cli.terminal import plural

EventKind = Literal["predictions", "labels"]

_MAX_COLUMNS = 8
"""Columns that a message names."""


@dataclass(frozen=True, slots=True)
class EventSource:
    """A file whose columns were checked."""

    file: EventFile
    kind: EventKind
    columns: frozenset[str]
    """The columns to read."""
    notes: tuple[str, ...]
    """Remarks about ignored and missing columns."""


def inspect_file(file: EventFile, contract: Contract, version: str | None) -> EventSource:
    """Determine whether a file has predictions or labels, and which of its columns to read.

    A file with a column `label` and no column of a prediction has labels; any other has predictions.

    Args:
        file: the file.
        contract: the model's contract.
        version: the version of the predictions, if there is no column `version`.

    Raises:
        LoadError: columns are missing or have a wrong type.
    """
    names = file.schema.names
    tables = _prediction_tables(contract, version or "")
    try:
        if "label" in names and not _is_prediction(names, tables):
            return _labels(file, contract)
        return _predictions(file, contract, version, tables)
    except InvalidEvent as error:
        raise LoadError(f"{file.path}: {error}.") from error


def read_blocks(source: EventSource, contract: Contract, version: str | None) -> Iterator[Block]:
    """Read the events of a file in the form of the publisher, with the number of invalid rows.

    Raises:
        LoadError: the file is damaged, or a column has values that no event can have.
    """
    tables: PredictionTables | LabelTables = LabelTables(contract.model, contract.label)
    if source.kind == "predictions":
        tables = _prediction_tables(contract, version or "")
    try:
        for batch in source.file.batches(source.columns):
            yield from tables.blocks(batch)
    except InvalidEvent as error:
        raise LoadError(f"{source.file.path}: {error}.") from error


def _prediction_tables(contract: Contract, version: str) -> PredictionTables:
    # The publisher protects personal data; hashing it here too would hash it twice.
    return PredictionTables(contract, version, Pii(Contract(model=contract.model), b""))


def _is_prediction(names: list[str], tables: PredictionTables) -> bool:
    sources, _ = tables.columns(["id", *(name for name in names if name != "id")])
    return not sources.keys() <= {"id", "model", "at"}


def _predictions(file: EventFile, contract: Contract, version: str | None, tables: PredictionTables) -> EventSource:
    names = file.schema.names
    sources, ignored = tables.columns(names)
    if "at" not in sources:
        raise LoadError(
            f"{file.path} has no column at: add one with the time of each prediction (timestamps, or milliseconds "
            "since 1970)."
        )
    _check_times(file)
    if version is None and "version" not in sources:
        raise LoadError(f"{file.path} has no column version: give the version of the predictions with --version.")
    available = {*sources, CONFIDENCE} if any(source.startswith("scores.") for source in sources) else set(sources)
    missing = [field.source for field in contract.fields if field.source not in available]
    if contract.fields and len(missing) == len(contract.fields):
        raise LoadError(
            f"{file.path} has no column of a field of the contract of {contract.model}: {_listed(missing)}. Rename its "
            "columns, or give the matching contract."
        )
    notes = file.notes
    if missing:
        notes.append(f"{file.path}: missing columns, counted as null: {_listed(missing)}.")
    if ignored:
        notes.append(f"{file.path}: columns ignored, not in the contract: {_listed(ignored)}.")
    return EventSource(file, "predictions", frozenset(names[index] for index in sources.values()), tuple(notes))


def _labels(file: EventFile, contract: Contract) -> EventSource:
    names = file.schema.names
    if "id" not in names:
        raise LoadError(f"{file.path} has no column id: labels need id, label and the time at.")
    notes = file.notes
    if "at" in names:
        _check_times(file)
    else:
        notes.append(f"{file.path} has no column at: its labels get the current time.")
    if contract.label is None:
        notes.append(f"{file.path}: the contract has no label, so these labels are stored and not measured.")
    else:
        _check_labels(file, contract.label)
    ignored = [name for name in names if name not in ("id", "label", "at", "model")]
    if ignored:
        notes.append(f"{file.path}: columns ignored, not part of a label: {_listed(ignored)}.")
    return EventSource(file, "labels", frozenset(names) - frozenset(ignored), tuple(notes))


def _check_labels(file: EventFile, label: LabelSpec) -> None:
    """Read all labels and check that each is a form of a value of the contract.

    Raises:
        LoadError: some are not; nothing was published.
    """
    refused: Counter[str] = Counter()
    for batch in file.batches(("label",)):
        refused.update(unread_labels(label, batch.column("label").combine_chunks()))
    if refused:
        values = [f"{value!r} ({plural(count, 'row')})" for value, count in refused.most_common(_MAX_COLUMNS)]
        others = "" if len(refused) <= _MAX_COLUMNS else f" and {len(refused) - _MAX_COLUMNS:,} more values"
        raise LoadError(f"{file.path}: the column label has {', '.join(values)}{others}; {refusal(label)}.")


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
        raise LoadError(
            f"{file.path}: the column at has type {kind}; convert it to timestamps or milliseconds since 1970."
        )


def _listed(names: list[str]) -> str:
    listed = ", ".join(names[:_MAX_COLUMNS])
    return listed if len(names) <= _MAX_COLUMNS else f"{listed} and {len(names) - _MAX_COLUMNS} more"
