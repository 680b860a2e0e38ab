"""Files and API have the same content in two spellings that match Grafana's schemas; the lint reports each fault."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from barograph_server.alerts import AlertsError, AlertSettings, rules_for, to_api, to_files
from barograph_server.alerts.example import ALERTING, RUNBOOKS
from barograph_server.alerts.files import to_yaml, write_files
from barograph_server.alerts.lint import lint
from barograph_server.alerts.schema import API_CONTACT_POINT, API_GROUP, API_MUTE_TIMING, FILE, POLICY, faults
from barograph_server.dashboards.macros import TimeRange, expand_backend
from tests.support.alerting import ODD, SECRETS, contracts, installation
from tests.support.grafana_provisioning import expanded

SETTINGS = installation()
RULES = rules_for(contracts(), SETTINGS)
BOOKS = {path.name for path in RUNBOOKS.glob("*.md")}
SPELLING = {"keepFiringFor": "keep_firing_for", "missing_series_evals_to_resolve": "missingSeriesEvalsToResolve"}
"""Key of a rule in a file → in the API."""


@cache
def _parsed() -> dict[str, Any]:
    texts = {name: to_yaml(content) for name, content in to_files(RULES, SETTINGS).items()}
    return {name: yaml.load(text, Loader=yaml.CSafeLoader) for name, text in texts.items()}


def files() -> dict[str, Any]:
    return copy.deepcopy(_parsed())


def objects(kind: str) -> list[dict[str, Any]]:
    return [each for content in expanded(files(), SECRETS).values() for each in content.get(kind, [])]


@cache
def api() -> Any:
    return to_api(RULES, SETTINGS, SECRETS)


def test_rules_agree_field_by_field() -> None:
    in_api = {group["title"]: group for group in api().groups}
    for group in objects("groups"):
        body = in_api.pop(group["name"])
        assert body["folderUid"] == api().folder_uid
        assert group["folder"] == api().folder_title
        assert group["interval"] == f"{body['interval'] // 60}m"
        assert len(group["rules"]) == len(body["rules"])
        for of_file, of_api in zip(group["rules"], body["rules"], strict=True):
            renamed = {SPELLING.get(key, key): value for key, value in of_file.items()}
            assert renamed == {key: of_api[key] for key in renamed}
            assert of_api.keys() - renamed.keys() == {"orgID", "folderUID", "ruleGroup"}
            assert (of_api["folderUID"], of_api["ruleGroup"]) == (body["folderUid"], body["title"])
            assert {*SPELLING, "noDataState", "execErrState"} <= of_file.keys()
            assert {"__dashboardUid__", "__panelId__"} <= of_api["annotations"].keys()
    assert not in_api


def test_contact_points_policies_and_timings_agree() -> None:
    in_files = [
        {"name": point["name"], **receiver} for point in objects("contactPoints") for receiver in point["receivers"]
    ]
    assert in_files == list(api().contact_points)
    (tree,) = objects("policies")
    assert tree["routes"] == [api().policy]
    assert [{key: timing[key] for key in ("name", "time_intervals")} for timing in objects("muteTimes")] == list(
        api().mute_timings
    )


def test_both_are_of_grafanas_shape() -> None:
    assert not [fault for content in files().values() for fault in faults(content, FILE)]
    assert not [fault for group in api().groups for fault in faults(group, API_GROUP)]
    assert not [fault for point in api().contact_points for fault in faults(point, API_CONTACT_POINT)]
    assert not [fault for timing in api().mute_timings for fault in faults(timing, API_MUTE_TIMING)]
    assert not list(faults(api().policy, POLICY))
    assert json.loads(json.dumps(api().policy)) == api().policy


def test_a_key_of_the_other_spelling_is_found() -> None:
    for key in ("keep_firing_for", "missingSeriesEvalsToResolve", "KeepFiringFor"):
        content = files()["rules-price.yaml"]
        content["groups"][0]["rules"][0][key] = "5m"
        assert list(faults(content, FILE)) == [f".groups[0].rules[0].{key}: is no key that Grafana reads here"]


def test_secrets_stand_in_no_file() -> None:
    text = "".join(to_yaml(content) for content in to_files(RULES, SETTINGS).values())
    assert not [secret for secret in SECRETS.values() if secret in text]
    assert {"$SLACK_URL", "$PAGER_KEY", "$HOOK_URL", "$HOOK_TOKEN"} <= set(re.findall(r"\$[A-Z_]+", text))
    assert "SLACK_URL" not in repr(api().contact_points)
    with pytest.raises(AlertsError, match="not set: HOOK_TOKEN, HOOK_URL, PAGER_KEY; export them"):
        to_api(RULES, SETTINGS, {"SLACK_URL": "x"})


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        list(write_files(tmp_path / "file" / "alerting", {}))
    assert list(write_files(tmp_path / "new" / "alerting", {})) == []
    assert (tmp_path / "new" / "alerting").is_dir()


def go_template(text: str) -> str:
    """Render a text as Grafana's templating does, if its only actions print a string."""
    printed = '{{ "{{" }}'
    assert "{{" not in text.replace(printed, ""), f"an action of the model's name would run: {text}"
    return text.replace(printed, "{{")


def test_an_odd_name_survives_yaml_environment_templating_and_macros() -> None:
    odd = [rule for group in objects("groups") for rule in group["rules"] if "名前" in rule["title"]]
    assert odd
    for rule in odd:
        assert go_template(rule["labels"]["model"]) == ODD
        assert ODD in rule["title"]
        for query in rule["data"]:
            sql = query["model"].get("rawSql")
            if sql is not None:
                assert "50 %" not in sql
                expand_backend(sql, TimeRange(0, 3_600_000))
    assert any(ODD in group["name"] for group in objects("groups"))


# ------------------------------------------------------------------------------------------------ lint


def rule_of(content: dict[str, Any]) -> dict[str, Any]:
    rule: dict[str, Any] = content["rules-price.yaml"]["groups"][0]["rules"][0]
    return rule


def model(content: dict[str, Any], ref: int = 0) -> dict[str, Any]:
    result: dict[str, Any] = rule_of(content)["data"][ref]["model"]
    return result


def branch(content: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = content["policies.yaml"]["policies"][0]["routes"][0]
    return result


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no wait": (lambda files: rule_of(files).update({"for": "0s"}), "pages at its first evaluation"),
    "no state": (lambda files: rule_of(files).pop("noDataState"), ".noDataState: is missing"),
    "runbook": (
        lambda files: rule_of(files)["annotations"].update(runbook_url="https://x/y.md"),
        "its runbook_url leads to 'y.md', which is not a runbook",
    ),
    "panel": (lambda files: rule_of(files)["annotations"].update(__panelId__="999"), "links to panel 999"),
    "team": (lambda files: rule_of(files)["labels"].pop("team"), "has no label team, which routing needs"),
    "severity": (lambda files: rule_of(files)["labels"].update(severity="high"), "'high', neither page nor ticket"),
    "summary": (lambda files: rule_of(files)["annotations"].pop("summary"), "has no summary"),
    "variable": (
        lambda files: model(files).update(rawSql="SELECT '' WHERE m = $model"),
        "$model is a dashboard variable",
    ),
    "macro": (lambda files: model(files).update(rawSql="SELECT $__lttb(1)"), "$__lttb is not a macro"),
    "format": (lambda files: model(files).update(format=0), "query A has format 0; rules need format 1"),
    "no format": (lambda files: model(files).pop("format"), "query A.format: is missing"),
    "interval": (lambda files: model(files).update(intervalMs=1000), "has an interval of 1000 ms"),
    "source": (lambda files: model(files)["datasource"].update(uid="x"), "query A names two data sources"),
    "condition": (lambda files: rule_of(files).update(condition="Z"), "its condition Z is not one of its queries"),
    "expression": (
        lambda files: model(files, -1).update(expression="Z"),
        "evaluates Z, which is not one of its queries",
    ),
    "refs": (lambda files: rule_of(files)["data"][1].update(refId="A"), "two of its queries share a refId"),
    "no hysteresis": (lambda files: model(files, -1)["conditions"][0].pop("unloadEvaluator"), "so it flaps"),
    "long title": (lambda files: rule_of(files).update(title="x" * 191), "is longer than 190 characters"),
    "same uid": (
        lambda files: rule_of(files).update(uid=files["rules-price.yaml"]["groups"][0]["rules"][1]["uid"]),
        "this uid is used twice",
    ),
    "same group": (
        lambda files: files["rules-price.yaml"]["groups"].append(copy.deepcopy(files["rules-price.yaml"]["groups"][0])),
        "this group is used twice",
    ),
    "receiver": (lambda files: branch(files).update(receiver="x"), "the contact point 'x' is not defined"),
    "timing": (lambda files: files.pop("mute-timings.yaml"), "the mute timing 'retraining' is not defined"),
    "no branch": (lambda files: branch(files)["object_matchers"].append(["team", "=", "x"]), "no policy matches it"),
    "no route": (lambda files: branch(files)["routes"].pop(), "no policy matches its route and severity"),
}


def test_what_is_generated_has_no_fault_and_each_planted_one_is_caught() -> None:
    generated = to_files(RULES, SETTINGS)
    assert not lint(generated, BOOKS)
    plain = AlertSettings()
    assert not lint(to_files(rules_for(contracts(), plain), plain), BOOKS), "an installation without a section"
    for name, (change, expected) in FAULTS.items():
        content = copy.deepcopy(generated)
        change(content)
        result = lint(content, BOOKS)
        assert any(expected in problem for problem in result), (name, result)


def test_grafanas_generated_types_know_every_key_of_the_api() -> None:
    """They are made from Grafana's own definition: a key that they do not know is one that it would drop."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.alerting import NotificationPolicy, RuleGroup

    def known(kind: Any, body: Any) -> Any:
        return json.loads(JSONEncoder().encode(kind.from_json(copy.deepcopy(body))))

    for group in api().groups:
        read = known(RuleGroup, group)
        assert read["rules"][0]["keep_firing_for"] == group["rules"][0]["keep_firing_for"]
        for ours, theirs in zip(group["rules"], read["rules"], strict=True):
            assert ours.keys() <= theirs.keys(), ours.keys() - theirs.keys()
        assert group.keys() == read.keys()
    assert known(NotificationPolicy, api().policy) == api().policy


def test_compose_gives_grafana_every_variable_of_the_example() -> None:
    compose = yaml.safe_load((ALERTING.parents[2] / "docker-compose.yml").read_text("utf-8"))
    named = set(re.findall(r"\$([A-Z_]+)", (ALERTING / "contact-points.yaml").read_text("utf-8")))
    assert named
    assert named <= compose["services"]["grafana"]["environment"].keys()
