"""What an insert sends to the driver."""

from __future__ import annotations

from typing import Any, cast

import pyarrow as pa

from barograph_server.warehouse.client import Client


class Driver:
    def __init__(self) -> None:
        self.sent: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def raw_insert(self, *arguments: Any, **options: Any) -> None:
        self.sent.append((arguments, options))


def test_an_insert_sends_arrow_with_durable_settings() -> None:
    driver, rows = Driver(), pa.table({"name": ["partials"], "partitions": [8]})
    Client(cast(Any, driver), "db:8123").insert("topics", rows)
    [((table, columns, body), options)] = driver.sent
    assert (table, columns, options["fmt"]) == ("topics", ["name", "partitions"], "ArrowStream")
    assert pa.ipc.open_stream(body).read_all() == rows
    assert options["settings"] == {
        "async_insert": 0,
        "insert_quorum": "auto",
        "distributed_foreground_insert": 1,
        "insert_deduplicate": 0,
        "min_free_disk_bytes_to_perform_insert": 128 << 20,
        "max_partitions_per_insert_block": 0,
        "input_format_null_as_default": 0,
        "optimize_on_insert": 0,
    }
    driver.sent.clear()
    Client(cast(Any, driver), "db:8123").insert("topics", rows.slice(0, 0))
    assert driver.sent == [], "an empty table"
