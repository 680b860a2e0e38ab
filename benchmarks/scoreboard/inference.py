"""The contract and the baseline of a stream, from its training rows."""

from __future__ import annotations

import pyarrow as pa
from barograph.contract import Contract, Window

from barograph_server.profiling.infer.infer import InferOptions, infer_table
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import memory_table
from barograph_server.sketches.baseline.baseline import Baseline
from benchmarks.scoreboard.data_sets import FEATURES, DataSet

WINDOWS = (Window(3_600, 900), Window(86_400, 3_600))
PANE_S = 900


def infer_model(data_set: DataSet, training: pa.Table) -> tuple[Contract, Baseline]:
    """Infer contract and baseline, with all fields critical and all other settings by default."""
    columns = [name for name in training.column_names if name.startswith(FEATURES)]
    fields = [name.removeprefix(FEATURES) for name in columns]
    table = training.select(["at", *columns]).rename_columns(["at", *fields])
    options = InferOptions(
        table=None,  # type: ignore[arg-type]  # `infer_table` does not use it
        model=data_set.name,
        version="1",
        roles=Roles(time="at", critical=frozenset(fields)),
        pane_s=PANE_S,
        windows=WINDOWS,
    )
    result = infer_table(memory_table(data_set.name, table), options)
    return result.contract, result.baseline
