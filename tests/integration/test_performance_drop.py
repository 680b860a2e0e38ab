"""`barograph reference`, and a model without targets that is compared with its reference."""

import json
import random
import re
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Slo
from barograph.contract.file import parse_contract

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import simulate
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.terminal import utc_second
from barograph_server.warehouse.client import Client
from tests.support import scoring
from tests.support.command_line import OutputOf
from tests.support.scoring import DAY_MS, HOUR_MS, START_MS, Score, label, prediction
from tests.support.warehouse import insert

DAYS, PER_DAY = 37, 250
COLLAPSE_DAY, STORM_DAYS = 21, (15, 16)
PLAIN = AlertSettings()
DAILY = "contract: 1\nmodel: m\npane: 1d\nwindows: [{length: 1d, hop: 1d}]\n"
"""No targets, and no window of a week: both are defaults."""
BINARY = DAILY + "fields: {x: {type: float, critical: true}}\nlabel: {type: bool, positive: true, horizon: 1d}\n"
CLASSES = DAILY + "label: {type: category, classes: [a, b, c], horizon: 1d}\n"
NUMBER = DAILY + "label: {type: float, horizon: 1d}\n"
NOW_S = START_MS / 1000 + (DAYS + 1.5) * 86400


@pytest.fixture
def score(client: Client, engine: LocalClickHouse) -> Score:
    return lambda contract: scoring.scorer(client, engine.address(client.database), contract, clock=lambda: NOW_S)


def insert_traffic(client: Client, contract: Contract) -> None:
    """Insert predictions and labels of a model with an accuracy of 0.75; of 0.55 in a storm, and from the collapse on.

    The mean absolute error of a regression rises from 4 to 7.2, as the share of errors does.
    """
    assert contract.label is not None
    rng = random.Random(1)
    predictions, labels = [], []
    for i in range(DAYS * PER_DAY):
        at_ms = START_MS + i * (DAY_MS // PER_DAY)
        is_bad = i // PER_DAY >= COLLAPSE_DAY or i // PER_DAY in STORM_DAYS
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
    rows = [label(i, at_ms, offset, value, kind) for offset, (at_ms, i, value, kind) in enumerate(sorted(labels))]
    insert(client, predictions=predictions, labels=rows)


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
    (_, usual, error), (_, value, blind) = client.rows(
        "SELECT window_start >= toDateTime({first:UInt32}) AS is_bad, avg(value), avg(cbpe_error) "
        "FROM latest_performance WHERE metric = {metric:String} AND slice = 'all' AND window = '1d' "
        "AND NOT isNaN(cbpe_error) GROUP BY is_bad ORDER BY is_bad",
        {"metric": metric, "first": START_MS // 1000 + COLLAPSE_DAY * 86400},
    )
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
    client: Client, score: Score, text: str, small: set[tuple[str, str]], main: str, targets: Any
) -> None:
    contract = parse_contract(text)
    insert_traffic(client, contract)
    score(contract).score_once()
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
        score(aimed).score_once()
        assert {metric for severity, metric, _ in fired(client, aimed) if severity == "page"} & {main} == paging


CONTRACT = parse_contract(BINARY)


def day(number: int) -> str:
    return utc_second(START_MS / 1000 + number * 86400)


@pytest.fixture
def config(config: str, client: Client) -> str:
    insert_traffic(client, CONTRACT)
    scoring.register(client, CONTRACT)
    return config


@pytest.mark.long
def test_a_person_lists_the_weeks_and_chooses_another_period(
    client: Client, score: Score, config: str, output_of: OutputOf
) -> None:
    words = ("--model", "m", "--config", config)

    def listed() -> list[dict[str, Any]]:
        return list(json.loads(output_of(0, "reference", "list", "--format", "json", *words)))

    def in_force() -> list[tuple[str, str, str]]:
        return [
            (utc_second(each["from_s"]), utc_second(each["to_s"]), each["reason"])
            for each in listed()
            if each["in_force"]
        ]

    assert "The scorer has not measured m under its contract yet" in output_of(1, "reference", "list", *words)
    working = score(CONTRACT)
    working.score_once()
    weeks = listed()
    assert [(utc_second(each["from_s"]), each["predictions"], each["in_force"], each["reason"]) for each in weeks] == [
        (day(0), 7 * PER_DAY, True, "first good week"),
        *((day(first), 7 * PER_DAY, False, "can be a reference") for first in (7, 14, 21, 28)),
        (day(35), 2 * PER_DAY, False, f"labels may arrive until {day(43)}"),
    ]
    assert all(each["labelled"] == each["predictions"] for each in weeks[:-1])
    assert weeks[0]["value"] == pytest.approx(0.75, abs=0.06)
    assert weeks[3]["value"] == pytest.approx(0.55, abs=0.06)
    # The collapse is the new normal.
    span = ("--version", "1", "--from", day(22), "--to", day(32), "--reason", "accepted")
    output_of(0, "reference", "set", *span, *words)
    [waiting] = [each["reason"] for each in listed() if utc_second(each["from_s"]) == day(22)]
    assert waiting.endswith("has not counted it yet")
    working.score_once()
    [(first, end, reason)] = in_force()
    assert (first, end) == (day(22), day(32))
    assert re.fullmatch("chosen .*: accepted", reason)
    levels = (
        f"SELECT window_start < toDateTime({START_MS // 1000 + 14 * 86400}), groupUniqArray(level) "
        f"FROM latest_performance WHERE metric = 'accuracy' AND window = '7d' AND predictions = {7 * PER_DAY} "
        "GROUP BY 1"
    )
    assert dict(client.rows(levels)) == {1: ["stable"], 0: ["stable"]}, "the accepted weeks are no longer major"
    # It survives a restart without state.
    client.command("TRUNCATE TABLE scorer_models")
    score(CONTRACT).score_once()
    assert [(first, end) for first, end, _ in in_force()] == [(day(22), day(32))]
    output_of(0, "reference", "set", "--version", "1", "--automatic", "--reason", "a mistake", *words)
    score(CONTRACT).score_once()
    assert in_force() == [(day(0), day(7), "first good week")]
    assert "major" in dict(client.rows(levels))[0]


def test_a_period_that_cannot_be_a_reference_is_rejected(
    client: Client, score: Score, config: str, output_of: OutputOf
) -> None:
    score(CONTRACT).score_once()

    def rejection(version: str, first: int, end: int) -> str:
        words = ("--from", day(first), "--to", day(end), "--reason", "r", "--model", "m", "--config", config)
        return " ".join(output_of(1, "reference", "set", "--version", version, *words).split())

    for version, span, message in (
        ("9", (0, 7), "Version 9 of m has no measured predictions; versions that have some: 1."),
        ("1", (7, 7), "change one of them"),
        ("1", (30, 38), "Labels of the period may arrive until"),
    ):
        assert message in rejection(version, *span)
    client.command(f"ALTER TABLE predictions DELETE WHERE toUnixTimestamp(at) < {START_MS // 1000 + 2 * 86400}")
    deleted = f"{2 * PER_DAY} of the {7 * PER_DAY:,} predictions of the period have been deleted"
    assert deleted in rejection("1", 0, 7)
    assert client.rows("SELECT count() FROM reference_choices") == [(0,)]
