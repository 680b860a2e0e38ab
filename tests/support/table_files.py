"""Tables in every file format that commands read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

FORMATS = ("parquet", "csv", "arrow", "arrows")
"""Suffixes of Parquet, CSV, an Arrow file and an Arrow stream."""


def write_table(path: Path | str, rows: pa.Table, group_rows: int = 100) -> None:
    path = Path(path)
    match path.suffix:
        case ".csv":
            pa_csv.write_csv(rows, path)
        case ".arrow":
            with pa.ipc.new_file(path, rows.schema) as file:
                file.write_table(rows, max_chunksize=group_rows)
        case ".arrows":
            with pa.ipc.new_stream(path, rows.schema) as stream:
                stream.write_table(rows, max_chunksize=group_rows)
        case _:
            pq.write_table(rows, path, row_group_size=group_rows)
