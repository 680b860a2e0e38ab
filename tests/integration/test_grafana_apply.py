"""Deployment to Grafana: repeated, with changes, foreign objects, and failures at each write."""

import copy
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract

from barograph_server.alerts.example import example_contracts, example_settings
from barograph_server.cli.apply import grafana_lines
from barograph_server.errors import EXIT_INTERRUPTED, ApplyError
from barograph_server.grafana.client import Grafana
from barograph_server.grafana.errors import GrafanaBusy
from barograph_server.provisioning.grafana import GrafanaError, build_resources
from barograph_server.provisioning.grafana.alerting import RuleGroup
from barograph_server.provisioning.grafana.resources import Resource
from barograph_server.settings import GrafanaSettings, Settings
from barograph_server.warehouse.client import Address
from tests.support.command_line import OutputOf
from tests.support.deploy_scripts import load_script
from tests.support.grafana_bundle import (
    FLEET,
    FOLDER,
    KEY,
    MODEL,
    ODD_NAME,
    PAGER,
    ROUTE,
    TICKETS,
    apply,
    assert_settled,
    bundle,
    dashboard,
    group,
    plan,
    rule,
)
from tests.support.grafana_state import Answer, GrafanaState
from tests.support.scoring import Killed
from tests.support.stub_grafana import TOKEN, StubGrafana, cutting, failing, losing

RECORD = "PUT datasources/uid/barograph"
"""The last write of an apply."""
GROUP = f"model {ODD_NAME}"


@pytest.fixture
def applied(stub: StubGrafana) -> StubGrafana:
    apply(stub)
    stub.writes.clear()
    return stub


def lines(stub: StubGrafana, desired: Sequence[Resource] | None = None, *, overwrite: bool = False) -> list[str]:
    return list(grafana_lines(plan(stub, desired, overwrite=overwrite)))


def test_everything_is_stored_in_order_without_secrets_in_the_record_and_only_once(stub: StubGrafana) -> None:
    assert not plan(stub).is_empty
    assert not stub.writes
    assert [line[:2] for line in grafana_lines(apply(stub))] == ["+ "] * 10
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
        RECORD,
    ]
    state = copy.deepcopy(stub.state)
    assert_settled(stub)
    assert stub.state == state
    assert lines(stub) == []
    assert state.folders["barograph"]["title"] == FOLDER
    for board in (FLEET, MODEL):
        stored = state.dashboards[board["uid"]]
        assert stored["folder"] == "barograph"
        assert {key: stored["dashboard"][key] for key in board} == board
    points = [(point["name"], point["provenance"]) for point in state.points]
    assert points == [(f"pager {ODD_NAME}", "api"), ("tickets", "api")]
    assert state.secrets[state.points[0]["uid"]] == {"integrationKey": KEY}
    assert state.secrets["barograph"] == {"password": "swordfish"}
    assert list(state.timings) == [f"retraining {ODD_NAME}"]
    assert state.tree["receiver"] == "empty", "the default policy of a new Grafana keeps its receiver"
    rules = state.groups["barograph-alerts", GROUP]["rules"]
    durations = [(each["uid"], each["for"], each["keep_firing_for"]) for each in rules]
    assert durations == [("r-1", "1h30m", "1d"), ("r-2", "1h30m", "1d")]
    assert rules[0]["labels"] == {"model": ODD_NAME, "severity": "page"}
    assert rules[0]["data"][0]["model"]["rawSql"] == "SELECT 1"
    record = json.dumps(state.sources["barograph"]["jsonData"]["barograph"])
    for secret in ("swordfish", KEY, "xyzzy", TOKEN):
        assert secret not in record


def test_a_change_is_shown_by_key_and_written_alone(applied: StubGrafana) -> None:
    changed = dashboard("barograph-fleet", "Fleet")
    changed["panels"][0]["title"] = "PSI"
    changed["refresh"] = "1m"
    desired = bundle(dashboards=(changed, MODEL))
    assert lines(applied, desired) == [
        "~ Grafana: dashboard Fleet, last changed by sa-barograph, 2026-03-01 03:04",
        '    ~ panels[Drift].title: "Drift" → "PSI"',
        "    + refresh",
    ]
    apply(applied, desired)
    assert applied.writes == ["POST dashboards/db", RECORD]
    assert applied.state.dashboards["barograph-fleet"]["version"] == 2
    assert_settled(applied, desired)


def test_what_grafana_adds_is_no_change_and_an_edit_of_it_is_one(stub: StubGrafana) -> None:
    stub.state.dashboard_defaults = {"graphTooltip": 0}
    apply(stub)
    assert_settled(stub)
    stub.state.edit_dashboard("barograph-fleet", lambda board: board.update(graphTooltip=2))
    changed_by = "~ Grafana: dashboard Fleet, last changed by anna, 2026-03-01 03:04"
    assert lines(stub) == [changed_by, "    - graphTooltip"]


def redraw(state: GrafanaState) -> None:
    state.edit_dashboard("barograph-fleet", lambda board: board["panels"].append({"id": 9, "title": "Mine"}))


EDITS: dict[str, tuple[Callable[[GrafanaState], Any], str, str]] = {
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
    "panel": (redraw, "dashboard Fleet, last changed by anna, 2026-03-01 03:04", "    - panels[Mine]"),
    "rule": (
        lambda state: state.groups["barograph-alerts", GROUP]["rules"][1].update({"for": "5m"}),
        f"rule group {GROUP}",
        "    ~ rules[nulls].for: 300 → 5400",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_manual_edit_is_shown_before_it_is_overwritten(applied: StubGrafana, edit: str) -> None:
    change, label, difference = EDITS[edit]
    change(applied.state)
    assert lines(applied) == [f"~ Grafana: {label}", difference]
    assert applied.writes == []
    assert list(grafana_lines(apply(applied))) == [f"~ Grafana: {label}", difference]
    assert_settled(applied)


def test_a_deleted_resource_is_created_again_and_reported(applied: StubGrafana) -> None:
    del applied.state.dashboards["barograph-fleet"]
    assert lines(applied) == ["+ Grafana: dashboard Fleet, which someone deleted"]
    apply(applied)
    assert "barograph-fleet" in applied.state.dashboards
    assert_settled(applied)


def test_a_change_between_read_and_write_is_not_overwritten(applied: StubGrafana) -> None:
    def save_first(stub: StubGrafana, answer: Callable[[], Answer]) -> Answer:
        redraw(stub.state)
        return answer()

    applied.faults = {1: save_first}
    desired = bundle(dashboards=(dashboard("barograph-fleet", "New"), MODEL))
    with pytest.raises(GrafanaError, match=r"refuses to write dashboard New .*a concurrent change"):
        apply(applied, desired)
    board = applied.state.dashboards["barograph-fleet"]["dashboard"]
    assert (board["title"], board["panels"][-1]["title"]) == ("Fleet", "Mine")
    assert "    - panels[Mine]" in lines(applied, desired)


def test_a_foreign_object_with_our_identifier_stays_until_taken_over(stub: StubGrafana) -> None:
    desired = bundle()
    ships = {"title": "Fleet of ships", "panels": [], "uid": "barograph-fleet"}
    stub.state.answer("POST", ["dashboards", "db"], {}, {"dashboard": ships}, {})
    # It has our name and another type.
    point: dict[str, Any] = {"name": "tickets", "type": "email", "settings": {"addresses": "ops@example.com"}}
    stub.state.answer("POST", ["v1", "provisioning", "contact-points"], {}, point, {"X-Disable-Provenance": "true"})
    skipped = {change.resource.label for change in apply(stub, desired).skipped}
    assert skipped == {"dashboard Fleet", "contact point tickets (webhook)"}
    assert stub.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "Fleet of ships"
    for line in lines(stub, desired):
        assert line.startswith("    ") or "exists and was not applied from here" in line
    over = "~ Grafana: dashboard Fleet, overwriting an object that was not applied from here (by sa-barograph"
    assert any(line.startswith(over) for line in lines(stub, desired, overwrite=True))
    apply(stub, desired, overwrite=True)
    assert stub.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "Fleet"
    points = [(each["type"], each["settings"]["url"]) for each in stub.state.points if each["name"] == "tickets"]
    assert points == [("webhook", "http://tickets")]
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
    apply(stub, bundle(route={**ROUTE, "group_by": ["model", "field"]}))
    assert stub.state.tree["routes"][:2] == OTHERS
    assert stub.state.tree["routes"][2]["group_by"] == ["model", "field"]


def test_own_objects_that_are_no_longer_wanted_are_deleted_and_others_reported(applied: StubGrafana) -> None:
    own = {"dashboard": {"uid": "x", "title": "Mine"}, "folderUid": "barograph"}
    applied.state.answer("POST", ["dashboards", "db"], {}, own, {})
    others = {"folderUid": "barograph-alerts", "interval": 60, "rules": [rule("r-9", "mine")]}
    path = ["v1", "provisioning", "folder", "barograph-alerts", "rule-groups", "mine"]
    applied.state.answer("PUT", path, {}, others, {})
    desired = bundle(groups=(), dashboards=(FLEET,))
    notes = [
        f"! Grafana: dashboard Mine in folder {FOLDER} was not applied from here and stays unchanged.",
        f"! Grafana: rule group mine in folder Alerts {ODD_NAME} was not applied from here and stays unchanged.",
    ]
    assert lines(applied, desired) == [
        f"- Grafana: dashboard Model {ODD_NAME}, which is no longer in the contracts",
        f"- Grafana: rule group {GROUP}, which is no longer in the contracts",
        *notes,
    ]
    assert applied.writes == []
    apply(applied, desired)
    assert [write.split("/")[0] for write in applied.writes] == ["DELETE dashboards", "DELETE v1", "PUT datasources"]
    assert lines(applied, desired) == notes
    assert list(applied.state.dashboards) == ["barograph-fleet", "x"]
    assert list(applied.state.groups) == [("barograph-alerts", "mine")]
    assert_settled(applied, desired)


def test_provisioned_objects_are_reported_and_unchanged(applied: StubGrafana) -> None:
    applied.state.dashboards["barograph-fleet"]["provisioned"] = True
    for stored in applied.state.groups["barograph-alerts", GROUP]["rules"]:
        stored["provenance"] = "file"
    assert_settled(applied)  # as long as it is the same
    changed = (dashboard("barograph-fleet", "New"), MODEL)
    desired = bundle(dashboards=changed, groups=(group(GROUP, rule("r-1", "drift")),))
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
    desired = bundle(points=({**PAGER, "settings": {**PAGER["settings"], "integrationKey": "rotated"}}, TICKETS))
    assert lines(applied, desired) == [f"~ Grafana: contact point pager {ODD_NAME} (pagerduty)", "    ~ secrets"]
    apply(applied, desired)
    assert applied.writes == ["PUT v1/provisioning/contact-points/bg-pager", RECORD]
    assert applied.state.secrets[applied.state.points[0]["uid"]] == {"integrationKey": "rotated"}
    assert_settled(applied, desired)


def test_a_lost_record_is_stored_again(applied: StubGrafana) -> None:
    applied.state.edit_source("barograph", lambda source: source["jsonData"].pop("barograph"))
    shown = [line for line in lines(applied) if line.startswith("~ Grafana")]
    assert len(shown) == 10
    assert all(line.endswith(", whose record is missing") for line in shown)
    assert not apply(applied).skipped
    assert_settled(applied)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dashboards": (dashboard("a", "A"), dashboard("a", "B"))}, "give Grafana two of the dashboard 'B': rename"),
        ({"folder": f"Alerts {ODD_NAME}"}, "give Grafana two of the folder"),
        ({"groups": (group("..", rule("x", "t")),)}, "cannot be part of a Grafana URL"),
        ({"groups": (group("x" * 191, rule("x", "t")),)}, "use 1 to 190 characters"),
    ],
)
def test_a_name_that_grafana_cannot_take_is_rejected(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApplyError, match=sentence):
        bundle(**changes)


ENVIRON = {
    "SLACK_WEBHOOK_URL": "https://slack.invalid/s3cret",
    "PAGERDUTY_INTEGRATION_KEY": "pd-s3cret",
    "PLATFORM_WEBHOOK_URL": "https://platform.invalid/s3cret",
}


def contracts() -> dict[str, Contract]:
    """The examples, and one with a name that breaks code without quoting."""
    odd = msgspec.structs.replace(example_contracts()[0], model=f"{ODD_NAME} a/b")
    return {contract.model: contract for contract in [*example_contracts(), odd]}


def example_bundle(**values: str | int) -> tuple[Resource, ...]:
    grafana = GrafanaSettings(url="http://g", token=TOKEN, reader_password="swordfish", **values)  # type: ignore[arg-type]
    warehouse = Address(host="clickhouse", port=8443, database="watch", secure=True)
    settings = Settings(warehouse=warehouse, grafana=grafana, alerts=example_settings())
    return build_resources(contracts(), settings, ENVIRON)


def test_all_contracts_are_deployed_and_a_second_apply_changes_nothing(stub: StubGrafana) -> None:
    deployed = apply(stub, example_bundle())
    # Grafana stores all keys unchanged, so their spelling is that of the API.
    assert (deployed.notes, list(deployed.skipped)) == ((), [])
    assert_settled(stub, example_bundle())
    titles = {uid: folder["title"] for uid, folder in stub.state.folders.items()}
    assert titles == {"barograph": "Barograph", "barograph-alerts": "Barograph alerts"}
    assert {folder for folder, _ in stub.state.groups} == {"barograph-alerts"}
    pages = ("field", "fleet", "llm", "model", "pipeline", "shadow")
    assert sorted(stub.state.dashboards) == [f"barograph-{page}" for page in pages]
    for model in contracts():
        rules = [rule for group in stub.state.groups.values() for rule in group["rules"] if model in rule["title"]]
        assert rules, model
        assert all(rule["provenance"] == "api" for rule in rules)
        assert all("keep_firing_for" in rule and "missingSeriesEvalsToResolve" in rule for rule in rules)


def test_the_data_source_has_clickhouse_as_seen_from_grafana() -> None:
    assert example_bundle()[0].desired["jsonData"] == {
        "host": "clickhouse",
        "port": 8443,
        "protocol": "http",
        "secure": True,
        "username": "grafana",
        "defaultDatabase": "watch",
    }
    source, folder, *_ = example_bundle(
        clickhouse_host="ch.internal", clickhouse_port=443, reader="viewer", folder="Modelle"
    )
    settings = source.desired["jsonData"]
    assert (settings["host"], settings["port"], settings["username"]) == ("ch.internal", 443, "viewer")
    assert source.secrets == {"password": "swordfish"}
    assert folder.name == "Modelle"


def smoke(stub: StubGrafana, capsys: pytest.CaptureFixture[str], code: int) -> str:
    environ = {"BAROGRAPH_GRAFANA_URL": stub.url, "BAROGRAPH_GRAFANA_TOKEN": TOKEN}
    assert load_script("grafana/smoke.py").main(environ, patience_s=0.0, pause_s=0.01) == code
    return capsys.readouterr().out


def test_the_smoke_script_reports_what_is_broken(stub: StubGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    output = smoke(stub, capsys, 1)
    assert "FAIL data source: 404" in output
    assert "FAIL keep_firing_for: no rule of ours" in output
    apply(stub, example_bundle())
    state = stub.state
    rules = [rule for group in state.groups.values() for rule in group["rules"]]
    output = smoke(stub, capsys, 0)
    assert "FAIL" not in output
    for line in (
        "dashboard fleet: ",
        "notification policy: tickets",
        f"rules: {len(rules)} inactive",
        "messages: not checked, no rule has an instance",
    ):
        assert f"ok   {line}" in output
    problems = {"health": "error", "lastError": "Unknown table"}, {"health": "unknown"}, {"state": "firing"}
    state.evaluations = {rule["uid"]: problem for rule, problem in zip(rules, problems, strict=False)}
    output = smoke(stub, capsys, 1)
    assert f"FAIL rule {rules[0]['title']}: Unknown table" in output
    assert f"FAIL rule {rules[1]['title']}: not evaluated yet" in output
    assert f"ok   rules: 1 firing, {len(rules) - 1} inactive" in output
    # What no real Grafana has confirmed.
    texts = {"page": f"{stub.url}/d/x", "runbook_url": f"{stub.url}/api/health", "summary": "PSI is 0.3"}
    state.evaluations = {rules[0]["uid"]: {"alerts": [{"annotations": texts}]}}
    assert "ok   messages: 1 rendered" in smoke(stub, capsys, 0)
    state.points = [point for point in state.points if point["name"] != "oncall"]
    state.folders["another"] = {"uid": "another", "title": "Barograph"}
    del rules[1]["keep_firing_for"]
    broken = {"page": "/d/x", "runbook_url": f"{stub.url}/missing.md", "summary": "PSI is [no value]"}
    state.evaluations[rules[1]["uid"]] = {"alerts": [{"annotations": broken}]}
    state.evaluations[rules[2]["uid"]] = {"alerts": [{"annotations": {**texts, "page": "/d/x"}}]}
    output = smoke(stub, capsys, 1)
    for line in (
        "FAIL contact points: not defined: oncall",
        "FAIL folders: two with the title Barograph",
        "FAIL keep_firing_for: missing in 1 rules",
        f"FAIL message of {rules[1]['title']}: contains [no value]",
        f"FAIL message of {rules[2]['title']}: the link '/d/x' is relative",
        f"FAIL runbook missing.md: {stub.url}/missing.md: HTTP Error 404: Not Found",
    ):
        assert line in output.splitlines()
    state.source_problem = "connection refused"
    assert "FAIL data source: 400" in smoke(stub, capsys, 1)
    stub.token = "another"
    assert "FAIL data source: 401" in smoke(stub, capsys, 1)


NAMES = [
    *("data source", "folder Models", "folder Alerts", "pager", "tickets", "retraining", "policy", "Fleet"),
    *("dashboard Model", "rule group"),
]
"""What the first apply writes, before the final record."""


def each_number(last: int, short: int) -> pytest.MarkDecorator:
    """All numbers of a write; only one of them is in the short run."""
    others = (pytest.param(number, marks=pytest.mark.long) for number in range(1, last + 1) if number != short)
    return pytest.mark.parametrize("number", [short, *others])


# The fourth creates a contact point: a second one would create a second contact point of the same name.
each_write = each_number(len(NAMES) + 1, short=4)


def assert_whole(stub: StubGrafana) -> None:
    state = stub.state
    assert [*state.folders, *state.sources] == ["barograph", "barograph-alerts", "barograph"]
    others = (state.points, state.timings, state.tree["routes"], state.dashboards)
    assert [len(each) for each in others] == [2, 1, 1, 2]
    assert [len(stored["rules"]) for stored in state.groups.values()] == [2]
    assert_settled(stub)


@each_write
def test_a_failed_write_is_reported_and_the_next_apply_completes_it(stub: StubGrafana, number: int) -> None:
    stub.faults = {number: failing(500, "database is locked")}
    with pytest.raises(GrafanaError) as caught:
        apply(stub)
    text = str(caught.value)
    assert "(500: database is locked): check its log" in text
    assert text.endswith("`barograph apply` completes it.")
    written, _, missing = text.partition(" Not written: ")
    done = written.partition("Written to Grafana: ")[2]
    assert (done.count(",") + 1 if done else 0) == number - 1, text
    for position, name in enumerate(NAMES, 1):
        assert name in (done if position < number else missing), (name, text)
    apply(stub)
    assert_whole(stub)


@each_write
def test_a_write_without_an_answer_is_checked_and_completed(number: int) -> None:
    for fault in (losing, cutting, failing(503, "starting")):
        with StubGrafana() as stub:
            stub.faults = {number: fault}
            assert not apply(stub).skipped
            assert_whole(stub)


def killing(monkeypatch: pytest.MonkeyPatch, number: int, *, before: bool, error: type[BaseException] = Killed) -> None:
    """End the process at its nth write, before it is sent or before its answer is received."""
    exchange, count = Grafana._exchange, 0

    def dying(self: Grafana, action: str, method: str, *args: Any) -> Any:
        nonlocal count
        count += method != "GET"
        if count == number and before:
            raise error
        result = exchange(self, action, method, *args)
        if count == number:
            raise error
        return result

    monkeypatch.setattr(Grafana, "_exchange", dying)


@each_write
def test_a_first_apply_that_is_killed_is_completed_by_the_next(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for before in (True, False):
        with StubGrafana() as stub:
            with monkeypatch.context() as patched:
                killing(patched, number, before=before)
                with pytest.raises(Killed):
                    apply(stub)
            assert not apply(stub).skipped
            assert_whole(stub)


def changed(number: int) -> tuple[Resource, ...]:
    return bundle(
        folder="Renamed",
        points=({**PAGER, "settings": {"integrationKey": f"new {number}"}}, TICKETS),
        dashboards=(dashboard("barograph-fleet", f"Fleet {number}"), dashboard("barograph-new", "New")),
        groups=(group("new", rule("r-1", "drift", **{"for": f"{number}m"})),),
        route={**ROUTE, "group_by": ["model", "field"]},
    )


@each_number(9, short=1)
def test_a_killed_change_is_completed_or_followed_by_another(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Objects of an interrupted apply are ours, even if the contract changes again."""
    for before, desired in itertools.product((True, False), (changed(2), changed(3), bundle())):
        with StubGrafana() as stub:
            apply(stub)
            with monkeypatch.context() as patched:
                killing(patched, number, before=before)
                with pytest.raises(Killed):
                    apply(stub, changed(2))
            assert not apply(stub, desired).skipped
            assert_settled(stub, desired)
            groups = {each.name for each in desired if isinstance(each, RuleGroup)}
            assert {group for _, group in stub.state.groups} == groups
            assert len(stub.state.dashboards) == 2


def test_an_unavailable_server_is_tried_three_times(stub: StubGrafana) -> None:
    stub.always = failing(503, "starting")
    with pytest.raises(GrafanaBusy, match=r"is temporarily unable to check its health \(503: starting\)"):
        apply(stub)
    assert len(stub.requests) == 3


def test_an_interrupt_reports_the_writes(
    stub: StubGrafana, monkeypatch: pytest.MonkeyPatch, output_of: OutputOf
) -> None:
    killing(monkeypatch, 4, before=True, error=KeyboardInterrupt)
    monkeypatch.setattr("barograph_server.cli.main.app", lambda **_: apply(stub))
    error = output_of(EXIT_INTERRUPTED, "apply")
    assert error.startswith("Interrupted. Written to Grafana: data source Barograph, folder Models")
    assert "Not written: contact point pager" in error
