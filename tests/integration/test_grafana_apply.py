"""Deployment to Grafana: repeated, with changes, manual edits, foreign objects and provisioned files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli.apply.grafana import Bundle, GrafanaError
from cli.apply.grafana.show import grafana_lines, skipped_message
from cli.errors import ApplyError
from tests.support.grafana_apply import apply, assert_settled, plan
from tests.support.grafana_bundle import KEY, ODD_NAME, bundle, dashboard, group, rule
from tests.support.grafana_state import Answer, GrafanaState
from tests.support.stub_grafana import TOKEN, StubGrafana, serving

OBJECTS = 10
LEDGER = "PUT datasources/uid/barograph"
"""The first and the last write of an apply."""
GROUP = f"model {ODD_NAME}"


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with serving() as server:
        yield server


@pytest.fixture
def applied(stub: StubGrafana) -> StubGrafana:
    """A Grafana after an apply."""
    apply(stub)
    stub.writes.clear()
    return stub


def lines(stub: StubGrafana, desired: Bundle | None = None, *, overwrite: bool = False) -> list[str]:
    return list(grafana_lines(plan(stub, desired, overwrite=overwrite)))


def test_everything_is_stored_in_order_without_secrets_in_the_ledger_and_only_once(stub: StubGrafana) -> None:
    assert not plan(stub).is_empty
    assert not stub.writes
    plan_made = apply(stub)
    assert [line[:2] for line in grafana_lines(plan_made)] == ["+ "] * OBJECTS
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


def test_a_removed_rule_is_deleted_from_its_group(applied: StubGrafana) -> None:
    desired = bundle(rule_groups=(group(GROUP, rule("r-1", "drift", **{"for": "5m"})),))
    assert lines(applied, desired) == [
        f"~ Grafana: rule group {GROUP}",
        "    ~ rules[drift].for: 5400 → 300",
        "    - rules[nulls]",
    ]
    apply(applied, desired)
    assert [rule["uid"] for rule in applied.state.groups["barograph-alerts", GROUP]["rules"]] == ["r-1"]
    assert_settled(applied, desired)


def repoint(state: GrafanaState) -> None:
    state.edit_source("barograph", lambda source: source["jsonData"].update(host="elsewhere"))


def redraw(state: GrafanaState) -> None:
    state.edit_dashboard("barograph-fleet", lambda board: board["panels"].append({"id": 9, "title": "Mine"}))


SHOWN_TITLE = json.dumps(f"Models {ODD_NAME}", ensure_ascii=False)[:40] + "…"
TIMING = f"mute timing retraining {ODD_NAME}"
EDITS: dict[str, tuple[Callable[[GrafanaState], Any], str, str]] = {
    "folder": (
        lambda state: state.folders["barograph"].update(title="Ours", version=7),
        f"folder Models {ODD_NAME}",
        f'    ~ title: "Ours" → {SHOWN_TITLE}',
    ),
    "data source": (repoint, "data source Barograph", '    ~ jsonData.host: "elsewhere" → "clickhouse"'),
    "route": (
        lambda state: state.tree["routes"][0].update(repeat_interval="5m"),
        "notification policy team=ml product=barograph",
        "    ~ repeat_interval: 300 → 86400",
    ),
    "mute timing": (
        lambda state: state.timings[f"retraining {ODD_NAME}"]["time_intervals"][0].update(weekdays=["monday"]),
        TIMING,
        '    ~ time_intervals[0].weekdays[0]: "monday" → "sunday"',
    ),
    # Values of contact points are not shown: webhook URLs contain tokens.
    "contact point": (
        lambda state: state.points[1]["settings"].update(url="http://elsewhere/?token=s3cret"),
        "contact point tickets (webhook)",
        "    ~ settings.url",
    ),
    "panel": (redraw, "dashboard Fleet", "    - panels[Mine]"),
    "key": (
        lambda state: state.edit_dashboard("barograph-fleet", lambda board: board.update(links=[{"title": "wiki"}])),
        "dashboard Fleet",
        "    - links",
    ),
    "moved": (
        lambda state: state.dashboards["barograph-fleet"].update(folder="", by="anna"),
        "dashboard Fleet",
        '    ~ folder: "" → "barograph"',
    ),
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
    point = {"name": "tickets", "type": "email", "settings": {"addresses": "ops@example.com"}}
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


def test_integrations_of_one_name_are_distinguished(stub: StubGrafana) -> None:
    def points(url: str) -> tuple[dict[str, Any], ...]:
        return (
            {"uid": "a", "name": "both", "type": "slack", "settings": {"url": "s3cret", "title": url}},
            {"uid": "b", "name": "both", "type": "webhook", "settings": {"url": url}},
            {"uid": "c", "name": "both", "type": "webhook", "settings": {"url": "http://third"}},
        )

    desired = bundle(contact_points=(*bundle().contact_points, *points("http://x")))
    apply(stub, desired)
    assert {point["uid"]: point["type"] for point in stub.state.points if point["name"] == "both"} == {
        "a": "slack",
        "b": "webhook",
        "c": "webhook",
    }
    assert_settled(stub, desired)
    stub.writes.clear()
    changed = bundle(contact_points=(*bundle().contact_points, *points("http://y")))
    apply(stub, changed)
    assert [write for write in stub.writes if write != LEDGER] == [
        "PUT v1/provisioning/contact-points/a",
        "PUT v1/provisioning/contact-points/b",
    ]
    assert_settled(stub, changed)


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


def test_a_provisioned_data_source_stops_the_apply(stub: StubGrafana) -> None:
    stub.state.answer("POST", ["datasources"], {}, bundle().data_source, {})
    stub.state.sources["barograph"]["readOnly"] = True
    with pytest.raises(GrafanaError, match="data source Barograph is provisioned from a file"):
        apply(stub, overwrite=True)
    assert stub.writes == []


def test_a_changed_secret_is_written_and_not_shown(applied: StubGrafana) -> None:
    first, second = bundle().contact_points
    desired = bundle(contact_points=({**first, "settings": {**first["settings"], "integrationKey": "rotated"}}, second))
    assert lines(applied, desired) == [f"~ Grafana: contact point pager {ODD_NAME} (pagerduty)", "    ~ secrets"]
    apply(applied, desired)
    assert applied.writes[1].startswith("PUT v1/provisioning/contact-points/")
    assert applied.state.secrets[applied.state.points[0]["uid"]] == {"integrationKey": "rotated"}
    assert_settled(applied, desired)


def test_a_difference_between_sent_and_stored_is_reported_once(stub: StubGrafana) -> None:
    misspelt = {**rule("r-1", "drift"), "keepFiringFor": "1h"}
    desired = bundle(rule_groups=(group(GROUP, misspelt),))
    plan_made = apply(stub, desired)
    assert plan_made.notes == (
        f"rule group {GROUP}: Grafana stored it differently than sent: + rules[drift].keepFiringFor",
    )
    assert_settled(stub, desired)


def test_secrets_of_unknown_types_cause_no_repeated_writes(stub: StubGrafana) -> None:
    point = {"name": "others", "type": "opsgenie", "settings": {"apiKey": "s3cret", "url": "http://o"}}
    desired = bundle(contact_points=(*bundle().contact_points, point))
    apply(stub, desired)
    assert_settled(stub, desired)


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
        ({"alerts_folder_title": bundle().folder_title}, "has the folder .* twice"),
        ({"dashboards": ({"title": "no uid"},)}, "A dashboard for Grafana has the uid None"),
        (
            {"dashboards": (dashboard("a", "A"), dashboard("a", "B"))},
            "The bundle for Grafana has the dashboard 'a' twice",
        ),
        ({"rule_groups": (group("g", {**rule("x", "t"), "uid": "é"}),)}, "A rule for Grafana has the uid 'é'"),
        ({"rule_groups": (group("a", rule("x", "t")), group("b", rule("x", "t")))}, "has the rule 'x' twice"),
        ({"rule_groups": (group("..", rule("x", "t")),)}, "cannot be part of a Grafana URL"),
        ({"route": {"receiver": "tickets"}}, "has no object_matchers"),
        ({"mute_timings": ({"time_intervals": []},)}, "A mute timing for Grafana has the name None"),
    ],
)
def test_a_bundle_with_invalid_identifiers_is_rejected(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApplyError, match=sentence):
        bundle(**changes)
