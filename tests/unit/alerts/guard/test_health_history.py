from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from barograph.guard.health import HealthReason, ModelHealth

from barograph_server.alerts.guard import health_history
from barograph_server.alerts.guard.health_history import HealthHistory
from barograph_server.warehouse.errors import WarehouseBusy

T0 = 1_790_000_000_000
RECORD = ModelHealth(model="m", state="healthy", since_ms=T0, at_ms=T0, evaluated_at_ms=T0, sequence=1, guard="g")
REASON = HealthReason(rule="psi-major", field="temp", text="PSI of temp is 0.4")


class Inserts:
    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.fails = False

    def __call__(self, _client: Any, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        assert table == "model_health"
        if self.fails:
            raise WarehouseBusy("down")
        self.rows += rows

    @property
    def sequences(self) -> list[int]:
        return [row["sequence"] for row in self.rows]


@pytest.fixture
def inserts(monkeypatch: pytest.MonkeyPatch) -> Inserts:
    result = Inserts()
    monkeypatch.setattr(health_history, "insert_rows", result)
    return result


def later(after_s: int, sequence: int, **changes: Any) -> ModelHealth:
    return msgspec.structs.replace(RECORD, at_ms=T0 + after_s * 1000, sequence=sequence, **changes)


def test_a_row_a_minute_and_one_for_each_change(inserts: Inserts) -> None:
    history, client = HealthHistory(), Any
    degraded = {"state": "degraded", "since_ms": T0 + 20_000, "reasons": (REASON,)}
    number = msgspec.structs.replace(REASON, text="PSI of temp is 0.5")
    for record in (
        RECORD,
        RECORD,
        later(10, 2),
        later(20, 3, **degraded),
        later(30, 4, **degraded),
        later(40, 5, **degraded | {"reasons": (number,)}),
        later(80, 6, **degraded),
        later(81, 7, state="healthy", since_ms=T0 + 81_000),
    ):
        history.write(client, [record])  # type: ignore[arg-type]
    assert inserts.sequences == [1, 3, 6, 7], "another number of the same reason is no change"
    assert inserts.rows[1] == {
        **{"model": "m", "at": T0 + 20_000, "sequence": 3, "state": "degraded", "since": T0 + 20_000},
        **{"evaluated_at": T0, "rules": ["psi-major"], "fields": ["temp"], "texts": ["PSI of temp is 0.4"]},
        "guard": "g",
    }


def test_rows_are_lost_while_clickhouse_is_down_and_the_state_is_not(inserts: Inserts) -> None:
    history, client = HealthHistory(), Any
    inserts.fails = True
    history.write(client, [RECORD])  # type: ignore[arg-type]
    history.write(client, [later(5, 2, state="degraded", since_ms=T0 + 5000)])  # type: ignore[arg-type]
    inserts.fails = False
    history.write(client, [later(15, 3, state="degraded", since_ms=T0 + 5000)])  # type: ignore[arg-type]
    assert [(row["state"], row["since"]) for row in inserts.rows] == [("degraded", T0 + 5000)]
