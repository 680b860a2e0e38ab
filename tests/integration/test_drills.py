"""Drills through the real path: publisher, Kafka, processors, rules, webhook, `model-health` and a client's guard."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.apply import apply_all
from cli.drill.scratch import database_prefix, topics_prefix
from cli.main import main
from cli.settings import Settings, load_settings
from local.clickhouse import LocalClickHouse
from local.kafka import LocalKafka
from streams.broker.client import Admin
from tests.support.drill_model import DrilledModel, make_model
from warehouse.client import connect

pytestmark = pytest.mark.slow


@dataclass
class Installation:
    """An installation with a model and the file of its settings."""

    settings: Settings
    config: Path
    model: DrilledModel
    folder: Path

    def leftovers(self) -> list[str]:
        """Databases and topics of drills."""
        with connect(self.settings.warehouse) as client:
            databases = [name for (name,) in client.rows("SELECT name FROM system.databases")]
        topics = Admin(self.settings.bootstrap_servers, {}).client.list_topics(timeout=10).topics
        prefixes = database_prefix(self.settings), topics_prefix(self.settings)
        return [name for name in [*databases, *topics] if name.startswith(prefixes)]


@pytest.fixture
def installation(
    broker: LocalKafka,
    engine: LocalClickHouse,
    database: str,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Installation:
    where = engine.address(database)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    config = tmp_path / "barograph.toml"
    config.write_text(
        f'bootstrap_servers = "{broker.bootstrap_servers}"\ntopic_prefix = "{topic_prefix}"\n'
        f'[clickhouse]\nhost = "{where.host}"\nport = {where.port}\ndatabase = "{where.database}"\n'
        f'username = "{where.username}"\n'
        '[alerts.contact_points.on-call.webhook]\nurl_variable = "ON_CALL"\n'
        '[alerts.contact_points.tickets.webhook]\nurl_variable = "TICKETS"\n'
        '[alerts.routes.shop]\npage = "on-call"\nticket = "tickets"\n'
    )
    settings = load_settings(config)
    model = make_model(tmp_path, int(time.time() * 1000))
    text = model.contract_file.read_text()
    apply_all(settings, [(model.contract, text)], [model.baseline])
    return Installation(settings, config, model, tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    result: dict[str, Any] = json.loads(captured.out)
    return int(exit_.value.code or 0), result


def test_a_suite_passes_and_leaves_only_its_results(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = installation.folder / "drills.yaml"
    suite.write_text(
        "suite: 1\nmodel: shop\nhistory: 8d\ndrills:\n"
        "  - {fault: mean-shift, field: x, magnitude: 2, route: shop}\n"
        "  - {fault: error-burst}\n"
        "  - {fault: duplicates}\n"
        "  - {fault: silence, duration: 1d}\n"
    )
    code, result = run(
        capsys, "drill", "suite", suite, "--from", installation.model.predictions_file, "--json", "--junit",
        installation.folder / "junit.xml", "--config", installation.config,
    )  # fmt: skip
    print(json.dumps(result, indent=1))
    assert code == 0
