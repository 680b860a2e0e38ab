"""`plan --grafana-files`: the alerting files of one's own contracts, as the compose file mounts them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from barograph_server.errors import EXIT_OK
from tests.support import command_line
from tests.support.alerting import MANY, NUMBER
from tests.support.grafana_provisioning import PROVISIONING, key_faults, start
from tests.support.grafana_state import GrafanaState

ENVIRON = {
    "ALERTS_WEBHOOK_URL": "http://hook",
    "SLACK_WEBHOOK_URL": "http://slack",
    "PAGERDUTY_INTEGRATION_KEY": "key",
    "PLATFORM_WEBHOOK_URL": "http://platform",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "species.yaml").write_text(MANY)
    (tmp_path / "price.yaml").write_text(NUMBER)
    return tmp_path


def run(*words: str) -> int:
    return command_line.run("plan", "--grafana-files", "alerting", *words)


def grafana(folder: Path, state: GrafanaState) -> set[str]:
    mounted: dict[PurePosixPath, str] = {
        PROVISIONING / "alerting" / path.name: path.read_text("utf-8") for path in (folder / "alerting").iterdir()
    }
    assert key_faults(mounted) == []
    start(state, mounted, ENVIRON)
    rules: list[dict[str, Any]] = [rule for group in state.groups.values() for rule in group["rules"]]
    return {rule["labels"]["model"] for rule in rules if "model" in rule["labels"]}


def test_the_files_have_the_rules_of_the_contracts_and_grafana_starts(folder: Path) -> None:
    assert run("species.yaml", "price.yaml") == EXIT_OK
    assert grafana(folder, GrafanaState()) == {"species", "price", "price.helpful"}


def test_rules_of_a_contract_that_is_left_out_are_deleted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grafana keeps a rule in its database when its file is gone."""
    state = GrafanaState()
    run("species.yaml", "price.yaml")
    grafana(folder, state)
    (folder / "alerting/own.yaml").write_text("apiVersion: 1\n")
    for _ in range(2):
        run("species.yaml")
        assert grafana(folder, state) == {"species"}
    output = capsys.readouterr().out
    assert "- alerting/rules-price.yaml" in output
    assert "+ alerting/deleted-rules.yaml" in output
    assert (folder / "alerting/own.yaml").exists(), "it was not generated"
    run("species.yaml", "price.yaml")
    assert grafana(folder, state) == {"species", "price", "price.helpful"}
    assert not (folder / "alerting/deleted-rules.yaml").exists()
