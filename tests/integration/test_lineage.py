"""Lineage: applied contracts on the page Model, the command, and a catalogue that receives events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from barograph.contract.file import dump_contract

from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning import apply_all
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.governance.lineage import build_lineage
from tests.support.command_line import run
from tests.support.environment import write_settings
from tests.support.scripted_http import ScriptedServer, reply
from tests.unit.warehouse.test_governance import contract

pytestmark = [pytest.mark.engine]


@pytest.fixture
def applied(
    broker: LocalKafka, engine: LocalClickHouse, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Client]]:
    """The path of the settings, and a connection, after two contracts were applied one after the other."""
    address = engine.address(topic_prefix.rstrip("-"))
    settings = Settings(bootstrap_servers=broker.bootstrap_servers, warehouse=address, topic_prefix=topic_prefix)
    without = contract(consumers={})
    apply_all(settings, [(without, dump_contract(without))])
    apply_all(settings, [(contract(), dump_contract(contract()))])
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", address.password)
    kafka = f'bootstrap_servers = "{broker.bootstrap_servers}"'
    config = write_settings(tmp_path / "barograph.toml", address, kafka)
    with connect(address) as client:
        yield config, client
    with connect(replace(address, database="default")) as client:
        client.command(f"DROP DATABASE {address.database}")


@pytest.mark.broker
def test_apply_stores_the_graph_that_is_shown_and_sent(
    applied: tuple[str, Client], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, client = applied
    graph = build_lineage(contract())
    rows = client.rows("SELECT node, detail, owner, upstream FROM latest_lineage WHERE model = 'toy' ORDER BY position")
    assert rows == [(node.id, node.detail, node.owner, list(node.upstream)) for node in graph.nodes]
    assert len(client.rows("SELECT DISTINCT contract_id FROM lineage")) == 2
    assert run("lineage", "--model", "toy", "--config", config) == 0
    assert "gates" in capsys.readouterr().out
    assert run("lineage", "--model", "toy", "--format", "json", "--config", config) == 0
    assert [tuple(edge) for edge in json.loads(capsys.readouterr().out)["edges"]] == list(graph.edges)
    assert run("lineage", "--model", "toy", "--format", "svg", "--config", config) == 0
    assert capsys.readouterr().out.startswith("<svg ")
    assert run("lineage", "--model", "toy", "--format", "openlineage", "--config", config) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    jobs = ["toy", "toy.gates", "toy.audit"]
    assert [event["job"]["name"] for event in printed] == jobs
    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    with ScriptedServer(reply(status=201)) as catalogue:
        url = catalogue.url
        assert run("lineage", "--model", "toy", "--send", url, "--config", config) == 0
        assert capsys.readouterr().out == f"Sent 3 events to {url}.\n"
        catalogue.answer = reply(status=403)
        assert run("lineage", "--model", "toy", "--send", url, "--config", config) == 1
    accepted = catalogue.requests[:3]
    assert [request.json()["job"]["name"] for request in accepted] == jobs
    assert {(request.path, request.headers["Authorization"]) for request in accepted} == {
        ("/api/v1/lineage", "Bearer secret")
    }
    error = " ".join(capsys.readouterr().err.split())
    assert f"The catalogue at {url} did not take event 1 of 3: 403" in error
    assert run("lineage", "--model", "toy", "--send", url, "--format", "svg", "--config", config) == 1
