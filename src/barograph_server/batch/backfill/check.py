"""Checks the columns of a file before its first event is published."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import CONFIDENCE, Contract, LabelSpec, format_duration
from barograph.contract.label_values import refusal
from barograph.events import SHADOW
from barograph.publisher.pii import Pii
from barograph.publisher.tables import (
    EVENT_TIME,
    Block,
    LabelTables,
    PredictionTables,
    known_ids,
    known_labels,
    unread_labels,
)
from barograph.values import InvalidEvent

from barograph_server.batch.backfill.files import EventFile, LoadError
from barograph_server.terminal import listed, plural

EventKind = Literal["predictions", "labels"]

_MAX_COLUMNS = 8
"""Columns that a message names."""
_UNMEASURED = "{}: the contract has no label, so these labels are stored and not measured."


@dataclass(frozen=True, slots=True)
class LabelTime:
    """When the labels of a load became known, by its options."""

    column: str = ""
    """The column of times; empty: the time of a prediction, or `at` in a file of labels."""
    delay_s: int = 0
    """How long after its prediction each label of a table of predictions became known."""


_DEFAULT_LABEL_TIME = LabelTime()


@dataclass(frozen=True, slots=True)
class EventSource:
    """A file whose columns were checked."""

    file: EventFile
    kind: EventKind
    columns: frozenset[str]
    notes: tuple[str, ...]
    """Remarks about ignored and missing columns."""
    time: str = "at"
    """The column of times; empty if labels get the current time."""
    in_predictions: bool = False
    """Whether these are the labels in a table of predictions, of which some may not be known yet."""
    delay_s: int = 0
    """Added to the times."""


def inspect_files(
    files: Sequence[EventFile], contract: Contract, version: str | None, label_time: LabelTime = _DEFAULT_LABEL_TIME
) -> list[EventSource]:
    """Determine what to read from the files of a load, in the order in which it is published.

    A table of predictions with a column of labels is two sources: its predictions, then its labels. If one of the files
    has labels, these are the labels of the load, and the labels in tables of predictions are not read.

    Args:
        version: the version of the predictions, if there is no column `version`.
    """
    inspected = [inspect_file(file, contract, version, label_time) for file in files]
    label_files = [str(source.file.path) for source in inspected if source.kind == "labels"]
    sources: list[EventSource] = []
    for source in inspected:
        column = _label_column(source)
        if column and label_files:
            note = (
                f"{source.file.path}: the labels in the column {column} are not sent, because the labels of this load "
                f"are those of {listed(label_files, _MAX_COLUMNS)}. To send them, load the table alone."
            )
            source = replace(source, notes=(*source.notes, note))
        sources.append(source)
        if column and not label_files:
            sources.append(_labels_in_predictions(source.file, column, contract, label_time))
    labels = [source for source in sources if source.kind == "labels"]
    if label_time.column:
        timed = [source for source in labels if source.time == _renamed(source.file, label_time.column)]
        if not timed:
            raise LoadError(f"No labels of the load have the column {label_time.column!r}; correct --label-time.")
        untimed = [str(source.file.path) for source in labels if source not in timed]
        if untimed:
            raise LoadError(
                f"These files have labels, but no column {label_time.column!r}: {listed(untimed, _MAX_COLUMNS)}. "
                "Rename their columns, or load them apart."
            )
    if label_time.delay_s and not any(source.delay_s for source in labels):
        raise LoadError(
            "--label-delay is for the labels in a table of predictions, and none are sent; leave the option out."
        )
    return sources


def inspect_file(
    file: EventFile, contract: Contract, version: str | None, label_time: LabelTime = _DEFAULT_LABEL_TIME
) -> EventSource:
    """Determine whether a file has predictions or labels, and which of its columns to read.

    A file with a column `label` and no column of a prediction has labels; any other has predictions. The labels in a
    table of predictions are a source of their own: see `inspect_files`.
    """
    names = file.schema.names
    tables = _prediction_tables(contract, version or "")
    try:
        if "label" in names and not _is_prediction(names, tables):
            return _labels(file, contract, label_time)
        return _predictions(file, contract, version, tables, label_time)
    except InvalidEvent as error:
        raise LoadError(f"{file.path}: {error}.") from error


def n_shadows(rows: pa.RecordBatch) -> int:
    """Return how many rows of predictions have the role `shadow`."""
    if "role" not in rows.schema.names:
        return 0
    return int(pc.sum(pc.equal(rows.column("role"), SHADOW)).as_py() or 0)


def read_blocks(source: EventSource, contract: Contract, version: str | None) -> Iterator[Block]:
    """Read the events of a file in the form of the publisher, with the number of invalid rows."""
    tables: PredictionTables | LabelTables = LabelTables(contract.model, contract.label)
    if source.kind == "predictions":
        tables = _prediction_tables(contract, version or "")
    try:
        for batch in source.file.batches(source.columns):
            rows = _labelled_rows(batch) if source.in_predictions else batch
            if source.time not in ("", "at"):
                rows = rows.rename_columns(["at" if name == source.time else name for name in rows.column_names])
            for block in tables.blocks(rows):
                if source.in_predictions and source.time == "at":
                    # Rows without an id or a time are counted with the predictions.
                    block = block._replace(n_rejected=0)
                yield _delayed(block, source.delay_s) if source.delay_s else block
    except InvalidEvent as error:
        raise LoadError(f"{source.file.path}: {error}.") from error


def _labelled_rows(table: pa.Table) -> pa.Table:
    is_known = known_labels(table.column("label").combine_chunks())
    return table.filter(pc.and_(is_known, known_ids(table.column("id").combine_chunks())))


def _delayed(block: Block, delay_s: int) -> Block:
    rows = block.rows
    at = pc.add(rows.column("at").cast(pa.int64()), 1000 * delay_s).cast(EVENT_TIME)
    return block._replace(rows=rows.set_column(rows.schema.get_field_index("at"), "at", at))


def _name_of_labels(file: EventFile) -> str:
    return next((name for name, member in file.event_names.items() if member == "label"), "label")


def _renamed(file: EventFile, column: str) -> str:
    return file.event_names.get(column, column)


def _prediction_tables(contract: Contract, version: str) -> PredictionTables:
    # The publisher protects personal data; hashing it here too would hash it twice.
    return PredictionTables(contract, version, Pii(Contract(model=contract.model), b""))


def _is_prediction(names: list[str], tables: PredictionTables) -> bool:
    sources, _ = tables.columns(["id", *(name for name in names if name != "id")])
    return not sources.keys() <= {"id", "model", "at"}


def _predictions(
    file: EventFile, contract: Contract, version: str | None, tables: PredictionTables, label_time: LabelTime
) -> EventSource:
    names = file.schema.names
    sources, ignored = tables.columns(names)
    if "at" not in sources:
        raise LoadError(
            f"{file.path} has no column at: add one with the time of each prediction (timestamps, or milliseconds "
            "since 1970)."
        )
    _check_times(file, "at")
    if version is None and "version" not in sources:
        raise LoadError(f"{file.path} has no column version: give the version of the predictions with --version.")
    available = {*sources, CONFIDENCE} if any(source.startswith("scores.") for source in sources) else set(sources)
    missing = [field.source for field in contract.fields if field.source not in available]
    if contract.fields and len(missing) == len(contract.fields):
        raise LoadError(
            f"{file.path} has no column of a field of the contract of {contract.model}: "
            f"{listed(missing, _MAX_COLUMNS)}. Rename its columns, or give the matching contract."
        )
    notes = file.notes
    if missing:
        notes.append(f"{file.path}: missing columns, counted as null: {listed(missing, _MAX_COLUMNS)}.")
    ignored = [name for name in ignored if name not in ("label", _renamed(file, label_time.column))]
    if ignored:
        hint = "; if one of them has labels, name it with --label" if contract.label and "label" not in names else ""
        notes.append(f"{file.path}: columns ignored, not in the contract: {listed(ignored, _MAX_COLUMNS)}{hint}.")
    return EventSource(file, "predictions", frozenset(names[index] for index in sources.values()), tuple(notes))


def _label_column(source: EventSource) -> str:
    """Return the column of labels in a table of predictions, by its name in the file; empty if there is none."""
    if source.kind == "labels" or "label" not in source.file.schema.names or "label" in source.columns:
        return ""
    return _name_of_labels(source.file)


def _labels_in_predictions(file: EventFile, column: str, contract: Contract, label_time: LabelTime) -> EventSource:
    names = file.schema.names
    time = _renamed(file, label_time.column)
    if time not in names:
        time = "at"
    _check_times(file, time)
    try:
        n_known, n = _check_labels(file, contract.label)
    except InvalidEvent as error:
        raise LoadError(f"{file.path}: {error}.") from error
    note = f"{file.path}: the column {column} has the labels of {n_known:,} of {plural(n, 'row')}, which are sent with"
    if time != "at":
        note += f" the times in the column {label_time.column}."
    elif label_time.delay_s:
        note += f" the time of the prediction plus {format_duration(label_time.delay_s)}."
    else:
        note += (
            " the time of the prediction, as if they became known at once. If they became known later, give "
            "--label-time COLUMN or --label-delay."
        )
    notes = [note]
    if contract.label is None:
        notes.append(_UNMEASURED.format(file.path))
    columns = frozenset(("id", "label", time)) | ({"model"} & set(names))
    return EventSource(
        *(file, "labels", columns, tuple(notes), time),
        in_predictions=True,
        delay_s=label_time.delay_s if time == "at" else 0,
    )


def _labels(file: EventFile, contract: Contract, label_time: LabelTime) -> EventSource:
    names = file.schema.names
    if "id" not in names:
        raise LoadError(f"{file.path} has no column id: labels need id, label and the time at.")
    notes = file.notes
    named = _renamed(file, label_time.column)
    time = named if named in names else "at" if "at" in names else ""
    if time:
        _check_times(file, time)
    else:
        notes.append(f"{file.path} has no column at: its labels get the current time.")
    if contract.label is None:
        notes.append(_UNMEASURED.format(file.path))
    _check_labels(file, contract.label)
    ignored = [name for name in names if name not in ("id", "label", time, "model")]
    if ignored:
        notes.append(f"{file.path}: columns ignored, not part of a label: {listed(ignored, _MAX_COLUMNS)}.")
    return EventSource(file, "labels", frozenset(names) - frozenset(ignored), tuple(notes), time)


def _check_labels(file: EventFile, label: LabelSpec | None) -> tuple[int, int]:
    """Check that each label is a form of a value of the contract, if it has a label; return known labels and rows."""
    refused: Counter[str] = Counter()
    n_known, n = 0, 0
    for batch in file.batches(("label",)):
        values = batch.column("label").combine_chunks()
        n_known += known_labels(values).true_count
        n += len(values)
        if label is not None:
            refused.update(unread_labels(label, values))
    if refused and label is not None:
        raise LoadError(f"{file.path}: {describe_unread(label, _name_of_labels(file), refused)}")
    return n_known, n


def describe_unread(label: LabelSpec, column: str, unread: Counter[str]) -> str:
    """Describe labels that are not a form of a value of the contract, with their rows, and what to do."""
    texts = [f"{value!r} ({plural(count, 'row')})" for value, count in unread.most_common(_MAX_COLUMNS)]
    n_others = len(unread) - _MAX_COLUMNS
    others = f" and {n_others:,} more values ({unread.total():,} rows together)" if n_others > 0 else ""
    return f"the column {column} has {', '.join(texts)}{others}; {refusal(label)}."


def _check_times(file: EventFile, column: str) -> None:
    kind = file.schema.field(column).type
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
            f"{file.path}: the column {column} has type {kind}; convert it to timestamps or milliseconds since 1970."
        )
