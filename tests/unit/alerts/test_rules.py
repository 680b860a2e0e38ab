import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from barograph.contract import Contract
from barograph.contract.alerts import QUALITY_RULES, RULES
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertsError, AlertSettings, Rule, read_alert_settings, rules_for, rules_of
from barograph_server.alerts.example import RUNBOOKS
from barograph_server.alerts.grafana import annotation_templates
from barograph_server.alerts.rule import CAUSES
from barograph_server.alerts.text import LabelRef, NumberRef, template, words
from tests.support.alerting import BINARY, MANY, NUMBER, ODD, SETTINGS, contracts, installation

PLAIN = AlertSettings()
SECTIONS = ("What it means", "How bad it is", "Mitigate first", "Find the cause", "Escalate", "Verify")


def rules_by_name(text: str) -> dict[tuple[str, str, str], Rule]:
    rules = rules_of(parse_contract(text), PLAIN)
    return {(rule.name, rule.severity, rule.part): rule for rule in rules}


def test_a_contract_has_the_rules_that_apply_to_it() -> None:
    assert {(name, severity) for name, severity, _ in rules_by_name(BINARY)} == {
        *(("psi-major", "page"), ("psi-major", "ticket"), ("psi-minor", "ticket")),
        ("mean-shift", "ticket"),
        *(("null-rate", "page"), ("null-rate", "ticket"), ("invalid-rate", "page"), ("invalid-rate", "ticket")),
        *(("unseen-rate", "page"), ("unseen-rate", "ticket"), ("range-rate", "page"), ("range-rate", "ticket")),
        *(("output-shift", "ticket"), ("performance", "ticket"), ("cbpe-drop", "ticket"), ("label-stop", "ticket")),
        *(("latency", "page"), ("errors", "page"), ("silence", "page"), ("performance-drop", "page")),
        *(("completeness", "ticket"), ("pipeline-lag", "page"), ("undeclared-reader", "ticket")),
    }
    assert {name for name, *_ in rules_by_name(NUMBER)} >= {"performance", "label-stop"}
    assert {name for name, *_ in rules_by_name(NUMBER)}.isdisjoint({"output-shift", "latency", "unseen-rate"})
    assert ("output-shift", "page", "") in rules_by_name(MANY)
    assert rules_by_name(MANY)["cbpe-drop", "ticket", ""].signal.keys == ("f1_macro",), "its SLO"
    grows = rules_by_name(NUMBER)["cbpe-drop", "ticket", ""]
    assert (grows.signal.keys, grows.signal.threshold) == (("mae",), 0.2), "four times that of points"
    promised = rules_by_name(NUMBER.replace("mae: 10", "rmse: 10"))["cbpe-drop", "ticket", ""]
    assert promised.signal.keys == ("rmse",), "its SLO"
    of_any_model = {name for name, *_ in rules_by_name("contract: 1\nmodel: m")}
    assert of_any_model == {"errors", "silence", "completeness", "pipeline-lag"}


def test_a_candidate_has_rules_of_its_own_and_only_harm_pages() -> None:
    rules = {name: rule for (name, *_), rule in rules_by_name(MANY).items() if name.startswith("shadow-")}
    tickets = dict.fromkeys(("shadow-lag", "shadow-missing", "shadow-decided"), "ticket")
    assert {name: rule.severity for name, rule in rules.items()} == {**tickets, "shadow-harm": "page"}
    assert rules["shadow-missing"].threshold == 0.02, "the margin of `missing`"
    without = rules_by_name(MANY.replace(", missing: 0.02", ""))
    assert without["shadow-missing", "ticket", ""].threshold == 0.05
    assert rules["shadow-lag"].threshold == 3 * 3600
    assert rules["shadow-decided"].signal.keys == ("hold", "keep", "promote", "roll back")
    for rule in rules.values():
        assert rule.page_path == (
            f"/d/barograph-shadow?viewPanel={rule.panel.panel_id}",
            "&var-model=species&var-candidate=it%27s%20%242&from=now-7776000s&to=now",
        )
    softer = MANY + "alerts: {rules: {shadow-harm: {severity: ticket}, shadow-lag: {at_least: 6h}}}"
    assert ("shadow-harm", "ticket", "") in rules_by_name(softer)
    assert rules_by_name(softer)["shadow-lag", "ticket", ""].threshold == 6 * 3600


def test_only_contracts_that_ask_for_drills_or_anchors_have_the_rules_on_them() -> None:
    assert {"drills-overdue", "judge-drift"}.isdisjoint(name for name, *_ in rules_by_name(BINARY))
    drift = rules_by_name(NUMBER)["judge-drift", "ticket", ""]
    assert drift.signal.keys == ("helpful has drifted", "helpful has used up its bank")
    plain = "contract: 1\nmodel: m\nalerts: {rules: {drills-overdue: {}}}"
    rule = rules_by_name(plain)["drills-overdue", "ticket", ""]
    assert (rule.threshold, rule.clear, rule.every_s) == (30 * 86_400, 30 * 86_400, 1800)
    assert rules_by_name(NUMBER)["drills-overdue", "ticket", ""].threshold == 20 * 86_400
    assert "drills-overdue" not in {name for name, *_ in rules_by_name(plain.replace("{}", "{severity: none}"))}


def test_fields_page_where_they_are_critical() -> None:
    rules = rules_by_name(BINARY)
    assert rules["psi-major", "page", ""].signal.keys == ("amount", "it's $odd")
    assert rules["psi-major", "ticket", ""].signal.keys == ("country",)
    assert rules["psi-minor", "ticket", ""].signal.keys == ("amount", "it's $odd")
    assert rules["output-shift", "ticket", ""].signal.keys == ("score", "class")
    assert rules["unseen-rate", "page", ""].signal.keys == ("it's $odd",)
    assert rules["range-rate", "page", ""].signal.keys == ("amount",)


def test_metrics_without_a_target_are_compared_with_the_reference() -> None:
    def drops(text: str) -> dict[tuple[str, str], tuple[tuple[str, ...], float, str]]:
        return {
            (severity, part): (rule.signal.keys, rule.threshold, rule.signal.short.window)
            for (name, severity, part), rule in rules_by_name(text).items()
            if name == "performance-drop"
        }

    large = ("page", "large")
    binary = {("page", ""): (("accuracy",), 0.05, "7d"), large: (("auc", "accuracy"), 0.1, "1d")}
    assert drops(BINARY) == binary, "auc and log_loss have targets"
    small = {("page", ""): (("accuracy",), 0.05, "7d"), ("page", "relative"): (("log_loss",), 0.2, "7d")}
    assert drops(MANY) == {**small, large: (("auc_macro", "accuracy"), 0.1, "1d")}
    assert drops(NUMBER) == {large: (("mae",), 0.4, "1d")}
    plain = "contract: 1\nmodel: m\nlabel: {type: float}\nthresholds: {rates: {major: 0.1}}"
    ticket = ("ticket", "relative")
    assert drops(plain) == {ticket: (("mae",), 0.4, "7d"), large: (("mae",), 0.8, "1d")}, "no field is critical"
    assert drops(plain + "\nalerts: {rules: {performance-drop: {severity: none}}}") == {}
    changed = "\nalerts: {rules: {performance-drop: {severity: page, threshold: 0.03, fast_threshold: 0.05}}}"
    assert drops(plain + changed) == {("page", "relative"): (("mae",), 0.12, "7d"), large: (("mae",), 0.2, "1d")}


def test_lines_are_the_contracts_and_clear_at_the_share_of_psi() -> None:
    thresholds = "thresholds: {psi: {minor: 0.05, major: 0.4, clear: 0.2}, rates: {minor: 0.02, major: 0.1}}"
    rules = rules_by_name(BINARY + thresholds)
    lines = {name: (rule.threshold, rule.clear) for (name, _, part), rule in rules.items() if not part}
    assert lines["psi-major"] == (0.4, 0.2)
    assert lines["psi-minor"] == (0.05, 0.025)
    assert lines["null-rate"] == (0.1, 0.05)
    assert lines["errors"] == (0.001, 0.0005)
    assert lines["latency"] == (0.01, 0.005)
    auc, log_loss = (rules["performance", "ticket", metric] for metric in ("auc", "log_loss"))
    assert (auc.threshold, auc.clear, auc.below) == (0.7, 0.7, True)
    assert (log_loss.threshold, log_loss.clear, log_loss.below) == (0.5, 0.5, False)


def test_a_target_for_the_range_of_a_field_is_a_rule_of_its_own() -> None:
    rule = rules_by_name(NUMBER)["field-slo", "page", "rooms"]
    assert (rule.signal.keys, rule.signal.threshold, rule.clear) == (("rooms",), 0.01, 0.0075)
    assert "1 to 40" in rule.description


def test_windows_are_the_two_longest_unless_the_contract_sets_them() -> None:
    def windows(text: str) -> tuple[str, str]:
        signal = rules_by_name(text)["psi-major", "page", ""].signal
        return signal.long.window if signal.long else "", signal.short.window

    assert windows(BINARY) == ("1d", "1h")
    assert windows(NUMBER) == ("", "1d")
    assert windows(NUMBER.replace("[{", "[{length: 7d, hop: 1d}, {")) == ("7d", "1d")
    text = BINARY.replace("alerts: {", "alerts: {windows: {long: 1h, short: 15m}, ")
    assert windows(text) == ("1h", "15m")
    # A window of the last events takes part with its longest span.
    assert windows(NUMBER.replace("[{", "[{last: 500, length: 7d, hop: 1d}, {")) == ("last 500", "1d")
    assert windows(text.replace("rules: {", "rules: {psi-major: {windows: {long: 15m}}, ")) == ("", "15m")
    rate = rules_by_name(text.replace("rules: {null-rate: {", "rules: {null-rate: {windows: {short: 1h}, "))
    assert rate["null-rate", "page", ""].signal.short.window == "1h"


def test_every_window_shorter_than_the_long_one_can_fire_a_drift_rule_alone() -> None:
    def fast(text: str, name: str = "psi-major", severity: str = "page") -> tuple[str, tuple[str, ...], float | None]:
        rule = rules_by_name(text)[name, severity, ""]
        return rule.signal.short.window, tuple(part.window for part in rule.signal.fast), rule.signal.fast_threshold

    assert fast(BINARY) == ("1h", ("15m",), 0.5)
    assert fast(BINARY, "output-shift", "ticket") == ("1h", ("15m",), 0.5)
    assert fast(BINARY, "psi-minor", "ticket") == ("1h", (), None), "a large shift is major"
    description = rules_by_name(BINARY)["psi-major", "page", ""].description
    assert "Also fires if the whole interval of the last 15m or the last 1h is above 0.5, with at least" in description
    assert "Also fires" not in rules_by_name(BINARY)["psi-minor", "ticket", ""].description
    assert fast(NUMBER) == ("1d", (), None), "one window"
    assert fast(BINARY.replace("alerts: {", "alerts: {windows: {long: 1h, short: 1h}, ")) == ("1h", (), None)
    assert fast(BINARY.replace("alerts: {", "alerts: {windows: {short: 15m}, ")) == ("15m", ("1h",), 0.5)
    changed = BINARY.replace("rules: {", "rules: {psi-major: {threshold: 0.3}, ")
    assert fast(changed)[2] == 0.75
    assert fast(changed.replace("threshold: 0.3", "fast_threshold: 0.9"))[2] == 0.9


def test_runbooks_are_links_or_paths_in_grafana() -> None:
    rule = rules_by_name(BINARY)["latency", "page", ""]

    def runbook(runbooks: str, grafana_url: str = "") -> str:
        settings = dataclasses.replace(PLAIN, runbooks=runbooks, grafana_url=grafana_url)
        return annotation_templates(rule, settings)["runbook_url"]

    assert runbook("https://r.example/books/") == "https://r.example/books/latency.html"
    assert runbook("/public/runbooks", "https://g.example/sub") == "https://g.example/sub/public/runbooks/latency.html"
    assert runbook("https://r.example/{rule}.md") == "https://r.example/latency.md"
    assert runbook("/public/runbooks") == '{{ reReplaceAll "/$" "" externalURL }}/public/runbooks/latency.html'


def test_waiting_times_follow_the_interval() -> None:
    def times(text: str, name: str = "psi-major", severity: str = "page") -> tuple[int, int, int, int]:
        rule = rules_by_name(text)[name, severity, ""]
        return rule.every_s, rule.for_s, rule.keep_firing_for_s, rule.missing_evaluations

    assert times(BINARY) == (60, 300, 900, 30)
    assert times(NUMBER) == (600, 600, 1800, 3)
    assert times(BINARY, "label-stop", "ticket") == (600, 600, 1800, 3)
    text = BINARY.replace("alerts: {", "alerts: {every: 2m, for: 0s, keep_firing_for: 1h, ")
    assert times(text) == (120, 0, 3600, 15)
    text = text.replace("rules: {", "rules: {psi-major: {for: 7m, keep_firing_for: 0s}, ")
    assert times(text) == (120, 420, 0, 15)


def test_single_rules_can_be_changed() -> None:
    rules = rules_by_name(
        BINARY.replace(
            "rules: {null-rate: {route: nulls}}",
            "rules: {psi-major: {severity: ticket, fields: [amount], threshold: 0.3, clear: 0.1, route: x}, "
            "silence: {severity: none}, errors: {severity: ticket, threshold: 0.5}, psi-minor: {fields: [country]}}",
        )
    )
    changed = rules["psi-major", "ticket", ""]
    assert (changed.signal.keys, changed.threshold, changed.clear, changed.route) == (("amount",), 0.3, 0.1, "x")
    assert ("psi-major", "page", "") not in rules
    assert not any(name == "silence" for name, *_ in rules)
    assert rules["errors", "ticket", ""].threshold == 0.5
    assert rules["psi-minor", "ticket", ""].signal.keys == ("country",)


def test_labels_are_stable_and_lead_somewhere() -> None:
    rules = rules_by_name(BINARY)
    assert rules["psi-major", "page", ""].labels == {
        **{"source": "barograph", "rule": "psi-major", "model": ODD, "severity": "page", "team": "risk"},
        **{"route": "#risk", "signal": "inputs", "cause": "drift", "mute": "retraining"},
    }
    assert rules["null-rate", "page", ""].labels["route"] == "nulls"
    assert "mute" not in rules["silence", "page", ""].labels, "a model must answer during retraining"
    lag = rules["pipeline-lag", "page", ""].labels
    assert (lag["team"], lag["route"]) == ("platform", PLAIN.platform)


def test_only_a_freshness_rule_fires_without_data() -> None:
    rules = rules_for(contracts(), installation())
    states = {rule.name: (rule.no_data, rule.exec_err) for rule in rules}
    assert states.pop("silence") == ("Alerting", "Error")
    assert set(states.values()) == {("KeepLast", "Error")}


def test_titles_uids_and_groups_are_distinct_and_within_limits() -> None:
    long = [Contract(model="x" * 195 + end) for end in ("1", "2")]
    rules = rules_for([*contracts(), *long], installation())
    for values, longest in (({rule.uid for rule in rules}, 40), ({rule.title for rule in rules}, 190)):
        assert len(values) == len(rules)
        assert max(map(len, values)) <= longest
    assert {rule.model for rule in rules if rule.group == rules[-3].group} == {rules[-3].model}


def test_every_rule_has_a_runbook_and_every_runbook_a_rule() -> None:
    names = {*RULES, "processor-gone", "guard-silent"}
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*names, "README"}
    assert {rule.name for rule in rules_for(contracts(), installation())} == names
    index = (RUNBOOKS / "README.md").read_text("utf-8")
    assert all(f"[{name}]({name}.md)" in index for name in names)


@pytest.mark.parametrize("path", sorted(RUNBOOKS.glob("[!R]*.md")), ids=lambda path: path.stem)
def test_runbooks_have_the_same_sections_and_say_first_how_to_limit_the_harm(path: Path) -> None:
    _, *parts = re.split(r"^## (.+)$", path.read_text("utf-8"), flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    assert parts[::2] == list(SECTIONS)
    assert all(text.strip() for text in sections.values())
    if path.stem in CAUSES:
        assert "`barograph changes explain --model MODEL`" in " ".join(sections["Find the cause"].split())


def test_names_unknown_to_the_installation_are_rejected() -> None:
    for change, expected in (
        ("route: '#nobody'", "contract 'm': route: the route '#nobody' is not known here; write one of #risk"),
        ("alerts: {rules: {silence: {route: x}}}", "alerts.rules.silence.route: the route 'x' is not known here"),
        ("alerts: {mute: [holidays]}", "the mute timing 'holidays' is not defined; defined are retraining"),
    ):
        contract = parse_contract(f"contract: 1\nmodel: m\n{change}")
        with pytest.raises(AlertsError, match=re.escape(expected)):
            rules_for([contract], installation())
        assert rules_for([contract], AlertSettings()), "an installation without a section has one contact point for all"
    wrong = [parse_contract(f"contract: 1\nmodel: {name}\nroute: nowhere") for name in ("a", "b")]
    with pytest.raises(AlertsError, match=r"contract 'a'.*\ncontract 'b'"):
        rules_for(wrong, installation())


def rejected(**changes: Any) -> str:
    with pytest.raises(AlertsError) as caught:
        read_alert_settings({**SETTINGS, **changes}, "s.toml")
    return str(caught.value)


def test_dangling_references_in_settings_are_rejected() -> None:
    assert "s.toml: alerts.defalt: the key 'defalt' is unknown; did you mean default?" in rejected(defalt="x")
    points: list[tuple[dict[str, Any], str]] = [
        ({}, "alerts: contact_points is missing; write a section such as [alerts.contact_p"),
        ({"a": {}}, "contact_points.a: the contact point has no integration; write pagerduty"),
        ({"a": {"slack": {}}}, "slack: the address is missing; write url_variable with the v"),
        (
            {"a": {"slack": {"url": "https://x"}}},
            "slack.url: this may hold a secret and does not belong in a file; set it in the environment and write "
            "url_variable with the name of the environment variable",
        ),
    ]
    for each, expected in points:
        assert expected in rejected(contact_points=each)
    for timing, expected in (
        ({}, "alerts.mute_timings.m: the timing would mute forever"),
        ({"times": ["5:00-6:00"]}, "'5:00-6:00' does not fit; write times of one day"),
        ({"times": ["06:00-05:00"]}, "'06:00-05:00' ends before it starts; write times"),
        ({"weekdays": ["sonday"]}, "'sonday' is not a weekday; did you mean sunday?"),
        ({"weekdays": ["monday"], "timezone": "Berlin"}, "m.timezone: 'Berlin' is not a time zone; write an IANA name"),
    ):
        assert expected in rejected(mute_timings={"m": timing})
    route = rejected(routes={"r": {"page": "oncal"}})
    assert "alerts.routes.r.page: the contact point 'oncal' is not defined" in route
    with pytest.raises(AlertsError, match="alerts: write a map"):
        read_alert_settings([], "s.toml")


ADDRESS = "https://hooks.invalid/services/T0/B0/xyzzy"


def test_a_secret_in_the_settings_is_rejected_and_not_shown() -> None:
    for point in (
        {"webhook": {"url": ADDRESS}},
        {"slack": {"url": ADDRESS}},
        {"pagerduty": {"key": "xyzzy"}},
        {"pagerduty": {"key_variable": "e93facc04764012d7bfb002500d5xyzzy"}},
        {"webhook": {"url_variable": ADDRESS}},
        {"webhook": {"url_variable": "HOOK", "bearer_variable": "xyzzy"}},
        {"webhook": {"url_variable": "HOOK", "bearer": "xyzzy"}},
        {"slack": ADDRESS},
        ADDRESS,
    ):
        assert "xyzzy" not in rejected(contact_points={"a": point})
    for key in ("default", "platform"):
        assert "xyzzy" not in rejected(**{key: ADDRESS})
    assert "xyzzy" not in rejected(routes={"nulls": {"page": ADDRESS}})


def test_settings_are_read() -> None:
    read = installation()
    assert [each.kind for each in read.contact_points["oncall"]] == ["pagerduty", "slack"]
    assert read.route("nulls").point("ticket") == "tickets", "a route without a ticket contact point uses the default"
    assert read.route("oncall").point("ticket") == "oncall"
    assert read.route("").point("page") == "tickets"


def test_texts_become_templates_and_words() -> None:
    text = ("{{ a }} of ", LabelRef("field"), " is ", NumberRef("A", "number"), " [", NumberRef("B", "percent"), "]")
    assert template((NumberRef("B", "number"), ", ", NumberRef("C", "duration"))) == (
        "{{ $values.E.Labels.low }}, {{ humanizeDuration $values.E.Labels.high }}"
    )
    assert template(text) == (
        '{{ "{{" }} a }} of {{ $labels.field }} is {{ printf "%.2f" $values.A.Value }} '
        "[{{ humanizePercentage $values.E.Labels.low }}]"
    )
    assert words(text, {"field": "x"}, {"A": 0.25, "B": 0.125}) == "{{ a }} of x is 0.25 [12.5%]"
    assert words((NumberRef("C", "duration"), " to ", NumberRef("E", "duration")), {}, {"C": 12_000}) == (
        "3h 20m to unknown"
    )
    assert template((LabelRef("field", in_url=True),)) == "{{ urlquery $labels.field }}"
    assert words((LabelRef("field", in_url=True),), {"field": "a b&c"}, {}) == "a+b%26c"


def test_a_contract_with_rollback_has_a_rule_for_each_arm_and_criterion() -> None:
    text = (
        "contract: 1\nmodel: m\narms: {shares: {answer@7: 0.8, answer@8: 0.1, answer@9: 0.1}}\n"
        "rollback: {prompt: answer, label: candidate, to: production, margins: {errors: 0.01, ttft: 0.1}"
    )
    rule = rules_by_name(text + "}")["prompt-harm", "ticket", ""]
    assert rule.signal.keys == tuple(f"answer@{version}: {name}" for version in (8, 9) for name in ("errors", "ttft"))
    shown = words(rule.summary, {"comparison": "answer@8: errors"}, {"B": 0.02, "C": 0.04, "E": 0.01})
    assert "`barograph prompts rollback answer --label candidate --to production --reason …`" in shown
    acting = rules_by_name(text + ", mode: act}")["prompt-harm", "ticket", ""]
    assert "The guard moves the label" in words(acting.summary, {}, {})
    critical = "\nfields: {x: {type: float, critical: true}}"
    assert ("prompt-harm", "page", "") in rules_by_name(text + "}" + critical)


def test_rules_on_the_quality_of_answers_exist_where_they_can_apply() -> None:
    def quality(text: str) -> set[str]:
        return {name for name, *_ in rules_by_name(text)} & set(QUALITY_RULES)

    text = "contract: 1\nmodel: m\ntext: {content: redact, sample: 0.1}\n"
    suites = {"unevaluated-version", "suite-regression"}
    assert quality("contract: 1\nmodel: m") == set()
    assert quality(text) == suites
    assert quality("contract: 1\nmodel: m\nalerts: {rules: {suite-regression: {}}}") == {"suite-regression"}
    evaluators = "evaluators: {cited: {check: refusal}, form: {check: pattern, pattern: x}}\n"
    assert quality(text + evaluators) == suites | {"reviewer-agreement"}
    promised = text + evaluators.replace("refusal}", "refusal, promise: 0.05}")
    rules = {key: rule for key, rule in rules_by_name(promised).items() if rule.name in QUALITY_RULES}
    assert {name for name, *_ in rules} == set(QUALITY_RULES)
    assert {rule.severity for rule in rules.values()} == {"ticket"}
    promise = rules["rate-above-promise", "ticket", "cited"]
    assert (promise.signal.keys, promise.threshold, promise.clear) == (("cited",), 0.05, 0.05)
    assert rules["gold-labels", "ticket", ""].signal.keys == ("cited",)
    assert rules["reviewer-agreement", "ticket", ""].signal.keys == ("cited", "form")
    all_labels = rules_by_name(promised + "alerts: {for: 1h, rules: {gold-labels: {}}}")["gold-labels", "ticket", ""]
    assert (all_labels.signal.keys, all_labels.for_s) == (("cited", "form"), 86_400)
    changed = "gold-labels: {for: 2h}, reviewer-agreement: {threshold: 0.5}, unevaluated-version: {threshold: 9}"
    own = rules_by_name(f"{promised}alerts: {{rules: {{{changed}}}}}")
    assert own["gold-labels", "ticket", ""].for_s == 7200
    agreement = own["reviewer-agreement", "ticket", ""]
    assert (agreement.threshold, agreement.clear, agreement.below) == (0.5, 0.5, True)
    assert own["unevaluated-version", "ticket", ""].threshold == 9
