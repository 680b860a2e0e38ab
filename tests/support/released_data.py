"""What each release wrote, for tests that every later version must pass: `tests/golden/releases/VERSION/`.

`python -m tests.support.released_data 0.1.0` writes the folder, which never changes afterwards: `contract.yaml`,
`baseline.json`, all `messages`, the `tables` with schema and rows, and the `answers` of queries and views.
"""

import base64
import gzip
import json
import math
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import clickhouse_connect
from barograph import Publisher, dump_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.sketches.baseline.baseline import dump_baseline
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, connect
from tests.support import shop_model
from tests.support.pipeline import Pipeline
from tests.support.shop_model import Shop, make_shop
from tests.support.warehouse import login, migrated

RELEASES = Path(__file__).parents[1] / "golden" / "releases"
FOLDERS = sorted(RELEASES.iterdir()) if RELEASES.exists() else []
COUNTS = (
    "SELECT slice, field, pane_start, n, nulls, counts FROM panes FINAL ORDER BY ALL",
    "SELECT slice, pane_start, n, errors, slow FROM volume FINAL WHERE n > 0 ORDER BY ALL",
    "SELECT slice, field, window, window_end, n, psi, psi_low, level FROM latest_drift ORDER BY ALL",
    "SELECT slice, field, kind, window, window_end, n, k, level FROM latest_rates ORDER BY ALL",
)
"""Queries that have the same answer whenever the same messages are counted and judged."""
MOST_ROWS = 200
"""Rows of each table that a release keeps."""
_OF_TIME = re.compile(r"\b(now|now64|today)\(")


class Message(TypedDict):
    topic: str
    partition: int
    marks: list[tuple[str, str]]
    value: bytes


class Table(TypedDict):
    name: str
    create: str
    rows: bytes
    """In the format Native."""


def read(folder: Path, name: str) -> Any:
    def with_bytes(value: dict[str, Any]) -> Any:
        return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value

    return json.loads(gzip.decompress((folder / f"{name}.json.gz").read_bytes()), object_hook=with_bytes)


def answers_of(client: Client, queries: Iterable[str]) -> dict[str, Any]:
    return {sql: json.loads(json.dumps(client.rows(sql), default=str)) for sql in queries}


def is_equal(one: Any, other: Any) -> bool:
    """Compare answers, numbers up to rounding: numpy's logarithm depends on the processor's instructions."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return bool(one == other) or (isinstance(one, float) and math.isclose(one, other, rel_tol=1e-12))


def restored(address: Address, tables: Sequence[Table]) -> Client:
    """Create the tables of a release in an empty database, and migrate them. Their rows do not expire."""
    client = connect(address, create=True)
    with clickhouse_connect.get_client(**login(address), database=address.database) as driver:
        for table in tables:
            driver.command(table["create"])
            if table["rows"]:
                driver.raw_insert(table["name"], insert_block=table["rows"], fmt="Native")
        driver.command(f"DELETE FROM migrations WHERE number = {migrate.VIEWS}")
    migrate.apply(client)
    return client


def view_queries(client: Client) -> list[str]:
    """A query for the rows of each view that does not read the clock."""
    views = client.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = {database:String} AND engine = 'View'",
        {"database": client.database},
    )
    volatile = {name for name, text in views if _OF_TIME.search(text)}
    stable = [name for name, text in views if not any(re.search(rf"\b{other}\b", text) for other in volatile)]
    return [f"SELECT {_columns(client, name)} FROM {name} ORDER BY ALL LIMIT 20" for name in sorted(stable)]


def _columns(client: Client, view: str) -> str:
    return ", ".join(f"`{name}`" for name, *_ in client.rows(f"DESCRIBE (SELECT * FROM {view})"))


def _write(folder: Path, name: str, value: Any) -> None:
    text = json.dumps(value, default=lambda part: {"base64": base64.b64encode(part).decode()})
    (folder / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _run(pipeline: Pipeline, shop: Shop) -> None:
    """Publish an hour of the shop as JSON and the rest as Arrow, and let all processors of the pipeline read it."""
    pipeline.prepare(shop.contract, [shop.baseline], source_partitions=2)
    of_json, of_arrow = shop.table.slice(0, shop_model.PER_HOUR), shop.table.slice(shop_model.PER_HOUR)
    options: dict[str, Any] = {"bootstrap_servers": pipeline.bootstrap, "topic_prefix": pipeline.prefix}
    with Publisher.from_contract(shop.contract, version="1", on_full="wait", **options) as publisher:
        for row in of_json.to_pylist():
            parts: dict[str, Any] = {name: _members(row, f"{name}.") for name in ("features", "context")}
            publisher.prediction(**{name: value for name, value in row.items() if "." not in name}, **parts)
        for row in shop.labels.slice(0, 10).to_pylist():
            publisher.label(**row)
        publisher.predictions(of_arrow)
        publisher.labels(shop.labels.slice(10))
        publisher.publish_end_marker()
    pipeline.start_all("sketcher", "recorder", "monitor")
    pipeline.wait_judged(shop.n)
    for table, n in (("predictions", shop.n), ("labels", shop.labels.num_rows)):
        pipeline.wait_rows(f"SELECT count() = {n} FROM {table} FINAL", table)
    pipeline.start("scorer")
    pipeline.wait_rows("SELECT count() > 0 FROM latest_performance", "performance")
    pipeline.wait_rows("SELECT count() > 0 FROM calibration_curve", "the scorer's status")
    pipeline.stop()


def _members(row: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def _save(folder: Path, pipeline: Pipeline, shop: Shop) -> None:
    (folder / "contract.yaml").write_text(dump_contract(shop.contract), "utf-8")
    (folder / "baseline.json").write_bytes(dump_baseline(shop.baseline))
    messages = [
        Message(
            topic=name,
            partition=message.partition(),
            marks=[(key, (value or b"").decode()) for key, value in message.headers() or ()],
            value=message.value() or b"",
        )
        for name in ("predictions", "labels", "partials")
        for message in pipeline.read_all(getattr(pipeline.topics, name))
    ]
    _write(folder, "messages", messages)
    client = pipeline.client
    names = "SELECT name FROM system.tables WHERE database = {database:String} AND engine != 'View' ORDER BY name"
    with clickhouse_connect.get_client(**login(pipeline.address), database=client.database) as driver:
        tables = []
        for (name,) in client.rows(names, {"database": client.database}):
            ((create,),) = client.rows(f"SHOW CREATE TABLE {name}")
            without_ttl = re.sub(r"\nTTL [^\n]+", "", create.replace(f"{client.database}.", ""))
            rows = driver.raw_query(f"SELECT * FROM {name} LIMIT {MOST_ROWS}", fmt="Native")
            tables.append(Table(name=name, create=without_ttl, rows=rows))
    _write(folder, "tables", tables)
    answers = answers_of(client, COUNTS)
    with restored(Address(**{**asdict(pipeline.address), "database": "dump"}), tables) as dump:
        answers |= answers_of(dump, view_queries(dump))
    _write(folder, "answers", answers)


def main(version: str) -> None:
    folder = RELEASES / version
    folder.mkdir(parents=True)
    shop_model.PER_HOUR = 12
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        broker, engine = LocalKafka(base / "kafka", port=0), LocalClickHouse(base / "clickhouse", port=0)
        broker.start()
        engine.start()
        try:
            with migrated(engine) as client:
                (base / "logs").mkdir()
                address = engine.address(client.database)
                pipeline = Pipeline(broker.bootstrap_servers, address, "golden-", base / "logs", fresh_interpreter=True)
                shop = make_shop(base)
                _run(pipeline, shop)
                _save(folder, pipeline, shop)
        finally:
            engine.stop()
            broker.stop()


if __name__ == "__main__":
    main(sys.argv[1])
