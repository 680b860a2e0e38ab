"""Lineage: applied contracts on the page Model, the command, and a catalogue that receives events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from barograph.contract.file import dump_contract
from playwright.sync_api import Browser

from cli.apply import apply_all
from cli.main import main
from cli.settings import Settings
from dashboards.pages import dashboards
from dashboards.uids import DASHBOARDS, panel_link
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from local.preview import PreviewServer
from tests.support.browser import PreviewPage
from tests.support.page_layout import open_rows
from tests.support.scripted_http import ScriptedServer, reply
from tests.support.two_day_model import END_S, START_S, Watched, fill, watched
from tests.support.warehouse import migrated
from tests.unit.warehouse.test_lineage import contract
from warehouse.client import Client, connect
from warehouse.lineage import build_lineage

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
    path = tmp_path / "barograph.toml"
    path.write_text(
        f'bootstrap_servers = "{broker.bootstrap_servers}"\n'
        f'[clickhouse]\nhost = "{address.host}"\nport = {address.port}\ndatabase = "{address.database}"\n'
    )
    with connect(address) as client:
        yield str(path), client
    with connect(replace(address, database="default")) as client:
        client.command(f"DROP DATABASE {address.database}")


def run(config: str, *words: str) -> int | str | None:
    """Run the command on the model; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["lineage", "toy", *words, "--config", config])
    return ended.value.code


@pytest.mark.broker
def test_apply_stores_the_graph_that_is_shown_and_sent(
    applied: tuple[str, Client], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, client = applied
    graph = build_lineage(contract())
    rows = client.rows("SELECT node, detail, owner, upstream FROM latest_lineage WHERE model = 'toy' ORDER BY position")
    assert rows == [(node.id, node.detail, node.owner, list(node.upstream)) for node in graph.nodes]
    assert len(client.rows("SELECT DISTINCT contract_id FROM lineage")) == 2

    assert run(config) == 0
    assert "gates" in capsys.readouterr().out
    assert run(config, "--format", "json") == 0
    assert [tuple(edge) for edge in json.loads(capsys.readouterr().out)["edges"]] == list(graph.edges)
    assert run(config, "--format", "svg") == 0
    assert capsys.readouterr().out.startswith("<svg ")
    assert run(config, "--format", "openlineage") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    jobs = ["toy", "toy.gates", "toy.audit"]
    assert [event["job"]["name"] for event in printed] == jobs

    monkeypatch.setenv("OPENLINEAGE_API_KEY", "secret")
    with ScriptedServer(reply(status=201)) as catalogue:
        url = catalogue.url
        assert run(config, "--send", url) == 0
        assert capsys.readouterr().out == f"Sent 3 events to {url}.\n"
        catalogue.answer = reply(status=403)
        assert run(config, "--send", url) == 1
    accepted = catalogue.requests[:3]
    assert [request.json()["job"]["name"] for request in accepted] == jobs
    assert {(request.path, request.headers["Authorization"]) for request in accepted} == {
        ("/api/v1/lineage", "Bearer secret")
    }
    error = " ".join(capsys.readouterr().err.split())
    assert f"The catalogue at {url} did not take event 1 of 3: 403" in error
    assert run(config, "--send", url, "--format", "svg") == 1


@pytest.fixture(scope="module")
def model() -> Watched:
    return watched("binary", "fraud <b>")


@pytest.fixture(scope="module")
def server(engine: LocalClickHouse, model: Watched) -> Iterator[PreviewServer]:
    with migrated(engine) as client:
        fill(client, model)
        with PreviewServer([*dashboards().values()], engine.reader_address(client.database)) as server:
            yield server


@pytest.mark.long
def test_the_graph_is_drawn_on_the_page(browser: Browser, server: PreviewServer, model: Watched) -> None:
    screen = PreviewPage(browser, server.url)
    ends = f"from={START_S * 1000}&to={END_S * 1000}"
    screen.open(f"/d/{DASHBOARDS['model']}?{ends}&open={open_rows('model')}")
    panel = screen.page.locator(f'[data-panel="{panel_link("model", "lineage").panel_id}"]')
    nodes = {each.get_attribute("data-node"): each for each in panel.locator("[data-node]").all()}
    graph = build_lineage(model.contract)
    assert set(nodes) == {node.id for node in graph.nodes}
    drawn = {each.get_attribute("data-edge") for each in panel.locator("[data-edge]").all()}
    assert drawn == {f"{source} {target}" for source, target in graph.edges}
    assert "fraud <b>" in (nodes["model:fraud <b>"].text_content() or "")
    # x has moved, and its ring has the colour of the level.
    assert "stroke: #e02f44" in (nodes["field:x"].locator("rect").get_attribute("style") or "")
    assert nodes["source:fleet"].locator("rect").get_attribute("style") is None
    columns = {kind: nodes[node.id].bounding_box() for node in graph.nodes for kind in [node.kind]}
    lefts = [box["x"] for box in columns.values() if box is not None]
    assert lefts == sorted(set(lefts))
    screen.close()
    assert screen.faults == []
