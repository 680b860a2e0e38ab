"""What contracts and settings ask of Grafana: deployed to a stub, and looked at there by the smoke script."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from barograph.contract import Contract

from alerts import AlertsError
from alerts.example import example_contracts, example_settings
from cli.apply.grafana import Bundle, build_bundle
from cli.settings import GrafanaSettings, Settings
from tests.support.grafana_apply import apply, assert_settled, plan
from tests.support.grafana_bundle import ODD_NAME
from tests.support.grafana_state import Answer
from tests.support.stub_grafana import TOKEN, StubGrafana, serving
from warehouse.client import Address

ENVIRON = {
    "SLACK_WEBHOOK_URL": "https://slack.invalid/s3cret",
    "PAGERDUTY_INTEGRATION_KEY": "pd-s3cret",
    "PLATFORM_WEBHOOK_URL": "https://platform.invalid/s3cret",
}
SMOKE = Path(__file__).parents[2] / "deploy/grafana/smoke.py"


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with serving() as server:
        yield server


def contracts() -> dict[str, Contract]:
    """The examples, and one with a name that breaks code without quoting."""
    odd = msgspec.structs.replace(example_contracts()[0], model=f"{ODD_NAME} a/b")
    return {contract.model: contract for contract in [*example_contracts(), odd]}


def example_bundle(changed: dict[str, Contract] | None = None, **values: str | int) -> Bundle:
    grafana = GrafanaSettings(url="http://g", token=TOKEN, reader_password="swordfish", **values)  # type: ignore[arg-type]
    warehouse = Address(host="clickhouse", port=8443, database="watch", secure=True)
    settings = Settings(warehouse=warehouse, grafana=grafana, alerts=example_settings())
    return build_bundle(changed or contracts(), settings, ENVIRON)


def test_all_contracts_are_deployed_and_a_second_apply_changes_nothing(stub: StubGrafana) -> None:
    deployed = apply(stub, example_bundle())
    # Grafana stores all keys unchanged, so their spelling is that of the API.
    assert deployed.notes == ()
    assert not deployed.skipped
    assert_settled(stub, example_bundle())
    titles = {uid: folder["title"] for uid, folder in stub.state.folders.items()}
    assert titles == {"barograph": "Barograph", "barograph-alerts": "Barograph alerts"}
    assert {folder for folder, _ in stub.state.groups} == {"barograph-alerts"}
    assert sorted(stub.state.dashboards) == [
        f"barograph-{page}" for page in ("field", "fleet", "llm", "model", "pipeline", "shadow")
    ]
    for model in contracts():
        rules = [rule for group in stub.state.groups.values() for rule in group["rules"] if model in rule["title"]]
        assert rules, model
        assert all(rule["provenance"] == "api" for rule in rules)
        assert all("keep_firing_for" in rule and "missingSeriesEvalsToResolve" in rule for rule in rules)


def test_a_changed_contract_changes_only_its_own_rules(stub: StubGrafana) -> None:
    apply(stub, example_bundle())
    first, *others = example_contracts()
    desired = {contract.model: contract for contract in others} | {
        first.model: msgspec.structs.replace(first, team="another"),
        f"{ODD_NAME} a/b": contracts()[f"{ODD_NAME} a/b"],
    }
    changes = plan(stub, example_bundle(desired))
    assert {planned.resource.kind for planned in changes.written} == {"rule group"}
    assert all(planned.resource.name.startswith(first.model) for planned in changes.written)


def test_the_data_source_has_clickhouse_as_seen_from_grafana() -> None:
    assert example_bundle().data_source["jsonData"] == {
        "host": "clickhouse",
        "port": 8443,
        "protocol": "http",
        "secure": True,
        "username": "grafana",
        "defaultDatabase": "watch",
    }
    other = example_bundle(clickhouse_host="ch.internal", clickhouse_port=443, reader="viewer", folder="Modelle")
    assert (other.data_source["jsonData"]["host"], other.data_source["jsonData"]["port"]) == ("ch.internal", 443)
    assert other.data_source["jsonData"]["username"] == "viewer"
    assert other.data_source["secureJsonData"] == {"password": "swordfish"}
    assert other.folder_title == "Modelle"


def test_a_missing_secret_is_named() -> None:
    settings = Settings(grafana=GrafanaSettings(url="http://g"), alerts=example_settings())
    with pytest.raises(
        AlertsError, match="not set: PAGERDUTY_INTEGRATION_KEY, PLATFORM_WEBHOOK_URL, SLACK_WEBHOOK_URL"
    ):
        build_bundle(contracts(), settings, {})


def smoke(stub: StubGrafana, patience_s: float = 0.0) -> int:
    spec = importlib.util.spec_from_file_location("smoke", SMOKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[..., int] = module.main
    environ = {"BAROGRAPH_GRAFANA_URL": stub.url, "BAROGRAPH_GRAFANA_TOKEN": TOKEN}
    return main(environ, patience_s=patience_s, pause_s=0.01)


def test_the_smoke_script_reports_deployed_and_broken_resources(
    stub: StubGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke(stub) == 1
    output = capsys.readouterr().out
    assert "FAIL data source: 404" in output
    assert "FAIL keep_firing_for: no rule of ours" in output
    apply(stub, example_bundle())
    assert smoke(stub) == 0
    output = capsys.readouterr().out
    assert "FAIL" not in output
    assert "ok   dashboard fleet: " in output
    assert "ok   notification policy: tickets" in output
    rules = [rule for group in stub.state.groups.values() for rule in group["rules"]]
    assert f"ok   rules: {len(rules)} inactive" in output
    assert "ok   messages: not checked, no rule has an instance" in output
    stub.state.evaluations = {
        rules[0]["uid"]: {"health": "error", "lastError": "Unknown table"},
        rules[1]["uid"]: {"health": "unknown"},
        rules[2]["uid"]: {"state": "firing"},
    }
    assert smoke(stub) == 1
    output = capsys.readouterr().out
    assert f"FAIL rule {rules[0]['title']}: Unknown table" in output
    assert f"FAIL rule {rules[1]['title']}: not evaluated yet" in output
    assert f"ok   rules: 1 firing, {len(rules) - 1} inactive" in output
    stub.state.evaluations = {}
    stub.state.source_problem = "connection refused"
    assert smoke(stub) == 1
    assert "FAIL data source: 400" in capsys.readouterr().out
    stub.token = "another"
    assert smoke(stub) == 1
    assert "FAIL data source: 401" in capsys.readouterr().out


def test_the_smoke_script_checks_what_no_real_grafana_has_confirmed(
    stub: StubGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    apply(stub, example_bundle())
    state, rules = stub.state, [rule for group in stub.state.groups.values() for rule in group["rules"]]
    texts = {"page": f"{stub.url}/d/x", "runbook_url": f"{stub.url}/api/health", "summary": "PSI is 0.3"}
    state.evaluations = {
        rules[0]["uid"]: {"alerts": [{"annotations": texts}]},
        rules[1]["uid"]: {"health": "unknown"},
    }
    n_queries = 0

    def evaluate_later(server: StubGrafana, answer: Callable[[], Answer]) -> Answer:
        nonlocal n_queries
        n_queries += server.requests[-1].endswith("/rules")
        if n_queries == 3:
            server.state.evaluations.pop(rules[1]["uid"], None)
        return answer()

    stub.always = evaluate_later
    assert smoke(stub, patience_s=60) == 0
    assert n_queries == 3, "it waits for rules that are not evaluated yet"
    stub.always = None
    output = capsys.readouterr().out
    for line in (
        "ok   contact points: 3 of our policies, all defined",
        "ok   folders: Barograph, Barograph alerts",
        f"ok   keep_firing_for: in all {len(rules)} rules",
        f"ok   missingSeriesEvalsToResolve: in all {len(rules)} rules",
        "ok   messages: 1 rendered",
        f"ok   runbook health: {stub.url}/api/health",
    ):
        assert line in output.splitlines()
    state.points = [point for point in state.points if point["name"] != "oncall"]
    state.folders["another"] = {"uid": "another", "title": "Barograph"}
    del rules[1]["keep_firing_for"]
    broken = {"page": "/d/x", "runbook_url": f"{stub.url}/missing.md", "summary": "PSI is [no value]"}
    state.evaluations[rules[1]["uid"]] = {"alerts": [{"annotations": broken}]}
    state.evaluations[rules[2]["uid"]] = {"alerts": [{"annotations": {**texts, "page": "/d/x"}}]}
    assert smoke(stub) == 1
    output = capsys.readouterr().out
    for line in (
        "FAIL contact points: not defined: oncall",
        "FAIL folders: two with the title Barograph",
        "FAIL keep_firing_for: missing in 1 rules",
        f"FAIL message of {rules[1]['title']}: contains [no value]",
        f"FAIL message of {rules[2]['title']}: the link '/d/x' is relative",
        f"FAIL runbook missing.md: {stub.url}/missing.md: HTTP Error 404: Not Found",
    ):
        assert line in output.splitlines()
