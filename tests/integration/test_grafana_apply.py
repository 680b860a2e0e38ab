"""Deployment to Grafana: repeated, with changes, manual edits, foreign objects and provisioned files."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract

from barograph_server.alerts.example import example_contracts, example_settings
from barograph_server.cli.apply import grafana_lines, skipped_message
from barograph_server.errors import ApplyError
from barograph_server.provisioning.grafana import Bundle, GrafanaError, build_bundle
from barograph_server.settings import GrafanaSettings, Settings
from barograph_server.warehouse.client import Address
from tests.support.grafana_apply import apply, assert_settled, plan
from tests.support.grafana_bundle import KEY, ODD_NAME, bundle, dashboard, group, rule
from tests.support.grafana_state import Answer, GrafanaState
from tests.support.stub_grafana import TOKEN, StubGrafana, serving

LEDGER = "PUT datasources/uid/barograph"
"""The first and the last write of an apply."""
GROUP = f"model {ODD_NAME}"


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with serving() as server:
        yield server


@pytest.fixture
def applied(stub: StubGrafana) -> StubGrafana:
    apply(stub)
    stub.writes.clear()
    return stub


def lines(stub: StubGrafana, desired: Bundle | None = None, *, overwrite: bool = False) -> list[str]:
    return list(grafana_lines(plan(stub, desired, overwrite=overwrite)))


def test_everything_is_stored_in_order_without_secrets_in_the_ledger_and_only_once(stub: StubGrafana) -> None:
    assert not plan(stub).is_empty
    assert not stub.writes
    plan_made = apply(stub)
    assert [line[:2] for line in grafana_lines(plan_made)] == ["+ "] * 10
    assert [write.split(f" {ODD_NAME}")[0] for write in stub.writes] == [
        "POST datasources",
        "POST folders",
        "POST folders",
        "POST v1/provisioning/contact-points",
        "POST v1/provisioning/contact-points",
        "POST v1/provisioning/mute-timings",
        "PUT v1/provisioning/policies",
        "POST dashboards/db",
        "POST dashboards/db",
        "PUT v1/provisioning/folder/barograph-alerts/rule-groups/model",
        LEDGER,
    ]
    state, desired = copy.deepcopy(stub.state), bundle()
    assert_settled(stub)
    assert stub.state == state
    assert lines(stub) == []
    assert state.folders["barograph"]["title"] == desired.folder_title
    for board in desired.dashboards:
        stored = state.dashboards[board["uid"]]
        assert stored["folder"] == "barograph"
        assert {key: stored["dashboard"][key] for key in board} == board
    points = [(point["name"], point["provenance"]) for point in state.points]
    assert points == [(f"pager {ODD_NAME}", "api"), ("tickets", "api")]
    assert state.secrets[state.points[0]["uid"]] == {"integrationKey": KEY}
    assert state.secrets["barograph"] == {"password": "swordfish"}
    assert list(state.timings) == [f"retraining {ODD_NAME}"]
    assert state.tree["receiver"] == "empty", "the default policy of a new Grafana keeps its receiver"
    first, second = state.groups["barograph-alerts", GROUP]["rules"]
    assert [(each["uid"], each["for"], each["keep_firing_for"]) for each in (first, second)] == [
        ("r-1", "1h30m", "1d"),
        ("r-2", "1h30m", "1d"),
    ]
    assert first["labels"] == {"model": ODD_NAME, "severity": "page"}
    assert first["data"][0]["model"]["rawSql"] == "SELECT 1"
    ledger = json.dumps(state.sources["barograph"]["jsonData"]["barograph"])
    assert "open" not in ledger
    for secret in ("swordfish", KEY, "xyzzy", TOKEN):
        assert secret not in ledger


def test_a_change_is_shown_by_key_and_written_alone(applied: StubGrafana) -> None:
    changed = dashboard("barograph-fleet", "Fleet")
    changed["panels"][0]["title"] = "PSI"
    changed["refresh"] = "1m"
    desired = bundle(dashboards=(changed, bundle().dashboards[1]))
    assert lines(applied, desired) == [
        "~ Grafana: dashboard Fleet",
        '    ~ panels[Drift].title: "Drift" → "PSI"',
        "    + refresh",
    ]
    apply(applied, desired)
    assert applied.writes == [LEDGER, "POST dashboards/db", LEDGER]
    assert applied.state.dashboards["barograph-fleet"]["version"] == 2
    assert_settled(applied, desired)


def repoint(state: GrafanaState) -> None:
    state.edit_source("barograph", lambda source: source["jsonData"].update(host="elsewhere"))


def redraw(state: GrafanaState) -> None:
    state.edit_dashboard("barograph-fleet", lambda board: board["panels"].append({"id": 9, "title": "Mine"}))


EDITS: dict[str, tuple[Callable[[GrafanaState], Any], str, str]] = {
    "data source": (repoint, "data source Barograph", '    ~ jsonData.host: "elsewhere" → "clickhouse"'),
    "route": (
        lambda state: state.tree["routes"][0].update(repeat_interval="5m"),
        "notification policy team=ml product=barograph",
        "    ~ repeat_interval: 300 → 86400",
    ),
    # Values of contact points are not shown: webhook URLs contain tokens.
    "contact point": (
        lambda state: state.points[1]["settings"].update(url="http://elsewhere/?token=s3cret"),
        "contact point tickets (webhook)",
        "    ~ settings.url",
    ),
    "panel": (redraw, "dashboard Fleet", "    - panels[Mine]"),
    "rule": (
        lambda state: state.groups["barograph-alerts", GROUP]["rules"][1].update({"for": "5m"}),
        f"rule group {GROUP}",
        "    ~ rules[nulls].for: 300 → 5400",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_manual_edit_is_shown_and_stays_until_overwritten(applied: StubGrafana, edit: str) -> None:
    change, label, difference = EDITS[edit]
    change(applied.state)
    edited = copy.deepcopy(applied.state)
    first, *rest = lines(applied)
    assert first.startswith(f"! Grafana: {label} was edited by hand since the last apply")
    assert first.endswith("--overwrite-grafana reverts the edit")
    assert ("(by anna, 2026-03-01 03:04)" in first) == ("dashboard" in label)
    assert rest == [difference]
    plan_made = apply(applied)
    assert applied.writes == []
    assert applied.state == edited
    assert label in skipped_message(plan_made)
    assert not plan_made.is_empty
    over = lines(applied, overwrite=True)
    assert over[0].startswith(f"~ Grafana: {label}, overwriting a manual edit")
    apply(applied, overwrite=True)
    assert_settled(applied)


def test_a_manual_edit_stays_while_other_resources_are_applied(applied: StubGrafana) -> None:
    redraw(applied.state)
    changed = dashboard("barograph-fleet", "Fleet")
    changed["refresh"] = "1m"
    desired = bundle(dashboards=(changed, dashboard("barograph-model", "Model")))
    plan_made = apply(applied, desired)
    assert [planned.resource.name for planned in plan_made.skipped] == ["Fleet"]
    assert applied.writes == [LEDGER, "POST dashboards/db", LEDGER]
    assert applied.state.dashboards["barograph-model"]["dashboard"]["title"] == "Model"
    assert applied.state.dashboards["barograph-fleet"]["dashboard"]["panels"][-1]["title"] == "Mine"
    # After the edit is undone, the resource is updated again.
    applied.state.edit_dashboard("barograph-fleet", lambda board: board["panels"].pop())
    apply(applied, desired)
    assert applied.state.dashboards["barograph-fleet"]["dashboard"]["refresh"] == "1m"
    assert_settled(applied, desired)


def test_writing_the_ledger_keeps_a_manual_edit_of_the_data_source(applied: StubGrafana) -> None:
    repoint(applied.state)
    desired = bundle(dashboards=(dashboard("barograph-fleet", "New"),))
    apply(applied, desired)
    source = applied.state.sources["barograph"]
    assert source["jsonData"]["host"] == "elsewhere"
    assert applied.state.secrets["barograph"] == {"password": "swordfish"}
    assert applied.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "New"


def test_a_deleted_resource_is_created_again_and_reported(applied: StubGrafana) -> None:
    del applied.state.dashboards["barograph-fleet"]
    assert lines(applied) == ["+ Grafana: dashboard Fleet, which someone deleted"]
    apply(applied)
    assert "barograph-fleet" in applied.state.dashboards
    assert_settled(applied)


def test_a_change_between_read_and_write_is_not_overwritten(applied: StubGrafana) -> None:
    def during(edit: Callable[[GrafanaState], None]) -> Callable[[StubGrafana, Callable[[], Answer]], Answer]:
        def save_first(stub: StubGrafana, answer: Callable[[], Answer]) -> Answer:
            edit(stub.state)
            return answer()

        return save_first

    applied.faults = {2: during(redraw)}  # the first is the ledger
    desired = bundle(dashboards=(dashboard("barograph-fleet", "New"), bundle().dashboards[1]))
    assert [planned.resource.name for planned in apply(applied, desired).skipped] == ["New"]
    board = applied.state.dashboards["barograph-fleet"]["dashboard"]
    assert (board["title"], board["panels"][-1]["title"]) == ("Fleet", "Mine")
    applied.faults = {len(applied.writes) + 1: during(repoint)}
    settings = {**bundle().data_source["jsonData"], "port": 8443}
    desired = bundle(data_source={**bundle().data_source, "jsonData": settings})
    assert "data source" in [planned.resource.kind for planned in apply(applied, desired).skipped]
    stored = applied.state.sources["barograph"]["jsonData"]
    assert (stored["host"], stored["port"]) == ("elsewhere", 8123)


def test_a_foreign_object_with_our_identifier_stays_until_taken_over(stub: StubGrafana) -> None:
    desired = bundle()
    ships = {"title": "Fleet of ships", "panels": [], "uid": "barograph-fleet"}
    stub.state.answer("POST", ["dashboards", "db"], {}, {"dashboard": ships}, {})
    # It has our name and another type.
    point: dict[str, Any] = {"name": "tickets", "type": "email", "settings": {"addresses": "ops@example.com"}}
    stub.state.answer("POST", ["v1", "provisioning", "contact-points"], {}, point, {"X-Disable-Provenance": "true"})
    plan_made = apply(stub, desired)
    assert {planned.resource.label for planned in plan_made.skipped} == {
        "dashboard Fleet",
        "contact point tickets (webhook)",
    }
    assert stub.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "Fleet of ships"
    left = [line for line in lines(stub, desired) if line.startswith("!")]
    assert all("exists and was not applied from here" in line for line in left)
    apply(stub, desired, overwrite=True)
    assert stub.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "Fleet"
    points: list[dict[str, Any]] = [point for point in stub.state.points if point["name"] == "tickets"]
    assert [(point["type"], point["settings"]["url"]) for point in points] == [("webhook", "http://tickets")]
    assert_settled(stub, desired)


def test_names_with_slashes_are_one_path_segment(stub: StubGrafana) -> None:
    desired = bundle(rule_groups=(group("a/b/../c (every 5m)", rule("r-1", "drift")),), mute_timings=(), route=None)
    apply(stub, desired)
    assert list(stub.state.groups) == [("barograph-alerts", "a/b/../c (every 5m)")]
    assert_settled(stub, desired)


def test_a_foreign_data_source_with_our_uid_stops_the_apply(stub: StubGrafana) -> None:
    other = {"uid": "barograph", "name": "Other", "type": "prometheus", "access": "proxy"}
    stub.state.answer("POST", ["datasources"], {}, other, {})
    with pytest.raises(GrafanaError, match="data source with the uid barograph that was not applied from here"):
        apply(stub)
    assert stub.writes == []
    apply(stub, overwrite=True)
    assert stub.state.sources["barograph"]["type"] == "grafana-clickhouse-datasource"
    assert_settled(stub)


OTHERS: list[dict[str, Any]] = [
    {"receiver": "ops", "object_matchers": [["team", "=", "ops"]], "continue": True, "group_wait": "1h30m"},
    {"receiver": "ops", "routes": [{"receiver": "ops", "object_matchers": [["a", "=~", "b|c"], ["d", "!=", "e"]]}]},
]


@pytest.mark.parametrize("provenance", ["", "api"])
def test_other_notification_policies_are_written_back_unchanged(stub: StubGrafana, provenance: str) -> None:
    point = {"name": "ops", "type": "webhook", "settings": {"url": "http://ops"}}
    stub.state.answer("POST", ["v1", "provisioning", "contact-points"], {}, point, {})
    stub.state.tree = {"receiver": "ops", "group_by": ["x"], "repeat_interval": "1d", "routes": copy.deepcopy(OTHERS)}
    stub.state.tree_provenance = provenance
    before = copy.deepcopy(stub.state.tree)
    apply(stub)
    ours, *others = stub.state.tree["routes"]
    assert ours["object_matchers"] == [["product", "=", "barograph"], ["team", "=", "ml"]]
    assert others == OTHERS
    assert {**stub.state.tree, "routes": others} == before
    # Locking the tree would lock the policies of other users.
    assert stub.state.tree_provenance == provenance
    # If someone moved our policy, it keeps its position.
    stub.state.tree["routes"] = [*others, ours]
    assert_settled(stub)
    apply(stub, bundle(route={**(bundle().route or {}), "group_by": ["model", "field"]}))
    assert stub.state.tree["routes"][:2] == OTHERS
    assert stub.state.tree["routes"][2]["group_by"] == ["model", "field"]


def test_other_objects_in_our_folder_are_reported_and_unchanged(applied: StubGrafana) -> None:
    applied.state.answer(
        "POST", ["dashboards", "db"], {}, {"dashboard": {"uid": "x", "title": "Mine"}, "folderUid": "barograph"}, {}
    )
    desired = bundle(rule_groups=())
    assert lines(applied, desired) == [
        f"! Grafana: dashboard Mine in folder Models {ODD_NAME} was not applied from here and stays unchanged.",
        f"! Grafana: rule group {GROUP} was applied before and is no longer in the contracts: delete it in Grafana.",
    ]
    assert_settled(applied, desired)
    assert ("barograph-alerts", GROUP) in applied.state.groups


def test_provisioned_objects_are_reported_and_unchanged(applied: StubGrafana) -> None:
    applied.state.dashboards["barograph-fleet"]["provisioned"] = True
    for stored in applied.state.groups["barograph-alerts", GROUP]["rules"]:
        stored["provenance"] = "file"
    assert_settled(applied)  # as long as it is the same
    changed = (dashboard("barograph-fleet", "New"), bundle().dashboards[1])
    desired = bundle(dashboards=changed, rule_groups=(group(GROUP, rule("r-1", "drift")),))
    for overwrite in (False, True):
        advice = "is provisioned from a file and differs; remove it from Grafana's provisioning"
        assert [line for line in lines(applied, desired, overwrite=overwrite) if line.startswith("!")] == [
            f"! Grafana: dashboard New {advice}",
            f"! Grafana: rule group {GROUP} {advice}",
        ]
    applied.state.tree_provenance = "file"
    applied.state.tree["routes"] = []
    assert any("policy" in line and "is provisioned from a file" in line for line in lines(applied, desired))


def test_a_changed_secret_is_written_and_not_shown(applied: StubGrafana) -> None:
    first, second = bundle().contact_points
    desired = bundle(contact_points=({**first, "settings": {**first["settings"], "integrationKey": "rotated"}}, second))
    assert lines(applied, desired) == [f"~ Grafana: contact point pager {ODD_NAME} (pagerduty)", "    ~ secrets"]
    apply(applied, desired)
    assert applied.writes[1].startswith("PUT v1/provisioning/contact-points/")
    assert applied.state.secrets[applied.state.points[0]["uid"]] == {"integrationKey": "rotated"}
    assert_settled(applied, desired)


def test_a_lost_ledger_is_recreated_without_other_changes(applied: StubGrafana) -> None:
    applied.state.edit_source("barograph", lambda source: source["jsonData"].pop("barograph"))
    # Resources with secrets are written again, because secrets cannot be read back and compared.
    plan_made = apply(applied)
    assert not plan_made.skipped
    assert [write.split("/")[0] for write in applied.writes if write != LEDGER] == ["PUT v1", "PUT v1"]
    assert_settled(applied)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"folder_uid": "a b"}, "A folder for Grafana has the uid 'a b'"),
        (
            {"dashboards": (dashboard("a", "A"), dashboard("a", "B"))},
            "The bundle for Grafana has the dashboard 'a' twice",
        ),
        ({"rule_groups": (group("..", rule("x", "t")),)}, "cannot be part of a Grafana URL"),
        ({"route": {"receiver": "tickets"}}, "has no object_matchers"),
    ],
)
def test_a_bundle_with_invalid_identifiers_is_rejected(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApplyError, match=sentence):
        bundle(**changes)


# ---------------------------------------------------------------------------------- what contracts and settings ask for

ENVIRON = {
    "SLACK_WEBHOOK_URL": "https://slack.invalid/s3cret",
    "PAGERDUTY_INTEGRATION_KEY": "pd-s3cret",
    "PLATFORM_WEBHOOK_URL": "https://platform.invalid/s3cret",
}
SMOKE = Path(__file__).parents[2] / "deploy/grafana/smoke.py"


def contracts() -> dict[str, Contract]:
    """The examples, and one with a name that breaks code without quoting."""
    odd = msgspec.structs.replace(example_contracts()[0], model=f"{ODD_NAME} a/b")
    return {contract.model: contract for contract in [*example_contracts(), odd]}


def example_bundle(**values: str | int) -> Bundle:
    grafana = GrafanaSettings(url="http://g", token=TOKEN, reader_password="swordfish", **values)  # type: ignore[arg-type]
    warehouse = Address(host="clickhouse", port=8443, database="watch", secure=True)
    settings = Settings(warehouse=warehouse, grafana=grafana, alerts=example_settings())
    return build_bundle(contracts(), settings, ENVIRON)


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


def smoke(stub: StubGrafana) -> int:
    spec = importlib.util.spec_from_file_location("smoke", SMOKE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[..., int] = module.main
    environ = {"BAROGRAPH_GRAFANA_URL": stub.url, "BAROGRAPH_GRAFANA_TOKEN": TOKEN}
    return main(environ, patience_s=0.0, pause_s=0.01)


def test_the_smoke_script_reports_what_is_deployed_and_broken(
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
    state.evaluations = {rules[0]["uid"]: {"alerts": [{"annotations": texts}]}}
    assert smoke(stub) == 0
    assert "ok   messages: 1 rendered" in capsys.readouterr().out
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
