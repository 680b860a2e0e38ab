"""Deploying to a Grafana: twice, changed, edited by hand, not ours, from files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli.apply.grafana import Bundle, GrafanaError
from cli.apply.grafana.show import grafana_lines, left_sentence
from cli.errors import ApplyError
from tests.support.grafana_apply import apply, assert_settled, plan
from tests.support.grafana_bundle import KEY, ODD_NAME, bundle, dashboard, group, rule
from tests.support.grafana_state import Answer, GrafanaState
from tests.support.stub_grafana import TOKEN, StubGrafana, serving

OBJECTS = 9
LEDGER = "PUT datasources/uid/barograph"
"""The write that begins an apply, and the one that ends it."""
GROUP = f"model {ODD_NAME}"


@pytest.fixture
def stub() -> Iterator[StubGrafana]:
    with serving() as result:
        yield result


@pytest.fixture
def applied(stub: StubGrafana) -> StubGrafana:
    """A Grafana that was applied to."""
    apply(stub)
    stub.writes.clear()
    return stub


def lines(stub: StubGrafana, wanted: Bundle | None = None, *, overwrite: bool = False) -> list[str]:
    return list(grafana_lines(plan(stub, wanted, overwrite=overwrite)))


def test_everything_is_written_in_order_and_the_second_apply_writes_nothing(stub: StubGrafana) -> None:
    assert not plan(stub).is_empty
    assert not stub.writes
    done = apply(stub)
    assert [line[:2] for line in grafana_lines(done)] == ["+ "] * OBJECTS
    assert [write.split(f" {ODD_NAME}")[0] for write in stub.writes] == [
        "POST datasources",
        "POST folders",
        "POST v1/provisioning/contact-points",
        "POST v1/provisioning/contact-points",
        "POST v1/provisioning/mute-timings",
        "PUT v1/provisioning/policies",
        "POST dashboards/db",
        "POST dashboards/db",
        "PUT v1/provisioning/folder/barograph/rule-groups/model",
        LEDGER,
    ]
    state = copy.deepcopy(stub.state)
    assert_settled(stub)
    assert stub.state == state
    assert lines(stub) == []


def test_what_is_there_is_what_was_wanted_under_its_own_names(applied: StubGrafana) -> None:
    state, expected = applied.state, bundle()
    assert state.folders["barograph"]["title"] == expected.folder_title
    for board in expected.dashboards:
        stored = state.dashboards[board["uid"]]
        assert stored["folder"] == "barograph"
        assert {key: stored["dashboard"][key] for key in board} == board
    assert [(point["name"], point["provenance"]) for point in state.points] == [
        (f"pager {ODD_NAME}", "api"),
        ("tickets", "api"),
    ]
    assert state.secrets[state.points[0]["uid"]] == {"integrationKey": KEY}
    assert state.secrets["barograph"] == {"password": "swordfish"}
    assert list(state.timings) == [f"retraining {ODD_NAME}"]
    stored_group = state.groups["barograph", GROUP]
    assert [(result["uid"], result["for"], result["keep_firing_for"]) for result in stored_group["rules"]] == [
        ("r-1", "1h30m", "1d"),
        ("r-2", "1h30m", "1d"),
    ]
    assert stored_group["rules"][0]["labels"] == {"model": ODD_NAME, "severity": "page"}
    assert stored_group["rules"][0]["data"][0]["model"]["rawSql"] == "SELECT 1"


def test_the_ledger_holds_no_secret(applied: StubGrafana) -> None:
    ledger = json.dumps(applied.state.sources["barograph"]["jsonData"]["barograph"])
    assert "open" not in ledger
    for secret in ("swordfish", KEY, "xyzzy", TOKEN):
        assert secret not in ledger


def test_a_change_is_shown_by_key_and_written_alone(applied: StubGrafana) -> None:
    changed = dashboard("barograph-fleet", "Fleet")
    changed["panels"][0]["title"] = "PSI"
    changed["refresh"] = "1m"
    expected = bundle(dashboards=(changed, bundle().dashboards[1]))
    assert lines(applied, expected) == [
        "~ Grafana: dashboard Fleet",
        '    ~ panels[Drift].title: "Drift" → "PSI"',
        "    + refresh",
    ]
    apply(applied, expected)
    assert applied.writes == [LEDGER, "POST dashboards/db", LEDGER]
    assert applied.state.dashboards["barograph-fleet"]["version"] == 2
    assert_settled(applied, expected)


def test_a_rule_that_goes_goes_with_its_group(applied: StubGrafana) -> None:
    expected = bundle(rule_groups=(group(GROUP, rule("r-1", "drift", **{"for": "5m"})),))
    assert lines(applied, expected) == [
        f"~ Grafana: rule group {GROUP}",
        "    ~ rules[drift].for: 5400 → 300",
        "    - rules[nulls]",
    ]
    apply(applied, expected)
    assert [result["uid"] for result in applied.state.groups["barograph", GROUP]["rules"]] == ["r-1"]
    assert_settled(applied, expected)


def rename(state: GrafanaState) -> None:
    state.folders["barograph"] |= {"title": "Ours", "version": 7}


def repoint(state: GrafanaState) -> None:
    state.edit_source("barograph", lambda source: source["jsonData"].update(host="elsewhere"))


def reroute(state: GrafanaState) -> None:
    state.tree["routes"][0]["repeat_interval"] = "5m"


def remute(state: GrafanaState) -> None:
    state.timings[f"retraining {ODD_NAME}"]["time_intervals"][0]["weekdays"] = ["monday"]


def resettle(state: GrafanaState) -> None:
    state.points[1]["settings"]["url"] = "http://elsewhere/?token=s3cret"


def redraw(state: GrafanaState) -> None:
    state.edit_dashboard("barograph-fleet", lambda board: board["panels"].append({"id": 9, "title": "Mine"}))


def link(state: GrafanaState) -> None:
    state.edit_dashboard("barograph-fleet", lambda board: board.update(links=[{"title": "wiki"}]))


def move(state: GrafanaState) -> None:
    state.dashboards["barograph-fleet"] |= {"folder": "", "by": "anna"}


def retune(state: GrafanaState) -> None:
    state.groups["barograph", GROUP]["rules"][1]["for"] = "5m"


SHOWN_TITLE = json.dumps(f"Models {ODD_NAME}", ensure_ascii=False)[:40] + "…"
TIMING = f"mute timing retraining {ODD_NAME}"
EDITS: dict[str, tuple[Callable[[GrafanaState], None], str, str]] = {
    "folder": (rename, f"folder Models {ODD_NAME}", f'    ~ title: "Ours" → {SHOWN_TITLE}'),
    "data source": (repoint, "data source Barograph", '    ~ jsonData.host: "elsewhere" → "clickhouse"'),
    "route": (reroute, "notification policy team=ml product=barograph", "    ~ repeat_interval: 300 → 86400"),
    "mute timing": (remute, TIMING, '    ~ time_intervals[0].weekdays[0]: "monday" → "sunday"'),
    # No value is shown of a contact point: addresses of webhooks hold tokens.
    "contact point": (resettle, "contact point tickets (webhook)", "    ~ settings.url"),
    "panel": (redraw, "dashboard Fleet", "    - panels[Mine]"),
    "key": (link, "dashboard Fleet", "    - links"),
    "moved": (move, "dashboard Fleet", '    ~ folder: "" → "barograph"'),
    "rule": (retune, f"rule group {GROUP}", "    ~ rules[nulls].for: 300 → 5400"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_hand_is_shown_and_kept_until_it_is_to_be_overwritten(applied: StubGrafana, edit: str) -> None:
    change, label, difference = EDITS[edit]
    change(applied.state)
    edited = copy.deepcopy(applied.state)
    first, *rest = lines(applied)
    assert first.startswith(f"! Grafana: {label} was edited by hand since the last apply")
    assert first.endswith("--overwrite-grafana puts ours back")
    assert ("(by anna, 2026-03-01 03:04)" in first) == ("dashboard" in label)
    assert rest == [difference]
    done = apply(applied)
    assert applied.writes == []
    assert applied.state == edited
    assert label in left_sentence(done)
    assert not done.is_empty
    over = lines(applied, overwrite=True)
    assert over[0].startswith(f"~ Grafana: {label}, over what was edited by hand")
    apply(applied, overwrite=True)
    assert_settled(applied)


def test_an_edit_by_hand_is_kept_while_the_rest_is_applied_and_when_ours_changes_too(applied: StubGrafana) -> None:
    redraw(applied.state)
    changed = dashboard("barograph-fleet", "Fleet")
    changed["refresh"] = "1m"
    expected = bundle(dashboards=(changed, dashboard("barograph-model", "Model")))
    done = apply(applied, expected)
    assert [finding.item.name for finding in done.left] == ["Fleet"]
    assert applied.writes == [LEDGER, "POST dashboards/db", LEDGER]
    assert applied.state.dashboards["barograph-model"]["dashboard"]["title"] == "Model"
    assert applied.state.dashboards["barograph-fleet"]["dashboard"]["panels"][-1]["title"] == "Mine"
    # Undone by hand it is ours again, and takes what changed meanwhile.
    applied.state.edit_dashboard("barograph-fleet", lambda board: board["panels"].pop())
    apply(applied, expected)
    assert applied.state.dashboards["barograph-fleet"]["dashboard"]["refresh"] == "1m"
    assert_settled(applied, expected)


def test_a_data_source_that_was_edited_keeps_its_edit_when_the_ledger_is_written(applied: StubGrafana) -> None:
    repoint(applied.state)
    expected = bundle(dashboards=(dashboard("barograph-fleet", "New"),))
    apply(applied, expected)
    source = applied.state.sources["barograph"]
    assert source["jsonData"]["host"] == "elsewhere"
    assert applied.state.secrets["barograph"] == {"password": "swordfish"}
    assert applied.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "New"


def test_what_was_deleted_by_hand_comes_back_and_is_said(applied: StubGrafana) -> None:
    del applied.state.dashboards["barograph-fleet"]
    assert lines(applied) == ["+ Grafana: dashboard Fleet, which somebody deleted"]
    apply(applied)
    assert "barograph-fleet" in applied.state.dashboards
    assert_settled(applied)


def test_somebody_who_saves_between_our_look_and_our_write_is_not_overwritten(applied: StubGrafana) -> None:
    def save_first(stub: StubGrafana, answer: Callable[[], Answer]) -> Answer:
        redraw(stub.state)
        return answer()

    expected = bundle(dashboards=(dashboard("barograph-fleet", "New"), bundle().dashboards[1]))
    applied.faults = {2: save_first}  # the first is the ledger
    done = apply(applied, expected)
    assert [finding.item.name for finding in done.left] == ["New"]
    stored = applied.state.dashboards["barograph-fleet"]
    assert (stored["dashboard"]["title"], stored["dashboard"]["panels"][-1]["title"]) == ("Fleet", "Mine")


def test_somebody_who_saves_the_data_source_meanwhile_is_not_overwritten(applied: StubGrafana) -> None:
    def save_first(stub: StubGrafana, answer: Callable[[], Answer]) -> Answer:
        repoint(stub.state)
        return answer()

    settings = {**bundle().data_source["jsonData"], "port": 8443}
    expected = bundle(data_source={**bundle().data_source, "jsonData": settings})
    applied.faults = {1: save_first}
    done = apply(applied, expected)
    assert [finding.item.kind for finding in done.left] == ["data source"]
    stored = applied.state.sources["barograph"]["jsonData"]
    assert (stored["host"], stored["port"]) == ("elsewhere", 8123)


def test_what_has_our_name_and_is_not_ours_is_left_until_it_is_to_be_taken_over(stub: StubGrafana) -> None:
    expected = bundle()
    own_fleet = {"title": "Fleet of ships", "panels": [], "uid": "barograph-fleet"}
    stub.state.answer("POST", ["dashboards", "db"], {}, {"dashboard": own_fleet}, {})
    point = {"name": "tickets", "type": "webhook", "settings": {"url": "http://others"}}
    stub.state.answer("POST", ["v1", "provisioning", "contact-points"], {}, point, {"X-Disable-Provenance": "true"})
    done = apply(stub, expected)
    assert {finding.item.label for finding in done.left} == {"dashboard Fleet", "contact point tickets (webhook)"}
    assert stub.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "Fleet of ships"
    left = [line for line in lines(stub, expected) if line.startswith("!")]
    assert all("is there and was not applied from here" in line for line in left)
    apply(stub, expected, overwrite=True)
    assert stub.state.dashboards["barograph-fleet"]["dashboard"]["title"] == "Fleet"
    assert [result["settings"]["url"] for result in stub.state.points if result["name"] == "tickets"] == [
        "http://tickets"
    ]
    assert_settled(stub, expected)


def test_a_contact_point_of_another_type_under_our_name_is_somebodys(stub: StubGrafana) -> None:
    point = {"name": "tickets", "type": "email", "settings": {"addresses": "ops@example.com"}}
    stub.state.answer("POST", ["v1", "provisioning", "contact-points"], {}, point, {})
    done = apply(stub)
    assert [finding.item.label for finding in done.left] == ["contact point tickets (webhook)"]
    assert [result["type"] for result in stub.state.points if result["name"] == "tickets"] == ["email"]
    apply(stub, overwrite=True)
    assert [result["type"] for result in stub.state.points if result["name"] == "tickets"] == ["webhook"]
    assert_settled(stub)


def test_integrations_of_one_name_are_told_apart(stub: StubGrafana) -> None:
    def points(url: str) -> tuple[dict[str, Any], ...]:
        return (
            {"uid": "a", "name": "both", "type": "slack", "settings": {"url": "s3cret", "title": url}},
            {"uid": "b", "name": "both", "type": "webhook", "settings": {"url": url}},
            {"uid": "c", "name": "both", "type": "webhook", "settings": {"url": "http://third"}},
        )

    expected = bundle(contact_points=(*bundle().contact_points, *points("http://x")))
    apply(stub, expected)
    assert {result["uid"]: result["type"] for result in stub.state.points if result["name"] == "both"} == {
        "a": "slack",
        "b": "webhook",
        "c": "webhook",
    }
    assert_settled(stub, expected)
    stub.writes.clear()
    changed = bundle(contact_points=(*bundle().contact_points, *points("http://y")))
    apply(stub, changed)
    assert [write for write in stub.writes if write != LEDGER] == [
        "PUT v1/provisioning/contact-points/a",
        "PUT v1/provisioning/contact-points/b",
    ]
    assert_settled(stub, changed)


def test_names_with_slashes_are_one_part_of_an_address(stub: StubGrafana) -> None:
    expected = bundle(rule_groups=(group("a/b/../c (every 5m)", rule("r-1", "drift")),), mute_timings=(), route=None)
    apply(stub, expected)
    assert list(stub.state.groups) == [("barograph", "a/b/../c (every 5m)")]
    assert_settled(stub, expected)


def test_a_data_source_under_our_uid_that_is_not_ours_stops_everything(stub: StubGrafana) -> None:
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
def test_policies_of_others_are_put_back_as_they_were(stub: StubGrafana, provenance: str) -> None:
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
    # Locking the tree would lock it for all who have routes in it.
    assert stub.state.tree_provenance == provenance
    # Where somebody moved ours, it stays.
    stub.state.tree["routes"] = [*others, ours]
    assert_settled(stub)
    apply(stub, bundle(route={**(bundle().route or {}), "group_by": ["model", "field"]}))
    assert stub.state.tree["routes"][:2] == OTHERS
    assert stub.state.tree["routes"][2]["group_by"] == ["model", "field"]


def test_what_else_is_in_our_folder_is_told_and_left(applied: StubGrafana) -> None:
    applied.state.answer(
        "POST", ["dashboards", "db"], {}, {"dashboard": {"uid": "x", "title": "Mine"}, "folderUid": "barograph"}, {}
    )
    expected = bundle(rule_groups=())
    assert lines(applied, expected) == [
        f"! Grafana: dashboard Mine in folder Models {ODD_NAME} is not ours and is left alone.",
        f"! Grafana: rule group {GROUP} was applied before and is not asked for any more: delete it in Grafana.",
    ]
    assert_settled(applied, expected)
    assert ("barograph", GROUP) in applied.state.groups


def test_what_comes_from_files_is_left_and_told(applied: StubGrafana) -> None:
    applied.state.dashboards["barograph-fleet"]["provisioned"] = True
    for result in applied.state.groups["barograph", GROUP]["rules"]:
        result["provenance"] = "file"
    assert_settled(applied)  # as long as it is the same
    changed = (dashboard("barograph-fleet", "New"), bundle().dashboards[1])
    expected = bundle(dashboards=changed, rule_groups=(group(GROUP, rule("r-1", "drift")),))
    for overwrite in (False, True):
        assert [line for line in lines(applied, expected, overwrite=overwrite) if line.startswith("!")] == [
            "! Grafana: dashboard New comes from a file and differs; take it out of Grafana's provisioning",
            f"! Grafana: rule group {GROUP} comes from a file and differs; take it out of Grafana's provisioning",
        ]
    applied.state.tree_provenance = "file"
    applied.state.tree["routes"] = []
    assert any("policy" in line and "comes from a file" in line for line in lines(applied, expected))


def test_a_data_source_from_a_file_stops_everything(stub: StubGrafana) -> None:
    stub.state.answer("POST", ["datasources"], {}, bundle().data_source, {})
    stub.state.sources["barograph"]["readOnly"] = True
    with pytest.raises(GrafanaError, match="data source Barograph is in Grafana from a file"):
        apply(stub, overwrite=True)
    assert stub.writes == []


def test_a_secret_that_changes_is_written_and_not_shown(applied: StubGrafana) -> None:
    first, second = bundle().contact_points
    expected = bundle(
        contact_points=({**first, "settings": {**first["settings"], "integrationKey": "rotated"}}, second)
    )
    assert lines(applied, expected) == [f"~ Grafana: contact point pager {ODD_NAME} (pagerduty)", "    ~ secrets"]
    apply(applied, expected)
    assert applied.writes[1].startswith("PUT v1/provisioning/contact-points/")
    assert applied.state.secrets[applied.state.points[0]["uid"]] == {"integrationKey": "rotated"}
    assert_settled(applied, expected)


def test_what_grafana_keeps_otherwise_than_sent_is_told_once(stub: StubGrafana) -> None:
    misspelt = {**rule("r-1", "drift"), "keepFiringFor": "1h"}
    expected = bundle(rule_groups=(group(GROUP, misspelt),))
    done = apply(stub, expected)
    assert done.notes == (
        f"rule group {GROUP}: Grafana keeps it otherwise than it was sent: + rules[drift].keepFiringFor",
    )
    assert_settled(stub, expected)


def test_secrets_of_types_that_we_do_not_know_settle_too(stub: StubGrafana) -> None:
    point = {"name": "others", "type": "opsgenie", "settings": {"apiKey": "s3cret", "url": "http://o"}}
    expected = bundle(contact_points=(*bundle().contact_points, point))
    apply(stub, expected)
    assert_settled(stub, expected)


def test_a_ledger_that_is_lost_is_made_anew_without_touching_anything(applied: StubGrafana) -> None:
    applied.state.edit_source("barograph", lambda source: source["jsonData"].pop("barograph"))
    # What has secrets is written once more, since nobody can read whether they are the same.
    done = apply(applied)
    assert not done.left
    assert [write.split("/")[0] for write in applied.writes if write != LEDGER] == ["PUT v1", "PUT v1"]
    assert_settled(applied)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"folder_uid": "a b"}, "A folder for Grafana has the uid 'a b'"),
        ({"dashboards": ({"title": "no uid"},)}, "A dashboard for Grafana has the uid None"),
        ({"dashboards": (dashboard("a", "A"), dashboard("a", "B"))}, "The dashboard 'a' is meant for Grafana twice"),
        ({"rule_groups": (group("g", {**rule("x", "t"), "uid": "é"}),)}, "A rule for Grafana has the uid 'é'"),
        ({"rule_groups": (group("a", rule("x", "t")), group("b", rule("x", "t")))}, "The rule 'x' is meant"),
        ({"rule_groups": (group("..", rule("x", "t")),)}, "cannot be part of an address"),
        ({"route": {"receiver": "tickets"}}, "has no object_matchers"),
        ({"mute_timings": ({"time_intervals": []},)}, "A mute timing for Grafana has the name None"),
    ],
)
def test_a_bundle_that_could_not_be_found_again_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApplyError, match=sentence):
        bundle(**changes)
