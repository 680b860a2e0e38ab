"""The client against the real engine, against servers that misbehave, and against none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Address, Client, WarehouseBusy, WarehouseError, connect
from barograph_server.warehouse.tables import insert_rows
from tests.support.scripted_http import Answer, ScriptedServer, cut, hang, reply

pytestmark = pytest.mark.engine

ODD_NAMES = [
    "",
    "it's",
    'say "no"',
    "back\\slash",
    "tab\tand\nnewline",
    "\\N",
    "`; DROP TABLE topics",
    "{name:String}",
    "%s %(name)s",
    "Größe · 尺寸 · 📈",
    "' OR '1' = '1",
    "a\u0000b",
]


@contextmanager
def answering(answer: Answer) -> Iterator[Address]:
    with ScriptedServer(answer) as server:
        yield Address("127.0.0.1", server.port)


def refusing(status: int, code: int | None) -> Answer:
    return reply(b"no", status, **({} if code is None else {"X_ClickHouse_Exception_Code": str(code)}))


def test_a_refused_connection_is_busy() -> None:
    with socket.socket() as stored:
        stored.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        address = Address("127.0.0.1", stored.getsockname()[1])
        with pytest.raises(WarehouseBusy, match=rf"ClickHouse at {address} could not be reached"):
            connect(address)


def test_a_silent_server_and_a_connection_cut_half_way_are_busy() -> None:
    for answer in (hang, cut):
        with answering(answer) as address, pytest.raises(WarehouseBusy, match="could not be reached"):
            connect(address, timeout_s=1)


def test_a_server_with_too_much_to_do_is_busy_and_one_that_refuses_an_error() -> None:
    overloaded = ((503, None), (502, None), (429, None), (500, 241), (500, 252))
    refused = ((403, 516), (404, 81), (400, None))
    for (status, code), error in (
        *((each, WarehouseBusy) for each in overloaded),
        *((each, WarehouseError) for each in refused),
    ):
        with answering(refusing(status, code)) as address, pytest.raises(error) as caught:
            connect(address)
        assert (type(caught.value), getattr(caught.value, "code", None)) == (error, code), status


def test_a_statement_that_the_engine_refuses_keeps_its_code(client: Client) -> None:
    with pytest.raises(WarehouseError, match=r"Unknown table .*\(code 60\)\. Run `barograph apply`") as caught:
        client.rows("SELECT 1 FROM no_such_table")
    assert caught.value.code == 60
    with pytest.raises(WarehouseError) as caught:
        client.command("CREATE NONSENSE")
    assert caught.value.code == 62


def test_values_are_bound_whatever_they_hold(client: Client) -> None:
    values = {f"p{i}": name for i, name in enumerate(ODD_NAMES)}
    sql = f"SELECT {{names:Array(String)}}, {', '.join(f'{{{name}:String}}' for name in values)}"
    [(array, *single)] = client.rows(sql, {"names": tuple(ODD_NAMES), **values})
    assert (array, single) == (ODD_NAMES, ODD_NAMES)


def test_text_is_stored_and_found_whatever_it_holds(client: Client) -> None:
    rest = {"partitions": 1, "recorded_at": datetime(2026, 1, 2, tzinfo=UTC)}
    insert_rows(client, "topics", [{"name": name, "topic_id": f"id of {name}", **rest} for name in ODD_NAMES])
    assert [result.name for result in queries.topics(client)] == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        sql = "SELECT topic_id FROM topics WHERE name = {name:String}"
        assert client.rows(sql, {"name": name}) == [(f"id of {name}",)]


def test_times_come_back_in_utc(client: Client) -> None:
    at = datetime(2026, 3, 29, 1, 30, 0, 250_000, tzinfo=UTC)
    insert_rows(client, "topics", [{"name": "a", "topic_id": "b", "partitions": 1, "recorded_at": at}])
    [result] = queries.topics(client)
    assert result.recorded_at == at
    assert result.recorded_at.utcoffset() == at.utcoffset()
    table = client.arrow("SELECT recorded_at, toDateTime(recorded_at) AS seconds FROM topics")
    assert table["recorded_at"].type == pa.timestamp("ms", tz="UTC")
    assert table["seconds"].to_pylist() == [int(at.timestamp())]


def test_a_null_is_rejected_and_not_dropped(client: Client) -> None:
    with pytest.raises(WarehouseError, match="NULL"):
        client.insert("topics", pa.table({"name": pa.array(["a", None])}))
    assert client.rows("SELECT count() FROM topics") == [(0,)]
