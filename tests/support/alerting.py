"""Contracts of different models and alert settings, for tests of alerts."""

import json
from typing import Any

from barograph.contract import Contract
from barograph.contract.file import parse_contract

from barograph_server.alerts.settings import AlertSettings, read_alert_settings

ODD = 'it\'s "50 %" {{ $labels.x }} ${HOME} $__interval -- /* # {x:String} \\ 名前'
"""A model name with characters that are special in SQL, YAML, templates, environment variables and shells."""

BINARY = f"""
contract: 1
model: {json.dumps(ODD, ensure_ascii=False)}
team: risk
route: "#risk"
windows: [{{length: 15m, hop: 1m}}, {{length: 1h, hop: 5m}}, {{length: 1d, hop: 1h}}]
fields:
  amount: {{type: float, critical: true, range: [0, 1000]}}
  country: {{type: category}}
  "it's $odd": {{type: category, critical: true}}
  score: {{type: float}}
  class: {{type: category}}
  latency_ms: {{type: float, sketch: req}}
label: {{type: bool, positive: true}}
slo: {{latency_ms: 50, latency_share: 0.99, error_rate: 0.001, performance: {{auc: 0.7, log_loss: 0.5}}}}
alerts: {{mute: [retraining], rules: {{null-rate: {{route: nulls}}}}}}
consumers: {{shop: {{owner: ana, group: shop}}}}
"""
MANY = """
contract: 1
model: species
fields:
  petal: {type: float}
  late: {type: float, from: scores.late}
  sure: {type: float, from: confidence, critical: true}
label: {type: category, classes: [a, b, c]}
slo: {performance: {f1_macro: 0.5}}
shadow: {candidate: "it's $2", of: "1", margins: {accuracy: 0.01, missing: 0.02}}
"""
NUMBER = """
contract: 1
model: price
pane: 1h
windows: [{length: 1d, hop: 1h}]
fields:
  rooms: {type: int, critical: true, range: [1, 40]}
label: {type: float}
slo: {performance: {mae: 10, bias: 2}, in_range: {rooms: 0.99}}
arms: {shares: {tip@1: 0.5, tip@2: 0.5}}
rollback: {prompt: tip, margins: {errors: 0.01}}
prices:
  - {version: "*", input: 1, output: 2}
budget: {day: 5, month: 100}
text: {content: keep, sample: 0.1}
evaluators:
  helpful: {judge: helpful.yaml, endpoint: small, anchors: helpful.jsonl}
alerts: {rules: {drills-overdue: {at_least: 20d}}}
"""
BOT = """
contract: 1
model: support bot
text: {content: redact, sample: 0.1}
evaluators: {refuses: {check: refusal, promise: 0.05}, form: {check: pattern, pattern: x}}
"""
SETTINGS: dict[str, Any] = {
    "default": "tickets",
    "platform": "platform",
    "contact_points": {
        "tickets": {"slack": {"url_variable": "SLACK_URL"}},
        "oncall": {"pagerduty": {"key_variable": "PAGER_KEY"}, "slack": {"url_variable": "SLACK_URL"}},
        "platform": {"webhook": {"url_variable": "HOOK_URL", "bearer_variable": "HOOK_TOKEN"}},
    },
    "routes": {"#risk": {"page": "oncall", "ticket": "tickets"}, "nulls": {"page": "platform"}},
    "mute_timings": {"retraining": {"weekdays": ["sunday"], "times": ["01:00-05:00"], "timezone": "Europe/Berlin"}},
}
SECRETS = {
    "SLACK_URL": "https://hooks.invalid/a$b",
    "PAGER_KEY": "k3y",
    "HOOK_URL": "http://127.0.0.1:9/$hook",
    "HOOK_TOKEN": "t0ken",
}


def contracts() -> list[Contract]:
    return [parse_contract(text) for text in (BINARY, MANY, NUMBER, BOT)]


def installation() -> AlertSettings:
    return read_alert_settings(SETTINGS, "barograph.toml")
