"""Storage: bytes of a flush in `partials`, of a pane of a minute and of an hourly rollup in ClickHouse.

Partials go through the state of a partition into the engine. Then every table is merged to one part, whose bytes on
disk come from `system.parts`.
"""

from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.warehouse.client import Client
from benchmarks.figures import Figures
from benchmarks.monitor import FLUSHES_PER_PANE, PartitionFeed, flushes, recent_hour_s
from benchmarks.stack import Testbed
from benchmarks.workload import make_workload

STORAGE = "What is kept of 20 numeric fields"
FLUSH, PANE, HOUR = "a flush, in partials", "a pane of a minute, in ClickHouse", "an hourly rollup, in ClickHouse"
DAY = "a day of one model: panes, rollups, verdicts and all"
DATABASE = "storage"
KB = 1_000
EVENTS_PER_PANE = 20_000
"""Enough for every sketch to reach its maximum size; a model with fewer events needs less space."""
RESULTS = ("panes", "rollups", "drift", "rates", "distances", "volume")


def measure_storage(testbed: Testbed, figures: Figures, *, panes: int) -> None:
    """Store whole hours of one model's panes and measure their size."""
    # The score is the twentieth field.
    workload = make_workload(testbed.folder, numbers=19)
    testbed.register(DATABASE, workload)
    with testbed.client(DATABASE) as client:
        sizes: list[int] = []
        first_s, store = recent_hour_s(), WarehouseStore(client)
        # The monitor writes rollups by the time of the next flush.
        feed = PartitionFeed(workload, store, store.write, clock=lambda: first_s + len(sizes) * 60 / FLUSHES_PER_PANE)
        # Some panes more than whole hours: the monitor rolls up an hour once its last pane is sealed.
        for partials, progress in flushes(workload, panes + 6, EVENTS_PER_PANE, first_s):
            sizes.append(sum(map(len, partials)))
            feed.flush(partials, progress)
        note = f"{EVENTS_PER_PANE // FLUSHES_PER_PANE:,} events each"
        figures.add_runs(STORAGE, FLUSH, [size / KB for size in sizes], "kB", note)
        client.command("CREATE TABLE hourly AS rollups")
        whole_hours = f"pane_s = 3600 AND pane_start < {first_s + panes * 60}"
        client.command(f"INSERT INTO hourly SELECT * FROM rollups WHERE {whole_hours}")
        note = f"{EVENTS_PER_PANE:,} events each; bytes on disk after OPTIMIZE, all of it"
        for name, table in ((PANE, "panes"), (HOUR, "hourly")):
            n = int(client.rows(f"SELECT uniqExact(pane_start) FROM {table}")[0][0])
            figures.add(STORAGE, name, bytes_on_disk(client, table) / n / KB, "kB", f"{n} of {note}")
        covered = int(client.rows("SELECT uniqExact(pane_start) FROM panes")[0][0])
        day_mb = sum(bytes_on_disk(client, table) for table in RESULTS) / covered * 1440 / 1e6
        figures.add(STORAGE, DAY, day_mb, "MB", f"from {covered} panes; {', '.join(RESULTS)}")


def bytes_on_disk(client: Client, table: str) -> int:
    """Bytes of a table's parts on disk after merging."""
    client.command(f"OPTIMIZE TABLE {table} FINAL")
    requested = "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() AND table = "
    return int(client.rows(requested + f"'{table}'")[0][0])
