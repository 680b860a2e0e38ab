"""What contracts and settings ask of Grafana: deployed to a stub, and looked at there by the smoke script."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from barograph.contract import Contract

from alerts import AlertsError, AlertSettings
from alerts.example import example_contracts, example_settings
from cli.apply.grafana import Bundle, bundle_of
from cli.settings import GrafanaSettings, Settings
from tests.support.grafana_apply import apply, assert_settled, plan
from tests.support.grafana_bundle import ODD_NAME
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
    with serving() as result:
        yield result


def contracts() -> dict[str, Contract]:
    """The examples, and one under a name that breaks what does not quote it."""
    odd = msgspec.structs.replace(example_contracts()[0], model=f"{ODD_NAME} a/b")
    return {contract.model: contract for contract in [*example_contracts(), odd]}


def made(alerts: AlertSettings | None = None, **values: str | int) -> Bundle:
    grafana = GrafanaSettings(url="http://g", token=TOKEN, reader_password="swordfish", **values)  # type: ignore[arg-type]
    settings = Settings(
        warehouse=Address(host="clickhouse", port=8443, database="watch", secure=True),
        grafana=grafana,
        alerts=alerts or example_settings(),
    )
    return bundle_of(contracts(), settings, ENVIRON)


def test_contracts_are_deployed_whole_and_stay(stub: StubGrafana) -> None:
    done = apply(stub, made())
    # Nothing that was sent is dropped or kept otherwise: each key is spelled as the API spells it.
    assert done.notes == ()
    assert not done.left
    assert_settled(stub, made())
    assert stub.state.folders["barograph"]["title"] == "Barograph"
    assert sorted(stub.state.dashboards) == [f"barograph-{page}" for page in ("field", "fleet", "model", "pipeline")]
    for model in contracts():
        rules = [
            result for group in stub.state.groups.values() for result in group["rules"] if model in result["title"]
        ]
        assert rules, model
        assert all(result["provenance"] == "api" for result in rules)
        assert all("keep_firing_for" in result and "missingSeriesEvalsToResolve" in result for result in rules)


def test_a_contract_that_changes_changes_its_own_rules(stub: StubGrafana) -> None:
    apply(stub, made())
    first, *others = example_contracts()
    expected = {contract.model: contract for contract in others} | {
        first.model: msgspec.structs.replace(first, team="another"),
        f"{ODD_NAME} a/b": contracts()[f"{ODD_NAME} a/b"],
    }
    settings = Settings(
        warehouse=Address(host="clickhouse", port=8443, database="watch", secure=True),
        grafana=GrafanaSettings(url="http://g", reader_password="swordfish"),
        alerts=example_settings(),
    )
    result = plan(stub, bundle_of(expected, settings, ENVIRON))
    assert {finding.item.kind for finding in result.written} == {"rule group"}
    assert all(finding.item.name.startswith(first.model) for finding in result.written)


def test_the_data_source_is_clickhouse_as_grafana_reaches_it() -> None:
    assert made().data_source["jsonData"] == {
        "host": "clickhouse",
        "port": 8443,
        "protocol": "http",
        "secure": True,
        "username": "reader",
        "defaultDatabase": "watch",
    }
    other = made(clickhouse_host="ch.internal", clickhouse_port=443, reader="grafana", folder="Modelle")
    assert (other.data_source["jsonData"]["host"], other.data_source["jsonData"]["port"]) == ("ch.internal", 443)
    assert other.data_source["jsonData"]["username"] == "grafana"
    assert other.data_source["secureJsonData"] == {"password": "swordfish"}
    assert other.folder_title == "Modelle"


def test_a_secret_that_is_not_set_is_named() -> None:
    settings = Settings(grafana=GrafanaSettings(url="http://g"), alerts=example_settings())
    with pytest.raises(
        AlertsError, match="not set: PAGERDUTY_INTEGRATION_KEY, PLATFORM_WEBHOOK_URL, SLACK_WEBHOOK_URL"
    ):
        bundle_of(contracts(), settings, {})


def smoke(stub: StubGrafana, patience_s: float = 0.0) -> int:
    spec = importlib.util.spec_from_file_location("smoke", SMOKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[..., int] = module.main
    environ = {"BAROGRAPH_GRAFANA_URL": stub.url, "BAROGRAPH_GRAFANA_TOKEN": TOKEN}
    return main(environ, patience_s=patience_s, pause_s=0.01)


def test_the_smoke_script_finds_what_is_deployed_and_what_is_broken(
    stub: StubGrafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert smoke(stub) == 1
    assert "FAIL data source: 404" in capsys.readouterr().out
    apply(stub, made())
    assert smoke(stub) == 0
    output = capsys.readouterr().out
    assert "FAIL" not in output
    assert "ok   dashboard fleet: " in output
    assert "ok   notification policy: tickets" in output
    rules = [result for group in stub.state.groups.values() for result in group["rules"]]
    assert f"ok   rules: {len(rules)} inactive" in output
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


def test_the_smoke_script_waits_for_rules_that_are_not_evaluated_yet(stub: StubGrafana) -> None:
    apply(stub, made())
    uid = next(iter(stub.state.groups.values()))["rules"][0]["uid"]
    stub.state.evaluations = {uid: {"health": "unknown"}}
    asked = 0

    def answered(found: StubGrafana, answer: Callable[[], object]) -> object:
        nonlocal asked
        asked += found.requests[-1].endswith("/rules")
        if asked == 3:
            found.state.evaluations = {}
        return answer()

    stub.always = answered  # type: ignore[assignment]
    assert smoke(stub, patience_s=60) == 0
    assert asked == 3
