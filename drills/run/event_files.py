"""Reads the events of a drill from files, as `load` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract
from barograph.publisher.pii import Pii, read_key
from barograph.publisher.tables import PredictionTables

from barograph_server.batch.backfill.check import inspect_files, read_blocks
from barograph_server.batch.backfill.files import EventFile, csv_types
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import with_plain_columns
from barograph_server.drills.recorded_events import no_labels


def read_event_files(paths: Sequence[Path], contract: Contract, version: str | None) -> tuple[str, EventTables]:
    """Read predictions and labels, in order of time; personal data is protected as the contract says.

    Args:
        paths: files of predictions, and optionally one of labels.
        version: the version; None for the one with the most predictions.

    Raises:
        PiiKeyError: the contract hashes fields, and the key is missing.
    """
    types = csv_types(contract)
    sources = inspect_files([EventFile(path, types, contract.columns) for path in paths], contract, version or "1")
    batches: dict[str, list[pa.RecordBatch]] = {"predictions": [], "labels": []}
    for source in sources:
        batches[source.kind] += [block.rows for block in read_blocks(source, contract, version or "1")]
    if not batches["predictions"]:
        raise DrillError(f"{', '.join(map(str, paths))}: there are no predictions.")
    predictions = pa.concat_tables(
        [pa.Table.from_batches([batch]) for batch in batches["predictions"]], promote_options="permissive"
    )
    counts = pc.value_counts(predictions["version"].cast(pa.string()).combine_chunks()).to_pylist()
    version = version or max(counts, key=lambda pair: pair["counts"])["values"]
    predictions = predictions.filter(pc.equal(predictions["version"], version))
    protected = PredictionTables(contract, version, Pii(contract, read_key(contract)))
    predictions = pa.Table.from_batches([block.rows for block in protected.blocks(predictions)])
    own = [name for name in predictions.column_names if name not in ("model", "producer", "seq", "role")]
    labels = no_labels()
    if batches["labels"]:
        labels = pa.Table.from_batches(batches["labels"]).select(["id", "label", "at"])
    return version, EventTables(_in_order(predictions.select(own)), _in_order(labels))


def _in_order(table: pa.Table) -> pa.Table:
    return with_plain_columns(table).sort_by([("at", "ascending"), ("id", "ascending")])
