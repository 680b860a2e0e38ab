"""The rows that peers get."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.peers.child import CHUNK
from benchmarks.scoreboard.data_sets import DAY_MS, FEATURES, START_MS
from benchmarks.scoreboard.incidents import Incident

REFERENCE_ROWS = 10_000
"""Training rows that a peer gets, at random, in the order of time."""


def write_rows(folder: Path, training: pa.Table, stream: pa.Table) -> dict[str, Any]:
    """Write training rows and the rows to judge, and return the parameters that a peer's program takes.

    Args:
        folder: for the files.
        training: all training rows.
        stream: the rows to judge, with or without the column `CHUNK`.
    """
    chosen = np.random.default_rng(1).choice(training.num_rows, min(REFERENCE_ROWS, training.num_rows), replace=False)
    sample = training.take(pa.array(np.sort(chosen)))
    reference = feature_arrays(sample.append_column(CHUNK, pa.array(day_numbers(sample))))
    paths = {name: str(folder / f"{name}.npz") for name in ("reference", "stream")}
    np.savez(paths["reference"], **reference)
    np.savez(paths["stream"], **feature_arrays(stream))
    texts = [name for name, values in reference.items() if values.dtype.kind == "U"]
    numbers = [name for name in reference if name not in (*texts, CHUNK)]
    return {**paths, "numbers": numbers, "texts": texts}


def feature_arrays(table: pa.Table) -> dict[str, Any]:
    """Return the features and the chunk as arrays: NaN and an empty text stand for null."""
    result: dict[str, Any] = {}
    for name in table.column_names:
        if name.startswith(FEATURES) or name == CHUNK:
            column = table[name]
            is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            filled = pc.fill_null(column, "") if is_text else column
            if pa.types.is_floating(column.type):
                filled = pc.fill_null(column, float("nan"))
            result[name.removeprefix(FEATURES)] = np.array(filled.to_pylist()) if is_text else filled.to_numpy()
    return result


def chunked(sources: Iterable[tuple[pa.Table, Iterable[int]]]) -> tuple[pa.Table, list[int]]:
    """Return the rows of some days of some streams, each day as one chunk, and the number of chunks of each stream."""
    parts: list[pa.Table] = []
    n_chunks: list[int] = []
    for table, days in sources:
        number = day_numbers(table)
        first = sum(n_chunks)
        chosen = sorted(set(days))
        n_chunks.append(len(chosen))
        for i, day in enumerate(chosen):
            rows = table.filter(pa.array(number == day))
            parts.append(rows.append_column(CHUNK, pa.array(np.full(rows.num_rows, first + i))))
    return pa.concat_tables(parts), n_chunks


def day_numbers(table: pa.Table) -> np.ndarray[Any, Any]:
    """Return the number of the day of each event."""
    at_ms: np.ndarray[Any, Any] = table["at"].cast(pa.int64()).to_numpy()
    return (at_ms - START_MS) // DAY_MS


def overlapped_days(incident: Incident) -> range:
    """Return the days that an incident overlaps."""
    first = (incident.start_s * 1000 - START_MS) // DAY_MS
    return range(first, (incident.end_s * 1000 - 1 - START_MS) // DAY_MS + 1)
