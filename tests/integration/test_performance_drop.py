"""A model without targets is compared with its reference: a collapse is major, and notifies."""

from __future__ import annotations

import random
from typing import Any

import pytest
from barograph.contract import Contract
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import simulate
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, label, prediction

pytestmark = pytest.mark.engine
DAYS, PER_DAY = 37, 60
COLLAPSE_DAY = 21
PLAIN = AlertSettings()
BINARY = """
contract: 1
model: m
pane: 1d
windows: [{length: 1d, hop: 1d}]
fields: {x: {type: float, critical: true}}
label: {type: bool, positive: true, horizon: 1d}
"""
"""No targets, and no window of a week: both are defaults."""
CLASSES = """
contract: 1
model: m
pane: 1d
windows: [{length: 1d, hop: 1d}]
label: {type: category, classes: [a, b, c], horizon: 1d}
"""
NUMBER = """
contract: 1
model: m
pane: 1d
windows: [{length: 1d, hop: 1d}]
label: {type: float, horizon: 1d}
"""


def traffic(contract: Contract, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return predictions and labels of a model with an accuracy of 0.75, and of 0.55 from the day of the collapse on.

    The mean absolute error of a regression rises from 4 to 7.2, as the share of errors does.
    """
    assert contract.label is not None
    rng = random.Random(seed)
    predictions, labels = [], []
    for i in range(DAYS * PER_DAY):
        at_ms = START_MS + i * (DAY_MS // PER_DAY)
        is_bad = i >= COLLAPSE_DAY * PER_DAY
        output: dict[str, Any]
        if contract.label.type == "bool":
            score = rng.random()
            truth = (rng.random() < score) != (is_bad and rng.random() < 0.4)
            output, value, kind = {"score": score}, str(truth).lower(), "bool"
        elif contract.label.type == "category":
            predicted = rng.choice("abc")
            is_right = rng.random() < (0.55 if is_bad else 0.75)
            value = predicted if is_right else rng.choice([each for each in "abc" if each != predicted])
            output, kind = {"class": predicted}, "string"
        else:
            value, kind = f"{100 + rng.gauss(0, 9 if is_bad else 5):.3f}", "number"
            output = {"score": 100.0}
        predictions.append(prediction(i, at_ms, i, **output))
        labels.append((at_ms + int(rng.expovariate(1 / (3 * HOUR_MS))), i, value, kind))
    return predictions, [
        label(i, at_ms, offset, value, kind) for offset, (at_ms, i, value, kind) in enumerate(sorted(labels))
    ]


def fired(client: Client, contract: Contract) -> list[tuple[str, str, float]]:
    """Return severity, metric and first day of each alert of performance."""
    start_s = START_MS // 1000
    rules = [rule for rule in rules_of(contract, PLAIN) if rule.about == "performance" and rule.name != "label-stop"]
    done = simulate(client, rules, PLAIN, start_s, start_s + (DAYS + 1) * 86400, "ended")
    return [
        (replay.rule.severity, episode.key, (episode.start - start_s) / 86400)
        for replay in done.replays
        if replay.rule.name == "performance-drop"
        for episode in replay.episodes
    ]


def check_estimates(client: Client, metric: str) -> None:
    """Estimates without labels are right before the collapse, and cannot see it."""
    errors = client.rows(
        "SELECT window_start >= toDateTime({first:UInt32}) AS is_bad, avg(value), avg(cbpe_error) "
        "FROM latest_performance WHERE metric = {metric:String} AND slice = 'all' AND window = '1d' "
        "AND NOT isNaN(cbpe_error) GROUP BY is_bad ORDER BY is_bad",
        {"metric": metric, "first": START_MS // 1000 + COLLAPSE_DAY * 86400},
    )
    (_, usual, error), (_, value, blind) = errors
    assert abs(error) < 0.1 * usual
    assert blind == pytest.approx(usual - value, abs=0.1 * usual)


@pytest.mark.parametrize(
    ("text", "severity", "metrics", "measured"),
    [
        (BINARY, "page", {"accuracy", "auc", "log_loss"}, "accuracy"),
        (CLASSES, "ticket", {"accuracy", "f1_macro"}, "f1_macro"),
        (NUMBER, "ticket", {"mae"}, "mae"),
    ],
    ids=["binary", "classes", "number"],
)
def test_a_collapse_is_major_and_notifies_without_a_written_target(
    client: Client, engine: LocalClickHouse, text: str, severity: str, metrics: set[str], measured: str
) -> None:
    contract = parse_contract(text)
    predictions, labels = traffic(contract, 1)
    scoring.insert(client, "predictions", predictions)
    scoring.insert(client, "labels", labels)
    address, now_s = engine.address(client.database), START_MS / 1000 + (DAYS + 1.5) * 86400
    scoring.scorer(client, address, contract, clock=lambda: now_s).score_once()
    levels = client.rows(
        "SELECT level FROM latest_performance WHERE metric = {metric:String} AND class = '' AND slice = 'all' "
        "AND window = '7d' AND mature AND window_start >= toDateTime({first:UInt32}) AND predictions = {whole:UInt32}",
        {"metric": measured, "first": START_MS // 1000 + COLLAPSE_DAY * 86400, "whole": 7 * PER_DAY},
    )
    assert set(levels) == {("major",)}
    if measured != "f1_macro":  # which has classes alone, and so no estimate
        check_estimates(client, measured)
    alerts = fired(client, contract)
    assert {key for _, key, _ in alerts} == metrics
    assert {each for each, _, _ in alerts} == {severity}
    assert all(COLLAPSE_DAY < day <= COLLAPSE_DAY + 14 for _, _, day in alerts), alerts
