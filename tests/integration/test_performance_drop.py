"""A model without targets is compared with its reference: a collapse is major, and notifies."""

import random
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Slo
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import simulate
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.warehouse.client import Client
from tests.support import scoring
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, label, prediction

DAYS, PER_DAY = 37, 250
COLLAPSE_DAY, STORM_DAYS = 21, (15, 16)
PLAIN = AlertSettings()
DAILY = "contract: 1\nmodel: m\npane: 1d\nwindows: [{length: 1d, hop: 1d}]\n"
"""No targets, and no window of a week: both are defaults."""
BINARY = DAILY + "fields: {x: {type: float, critical: true}}\nlabel: {type: bool, positive: true, horizon: 1d}\n"
CLASSES = DAILY + "label: {type: category, classes: [a, b, c], horizon: 1d}\n"
NUMBER = DAILY + "label: {type: float, horizon: 1d}\n"


def traffic(contract: Contract, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return predictions and labels of a model with an accuracy of 0.75; of 0.55 in a storm, and from the collapse on.

    The mean absolute error of a regression rises from 4 to 7.2, as the share of errors does.
    """
    assert contract.label is not None
    rng = random.Random(seed)
    predictions, labels = [], []
    for i in range(DAYS * PER_DAY):
        at_ms = START_MS + i * (DAY_MS // PER_DAY)
        day = i // PER_DAY
        is_bad = day >= COLLAPSE_DAY or day in STORM_DAYS
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
        labels.append((at_ms + min(int(rng.expovariate(1 / (3 * HOUR_MS))), DAY_MS // 2), i, value, kind))
    return predictions, [
        label(i, at_ms, offset, value, kind) for offset, (at_ms, i, value, kind) in enumerate(sorted(labels))
    ]


def fired(client: Client, contract: Contract) -> list[tuple[str, str, float]]:
    """Return severity, metric and first day of each alert of performance, in order."""
    start_s = START_MS // 1000
    rules = [rule for rule in rules_of(contract, PLAIN) if rule.about == "performance" and rule.name != "label-stop"]
    done = simulate(client, rules, PLAIN, start_s, start_s + (DAYS + 1) * 86400, "ended")
    return sorted(
        (replay.rule.severity, episode.key, (episode.start - start_s) / 86400)
        for replay in done.replays
        if replay.rule.name == "performance-drop"
        for episode in replay.episodes
    )


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
    ("text", "small", "main", "targets"),
    [
        (BINARY, {("page", "accuracy"), ("page", "auc"), ("page", "log_loss")}, "auc", (0.5, 0.7)),
        (CLASSES, {("ticket", "accuracy"), ("ticket", "f1_macro")}, "accuracy", (0.5, 0.7)),
        (NUMBER, {("ticket", "mae")}, "mae", (9, 5)),
    ],
    ids=["binary", "classes", "number"],
)
def test_a_collapse_is_major_and_pages_after_three_days_without_a_written_target(
    client: Client, engine: LocalClickHouse, text: str, small: set[tuple[str, str]], main: str, targets: Any
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
        {"metric": main, "first": START_MS // 1000 + COLLAPSE_DAY * 86400, "whole": 7 * PER_DAY},
    )
    assert set(levels) == {("major",)}
    if text != CLASSES:  # which has classes alone, and so no estimate
        check_estimates(client, main)
    alerts = fired(client, contract)
    by_week = {(severity, metric) for severity, metric, day in alerts if COLLAPSE_DAY + 7 < day < COLLAPSE_DAY + 7.5}
    pages = {metric: day for severity, metric, day in alerts if severity == "page" and day < COLLAPSE_DAY + 7}
    assert (by_week, set(pages)) == (small, {main}), "two days of a storm do not page"
    assert COLLAPSE_DAY + 3 < min(pages.values()) < COLLAPSE_DAY + 3.5
    for target, paging in zip(targets, (set(), {main}), strict=True):
        aimed = msgspec.structs.replace(contract, slo=Slo(performance={main: target}))
        scoring.scorer(client, address, aimed, clock=lambda: now_s).score_once()
        assert {metric for severity, metric, _ in fired(client, aimed) if severity == "page"} & {main} == paging
