"""A store for state that stays in memory: comparisons in one process, and measurements without ClickHouse."""

import pyarrow as pa

from barograph_server.streams.monitor.state.commit_rows import CommitRows
from barograph_server.streams.monitor.state.offset_ledger import OffsetLedger
from barograph_server.streams.monitor.state.store import ROWS_PER_LOAD, SeriesPanes
from barograph_server.warehouse.queries import PaneTable


class EmptyStore:
    """A `Store` that has no rows and discards commits."""

    rows_per_load = ROWS_PER_LOAD

    def load_ledger(self, partials_partition: int, partials_topic_id: str) -> tuple[OffsetLedger, int]:
        return OffsetLedger(), 0

    def load_ranges(self, table: PaneTable, model: str, start_s: int, end_s: int) -> list[tuple[int, int]]:
        return []

    def load_panes(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return []

    def load_hours(self, model: str, start_s: int, end_s: int) -> list[SeriesPanes]:
        return []

    def load_volume(self, model: str, start_s: int, end_s: int) -> pa.Table:
        return pa.table({})

    def sealed_until_s(self, model: str) -> int | None:
        return None

    def first_panes_s(self, model: str) -> dict[tuple[str, str], int | None]:
        return {}

    def last_pane_s(self, model: str) -> int | None:
        return None

    def write(self, commit: CommitRows) -> None:
        pass
