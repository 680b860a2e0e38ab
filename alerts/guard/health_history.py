"""Writes the published records to the table `model_health`, which dashboards and the rule `guard-silent` read.

The topic `model-health` is what serving follows. The table must not delay it: rows that ClickHouse rejects are lost,
and `since` of the next row says when a state began.
"""

from collections.abc import Iterable

import structlog
from barograph.guard.health import ModelHealth

from barograph_server.warehouse.client import Client
from barograph_server.warehouse.errors import WarehouseBusy, WarehouseError
from barograph_server.warehouse.tables import insert_rows

ROW_MS = 60_000
"""How often a row of each model is written, changed or not, in milliseconds."""


class HealthHistory:
    """The table, as the leading guard writes it."""

    def __init__(self) -> None:
        self._written: dict[str, ModelHealth] = {}
        self._is_failing = False
        self._log = structlog.get_logger().bind(processor="guard")

    def write(self, client: Client, records: Iterable[ModelHealth]) -> None:
        """Write the records that are due: the state or its reasons changed, or the last row is a minute old."""
        due = [record for record in records if self._is_due(record)]
        if not due:
            return
        try:
            insert_rows(client, "model_health", [_row(record) for record in due])
        except (WarehouseBusy, WarehouseError) as error:
            if not self._is_failing:
                self._log.warning("states not written to the table model_health", error=str(error))
            self._is_failing = True
            return
        self._is_failing = False
        self._written |= {record.model: record for record in due}

    def _is_due(self, record: ModelHealth) -> bool:
        before = self._written.get(record.model)
        if before is None or abs(record.at_ms - before.at_ms) >= ROW_MS:
            return True
        return record.at_ms != before.at_ms and _content(record) != _content(before)


def _content(record: ModelHealth) -> tuple[object, ...]:
    return record.state, record.since_ms, [(each.rule, each.field) for each in record.reasons]


def _row(record: ModelHealth) -> dict[str, object]:
    return {
        "model": record.model,
        "at": record.at_ms,
        "sequence": record.sequence,
        "state": record.state,
        "since": record.since_ms,
        "evaluated_at": record.evaluated_at_ms,
        "rules": [each.rule for each in record.reasons],
        "fields": [each.field for each in record.reasons],
        "texts": [each.text for each in record.reasons],
        "guard": record.guard,
    }
