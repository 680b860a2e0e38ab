"""Reads production rows in the form of events, as the publisher and the sketcher's decoder do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import CONFIDENCE, Contract
from barograph.publisher.pii import Pii
from barograph.publisher.tables import EVENT_TIME, PredictionTables, constant_column
from barograph.values import InvalidEvent
from numpy.typing import NDArray

from barograph_server.batch.compare.errors import CompareError
from barograph_server.profiling.infer.columns import read_times_ms, to_numbers
from barograph_server.profiling.infer.errors import OptionError
from barograph_server.profiling.infer.profile import SCORES_PREFIX, Roles, score_columns
from barograph_server.profiling.infer.tables import Table, is_text, plain_type
from barograph_server.streams.events.arrow_columns import BatchRows
from barograph_server.streams.events.arrow_decoder import project_columns
from barograph_server.streams.events.columns import EventColumns
from barograph_server.streams.events.projection import Projection
from barograph_server.warehouse.queries import END_OF_TIME_S

OUTPUTS = ("score", "class", "latency_ms")
OUTPUT_ROLES = ("score", "class_", "latency")
"""The roles whose columns the outputs are read from, in the same order."""
LAST_MS = (END_OF_TIME_S - 366 * 86_400) * 1000
"""Event times from here on count as missing: a period that contains them would end after the last time of tables."""
ERROR = "error"
ROW = "row"
"""Id of rows of a table without ids: counts do not depend on it."""


@dataclass(frozen=True, slots=True)
class EventTimes:
    """The event times of a table of n rows."""

    at_ms: NDArray[np.int64]
    """Shape (n,)."""
    null: NDArray[np.bool_]
    """Rows without a time, shape (n,)."""
    first_ms: int
    last_ms: int

    @property
    def span_s(self) -> float:
        """The time from the first to the last event, in seconds."""
        return (self.last_ms - self.first_ms) / 1000


def read_event_times(table: Table, column: str | None) -> EventTimes:
    """Read the column of event times; without one all rows have the time 0.

    Raises:
        CompareError: the table has no such column, or it has no times.
    """
    if column is None:
        return EventTimes(np.zeros(table.rows, np.int64), np.zeros(table.rows, np.bool_), 0, 0)
    if column not in table.columns:
        raise CompareError(
            f"--time {column}: {table.name} has no such column; its columns: {', '.join(list(table.columns)[:12])}."
        )
    try:
        at_ms, null, _ = read_times_ms(table, column)
    except OptionError as error:
        raise CompareError(f"{table.name}: {error}.") from error
    # Tables end with the year 2099. A default such as the year 9999 counts as no time.
    null |= (at_ms < 0) | (at_ms >= LAST_MS)
    if null.all():
        raise CompareError(f"{table.name}: --time {column}: no value is a time from 1970 to 2098; check its unit.")
    at_ms[null] = 0
    valid = at_ms if not null.any() else at_ms[~null]
    return EventTimes(at_ms, null, int(valid.min()), int(valid.max()))


def source_columns_of(contract: Contract, roles: Roles, table: Table) -> dict[str, str]:
    """Find the column of each source that the contract reads: source → column; sources without a column are left out.

    A feature is read from `NAME`, as in training, else from `features.NAME`, as in events; an output from the column of
    its role, else from its own name.
    """
    outputs = dict(zip(OUTPUTS, (roles.score, roles.class_, roles.latency), strict=True))
    scores = {f"{SCORES_PREFIX}{name}": column for name, column in score_columns(table, roles).items()}
    named = {column for _, column in roles.list_options()} - set(roles.slice_columns) - roles.critical
    columns: dict[str, str] = {}
    for source in [*contract.sources, *outputs]:
        bare = source.partition(".")[2] or source
        if source in outputs:
            candidates = [outputs[source] or (source if source in contract.sources else None)]
        elif source.startswith(SCORES_PREFIX):
            candidates = [scores.get(source)]
        else:
            is_output = bare in OUTPUTS and bare in contract.sources and outputs[bare] is None
            candidates = [None if is_output or bare in named else bare, source]
        column = next((name for name in candidates if name is not None and name in table.columns), None)
        if column is not None and source != CONFIDENCE:
            columns[source] = column
    return columns


def error_column_of(columns: Mapping[str, str], table: Table) -> str | None:
    """Return the column of texts `error`, as exported predictions have it, if no source is read from it."""
    kind = table.columns.get(ERROR)
    return ERROR if kind is not None and is_text(plain_type(kind)) and ERROR not in columns.values() else None


class ServedRows:
    """Converts batches of production rows to events of one model and version.

    Args:
        columns: source → column, from `source_columns_of`.
        id_column: the column of ids; None if there is none.
        error_column: the column of errors, from `error_column_of`: rows with one are failed predictions.
    """

    def __init__(
        self,
        contract: Contract,
        version: str,
        columns: Mapping[str, str],
        id_column: str | None,
        projection: Projection,
        error_column: str | None = None,
    ) -> None:
        self._model, self._version, self._projection = contract.model, version, projection
        self._columns, self._id = dict(columns) | ({ERROR: error_column} if error_column else {}), id_column
        # As in `load`: the publisher protects personal data, and there is none here.
        self._tables = PredictionTables(contract, version, Pii(Contract(model=contract.model), b""))

    @property
    def columns(self) -> list[str]:
        names = [*self._columns.values(), *([self._id] if self._id else [])]
        return list(dict.fromkeys(names))

    def has_id(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Return which rows have an id, shape (n,); all if the table has no column of ids."""
        if self._id is None:
            return np.ones(batch.num_rows, np.bool_)
        column = batch.column(self._id)
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        has_id = column.is_valid()
        if is_text(column.type):
            has_id = pc.and_(has_id, pc.fill_null(pc.greater(pc.binary_length(column.cast(pa.string())), 0), False))
        filled: NDArray[np.bool_] = has_id.to_numpy(zero_copy_only=False)
        return filled

    def events(
        self, batch: pa.RecordBatch, at_ms: NDArray[np.int64], null: NDArray[np.bool_]
    ) -> Iterator[EventColumns]:
        """Yield the events of a batch, without the rows that the publisher leaves out: without id or time.

        Args:
            at_ms: event times, shape (n,).
            null: rows without a time, shape (n,).

        Raises:
            CompareError: a column has a type that no event can hold.
        """
        n = batch.num_rows
        members = {"id": batch.column(self._id) if self._id else constant_column(ROW, n)}
        members["at"] = pa.array(at_ms, mask=null if null.any() else None).cast(EVENT_TIME)
        members |= {source: _in_seconds(batch.column(column)) for source, column in self._columns.items()}
        try:
            for block in self._tables.blocks(pa.table(members)):
                if block.rows.num_rows:
                    yield self._decode(block.rows)
        except InvalidEvent as error:
            raise CompareError(f"{error}.") from error

    def _decode(self, rows: pa.RecordBatch) -> EventColumns:
        n = rows.num_rows
        at_ms = rows.column("at").cast(pa.int64()).to_numpy()
        numbers, texts = project_columns(BatchRows(rows.schema, [rows]), self._projection)
        zeros = np.zeros(n, np.int32)
        failed = np.zeros(n, np.bool_)
        if ERROR in rows.schema.names:
            failed = pc.fill_null(pc.greater(pc.binary_length(rows.column(ERROR)), 0), False).to_numpy(
                zero_copy_only=False
            )
        return EventColumns(
            model=self._model,
            at_ms=at_ms,
            received_ms=at_ms,
            partition=zeros,
            offset=np.arange(n, dtype=np.int64),
            index=zeros,
            versions=(self._version,),
            version_code=zeros,
            errors=failed,
            numbers=numbers,
            texts=texts,
        )


def _in_seconds(values: pa.Array) -> pa.Array:
    """Convert durations and times of day to seconds, as `infer` reads them; other values stay."""
    kind = plain_type(values.type)
    if not (pa.types.is_duration(kind) or pa.types.is_time(kind)):
        return values
    return pa.array(to_numbers(values), from_pandas=True)
