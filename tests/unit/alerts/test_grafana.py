import copy
import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml

from barograph_server.alerts import AlertsError, AlertSettings, rules_for, to_api, to_files
from barograph_server.alerts.example import ALERTING, RUNBOOKS
from barograph_server.alerts.files import to_yaml, write_files
from barograph_server.alerts.lint import lint
from barograph_server.alerts.routing import PAGE_REPEAT_S, TICKET_REPEAT_S, branch
from barograph_server.alerts.schema import DURATION, FILE, INTERVAL, POLICY, RECEIVER, RULE, Shape, faults
from barograph_server.alerts.settings import Integration, MuteTiming
from barograph_server.alerts.simulator import Alert, dispatch
from barograph_server.alerts.simulator.notify import Notification, destination, is_muted
from barograph_server.alerts.webhooks import PAGERDUTY_URL, AlertMessage, AlertRequest, Sender
from barograph_server.dashboards.macros import TimeRange, expand_backend
from tests.support.alerting import ODD, SECRETS, contracts, installation
from tests.support.grafana_provisioning import expanded

SETTINGS = installation()
RULES = rules_for(contracts(), SETTINGS)
BOOKS = {path.name for path in RUNBOOKS.glob("*.md")}
SPELLING = {"keepFiringFor": "keep_firing_for", "missing_series_evals_to_resolve": "missingSeriesEvalsToResolve"}
"""Key of a rule in a file → in the API."""

API_RULE = RULE | {
    "orgID": int,
    "folderUID": str,
    "ruleGroup": str,
    "keep_firing_for": DURATION,
    "missingSeriesEvalsToResolve": int,
}
API_GROUP = {"title": str, "folderUid": str, "interval": int, "rules": [API_RULE]}
API_CONTACT_POINT = {"name": str} | RECEIVER
API_MUTE_TIMING = {"name": str, "time_intervals": [INTERVAL]}


@cache
def files() -> dict[str, Any]:
    texts = {name: to_yaml(content) for name, content in to_files(RULES, SETTINGS).items()}
    return {name: yaml.load(text, Loader=yaml.CSafeLoader) for name, text in texts.items()}


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
        content = copy.deepcopy(files()["rules-price.yaml"])
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
        for sql in (query["model"]["rawSql"] for query in rule["data"] if "rawSql" in query["model"]):
            assert "50 %" not in sql
            expand_backend(sql, TimeRange(0, 3_600_000))
    assert any(ODD in group["name"] for group in objects("groups"))


def rule_of(content: Any) -> Any:
    return content["rules-price.yaml"]["groups"][0]["rules"][0]


def model(content: Any, ref: int = 0) -> Any:
    return rule_of(content)["data"][ref]["model"]


def route_tree(content: Any) -> Any:
    return content["policies.yaml"]["policies"][0]["routes"][0]


FAULTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no wait": (lambda files: rule_of(files).update({"for": "0s"}), "pages at its first evaluation"),
    "no state": (lambda files: rule_of(files).pop("noDataState"), ".noDataState: is missing"),
    "runbook": (lambda files: rule_of(files)["annotations"].update(runbook_url="https://x/y.md"), "is not a runbook"),
    "panel": (lambda files: rule_of(files)["annotations"].update(__panelId__="999"), "links to panel 999"),
    "other panel": (
        lambda files: rule_of(files)["annotations"].update(page="/d/barograph-model?var-model=m"),
        "its message links '/d/barograph-model?var-model=m', not panel",
    ),
    "other number": (
        lambda files: rule_of(files)["annotations"].update(
            __dashboardUid__="barograph-model", __panelId__="12", page="/d/barograph-model?viewPanel=12"
        ),
        "panel 12 of dashboard barograph-model reads ",
    ),
    "hidden label": (
        lambda files: model(files).update(rawSql=model(files)["rawSql"].replace("key AS field", "key AS source")),
        "the label source of its query is also one of its own",
    ),
    "team": (lambda files: rule_of(files)["labels"].pop("team"), "has no label team, which routing needs"),
    "severity": (lambda files: rule_of(files)["labels"].update(severity="high"), "'high', neither page nor ticket"),
    "summary": (lambda files: rule_of(files)["annotations"].pop("summary"), "has no summary"),
    "variable": (lambda files: model(files).update(rawSql="SELECT '' = $model"), "$model is a dashboard variable"),
    "macro": (lambda files: model(files).update(rawSql="SELECT $__lttb(1)"), "$__lttb is not a macro"),
    "format": (lambda files: model(files).update(format=0), "query A has format 0; rules need format 1"),
    "no format": (lambda files: model(files).pop("format"), "query A.format: is missing"),
    "interval": (lambda files: model(files).update(intervalMs=1000), "has an interval of 1000 ms"),
    "source": (lambda files: model(files)["datasource"].update(uid="x"), "query A names two data sources"),
    "condition": (lambda files: rule_of(files).update(condition="Z"), "its condition Z is not one of its queries"),
    "expression": (lambda files: model(files, -1).update(expression="Z"), "Z, which is not one of its queries"),
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
    "receiver": (lambda files: route_tree(files).update(receiver="x"), "the contact point 'x' is not defined"),
    "timing": (lambda files: files.pop("mute-timings.yaml"), "the mute timing 'retraining' is not defined"),
    "no branch": (lambda files: route_tree(files)["object_matchers"].append(["a", "=", "x"]), "no policy matches it"),
    "no route": (lambda files: route_tree(files)["routes"].pop(), "no policy matches its route and severity"),
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


GROUP: Shape = {"name": str, "interval": DURATION, "*limit": int, "*ratio": float, "*rules": [{"labels": {"": str}}]}
VALID: dict[str, Any] = {"name": "drift", "interval": "1m"}


def test_a_fault_says_where_it_is() -> None:
    rules = [{"labels": {"model": "m"}}]
    assert list(faults({**VALID, "limit": 3, "ratio": 0.5, "rules": rules}, GROUP)) == []
    values: list[tuple[Any, str]] = [
        ([], "it: is no object"),
        ({"name": "drift"}, ".interval: is missing"),
        ({**VALID, "Name": "drift"}, ".Name: is no key that Grafana reads here"),
        ({**VALID, "name": 3}, ".name: is 3, no str"),
        ({**VALID, "limit": True}, ".limit: is True, no int"),
        ({**VALID, "ratio": "0.5"}, ".ratio: is '0.5', no number"),
        ({**VALID, "rules": {}}, ".rules: is no list"),
        ({**VALID, "rules": [{"labels": []}]}, ".rules[0].labels: is no object"),
        ({**VALID, "rules": [{"labels": {"model": 1}}]}, ".rules[0].labels.model: is 1, no str"),
    ]
    for value, fault in values:
        assert list(faults(value, GROUP)) == [fault]
    # A duration has a form, and a choice its words.
    (fault,) = faults({**VALID, "interval": "soon"}, GROUP)
    assert fault.startswith(".interval: is 'soon', not of the form ")
    assert list(faults("fax", ("slack", "webhook"))) == ["it: is 'fax', not one of slack, webhook"]


TREE = branch(rules_for(contracts(), SETTINGS), SETTINGS)
HOUR, DAY = 3600, 86_400
T0 = int(datetime(2026, 3, 2, tzinfo=ZoneInfo("UTC")).timestamp())
"""A Monday."""
BERLIN = ZoneInfo("Europe/Berlin")


def alert(start: int, end: int | None, field: str = "x", **labels: str) -> Alert:
    known = {"source": "barograph", "model": "m", "severity": "page", "route": "#risk", "field": field}
    return Alert(tuple(sorted((known | labels).items())), T0 + start, None if end is None else T0 + end)


def sent(*alerts: Alert, until: int = 30 * DAY) -> list[tuple[int, str, int, int, bool]]:
    return [
        (each.at - T0, each.point, len(each.firing), len(each.resolved), each.is_repeat)
        for each in dispatch(alerts, TREE, SETTINGS, T0 + until)
    ]


def test_fields_of_one_model_are_one_message_and_models_and_severities_have_their_own() -> None:
    result = sent(alert(0, None, "a"), alert(10, None, "b"), alert(100, None, "c"), until=HOUR)
    assert result == [(30, "oncall", 2, 0, False), (330, "oncall", 3, 0, False)]
    result = sent(alert(0, None), alert(0, None, model="n"), alert(0, None, severity="ticket"), until=60)
    assert result == [(30, "oncall", 1, 0, False), (30, "oncall", 1, 0, False), (30, "tickets", 1, 0, False)]


def test_firing_alerts_repeat_and_pages_sooner_than_tickets() -> None:
    for severity, repeat_s in (("page", PAGE_REPEAT_S), ("ticket", TICKET_REPEAT_S)):
        repeats = [at for at, *_, is_repeat in sent(alert(0, None, severity=severity), until=3 * DAY) if is_repeat]
        assert repeats[:2] == [30 + repeat_s, 30 + 2 * repeat_s]


def test_an_alert_that_is_resolved_within_the_wait_is_not_sent_and_a_group_starts_again() -> None:
    assert sent(alert(0, 20)) == []
    assert sent(alert(0, HOUR), alert(40, 200, "b"))[0][2:4] == (1, 0)
    assert len(sent(alert(0, HOUR), alert(40, 200, "b"))) == 2
    assert [at for at, *_ in sent(alert(0, HOUR), alert(DAY, DAY + HOUR))] == [30, HOUR + 30, DAY + 30, DAY + HOUR + 30]


def test_late_verdicts_of_all_models_and_missing_processors_are_one_page() -> None:
    late = {"signal": "pipeline", "cause": "pipeline-lag", "route": "platform"}
    alerts = [alert(10 * i, None, model=f"m{i}", **late) for i in range(3)]
    missing = alert(0, None, **{**late, "model": "", "cause": "processor-gone"})
    assert sent(missing, *alerts, until=60) == [(30, "platform", 4, 0, False)]


def test_a_mute_timing_holds_back_until_it_ends() -> None:
    sunday = int(datetime(2026, 3, 8, 1, 30, tzinfo=BERLIN).timestamp()) - T0
    end = int(datetime(2026, 3, 8, 5, tzinfo=BERLIN).timestamp()) - T0
    result = sent(alert(sunday, None, mute="retraining", model=ODD), until=sunday + DAY // 4)
    assert end <= result[0][0] <= end + 300
    assert sent(alert(sunday, sunday + HOUR, mute="retraining", model=ODD), until=sunday + DAY) == []
    assert sent(alert(sunday, None, model=ODD), until=sunday + HOUR)[0][0] == sunday + 30


def test_rules_that_cannot_be_evaluated_alert_the_platform_team() -> None:
    labels = {"source": "barograph", "severity": "page", "route": "#risk", "alertname": "DatasourceError"}
    where = destination(TREE, labels)
    assert (where.point, where.group_by) == ("platform", ("alertname",))
    assert destination(TREE, {"source": "barograph", "route": "nowhere"}).point == "tickets"


def test_mute_timings_hold_by_local_clock() -> None:
    def at(day: int, hour: int, minute: int) -> int:
        return int(datetime(2026, 3, day, hour, minute, tzinfo=BERLIN).timestamp())

    zone = "Europe/Berlin"
    for timing, muted, told_at in (
        (MuteTiming(times=(("01:00", "05:00"),), timezone=zone), (2, 1, 0), (2, 5, 0)),
        (MuteTiming(weekdays=("monday:friday",), timezone=zone), (6, 23, 59), (7, 0, 0)),
        (MuteTiming(days_of_month=("-1",), timezone=zone), (31, 12, 0), (30, 12, 0)),
        (MuteTiming(months=("3",), days_of_month=("1:7",), timezone=zone), (7, 9, 0), (8, 9, 0)),
    ):
        assert is_muted(timing, at(*muted)), timing
        assert not is_muted(timing, at(*told_at)), timing


HOOK = Integration("webhook", "HOOK_URL", "HOOK_TOKEN")
PAGER = Integration("pagerduty", "PAGER_KEY")
SLACK = Integration("slack", "SLACK_URL")
ENVIRON = {
    "HOOK_URL": "https://hook.example/in",
    "HOOK_TOKEN": "swordfish",
    "PAGER_KEY": "k" * 32,
    "SLACK_URL": "https://slack.example/services/s",
}
ALERT = Alert((("field", "x"), ("model", "m")), 1_767_225_600, None)
ENDED = Alert((("field", "y"), ("model", "m")), 1_767_225_600, 1_767_229_200)


def message(alert: Alert, page_url: str = "https://grafana.example/d/field?var-model=m") -> AlertMessage:
    texts = ("PSI <major>", "m: PSI of x is 0.3 <", "First: look.", "text", page_url, "https://runbook.example/psi")
    return AlertMessage(alert, *texts, {"A": 0.3, "B": float("nan")})


def request(integration: Integration, *messages: AlertMessage, environ: dict[str, str] = ENVIRON) -> Any:
    firing = tuple(each.alert for each in messages if each.alert.end is None)
    resolved = tuple(each.alert for each in messages if each.alert.end is not None)
    notification = Notification(1_767_225_630, "oncall", (("model", "m"),), firing, resolved, is_repeat=False)
    return Sender(installation(), environ, pytest.fail).request(integration, notification, messages)


def body(sent: AlertRequest) -> Any:
    return json.loads(sent.body)


def test_a_webhook_gets_every_alert_and_the_bearer_token() -> None:
    sent = request(HOOK, message(ALERT), message(ENDED))
    assert sent.url == "https://hook.example/in"
    assert sent.headers["Authorization"] == "Bearer swordfish"
    assert "swordfish" not in repr(sent)
    parsed = body(sent)
    assert (parsed["status"], parsed["title"]) == ("firing", "m: PSI of x is 0.3 <")
    assert parsed["groupLabels"] == {"model": "m"}
    assert [(each["status"], each["endsAt"]) for each in parsed["alerts"]] == [
        ("firing", None),
        ("resolved", "2026-01-01T01:00:00+00:00"),
    ]
    assert parsed["alerts"][0]["values"] == {"A": 0.3}
    assert request(Integration("webhook", "HOOK_URL"), message(ALERT)).headers.keys() == {"Content-Type"}


def test_pagerduty_closes_the_incident_that_it_opened() -> None:
    opened, closed = body(request(PAGER, message(ALERT))), body(request(PAGER, message(ENDED)))
    assert request(PAGER, message(ALERT)).url == PAGERDUTY_URL
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"]
    assert opened["routing_key"] == "k" * 32
    assert opened["payload"]["summary"] == "m: PSI of x is 0.3 <"
    assert opened["payload"]["custom_details"] == {
        "PSI <major>": "m: PSI of x is 0.3 < First: look. Firing since 2026-01-01 00:00 UTC."
    }
    assert opened["links"] == [{"href": "https://grafana.example/d/field?var-model=m", "text": "PSI <major>"}]
    assert "payload" not in closed


def test_slack_text_is_escaped_and_links_only_to_absolute_urls() -> None:
    (text,) = body(request(SLACK, message(ALERT), message(ENDED, "/d/field?var-model=m"))).values()
    heading, firing, resolved = text.splitlines()
    assert heading == "*m: PSI of x is 0.3 &lt;*"
    page = "<https://grafana.example/d/field?var-model=m|panel> <https://runbook.example/psi|runbook>"
    assert firing == f"• m: PSI of x is 0.3 &lt; First: look. Firing since 2026-01-01 00:00 UTC. {page}"
    (alone,) = body(request(SLACK, message(ALERT))).values()
    assert alone.splitlines()[1].startswith("• First: look."), "the summary is the heading"
    assert resolved.startswith("• resolved: ")
    assert "|panel>" not in resolved


def test_a_missing_variable_and_what_is_no_url_are_named_and_not_quoted() -> None:
    for variable in ("HOOK_URL", "HOOK_TOKEN"):
        problem = request(HOOK, message(ALERT), environ={**ENVIRON, variable: " "})
        assert problem == f"{variable} is not set, so no webhook notification is sent; export it."
    for url in ("swordfish", "file:///etc/passwd", "http://[swordfish"):
        problem = request(HOOK, message(ALERT), environ={**ENVIRON, "HOOK_URL": url})
        assert problem.startswith("HOOK_URL is not a URL that starts with http:// or https://")
        assert "swordfish" not in problem
