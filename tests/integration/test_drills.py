"""Drills through the real path: publisher, Kafka, processors, rules and webhook; and the replays of the scoreboard."""

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from confluent_kafka.admin import NewTopic

from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables, InjectionRequest, find_fault
from barograph_server.drills.recorded_events import newest_event, read_events
from barograph_server.drills.run.plan import DrillRequest, plan_drill
from barograph_server.drills.run.run import DrillInput, DrillOptions, run_drills
from barograph_server.drills.run.scratch import database_prefix, topics_prefix
from barograph_server.local.kafka import LocalKafka
from barograph_server.provisioning import apply_all
from barograph_server.settings import Settings, load_settings
from barograph_server.streams.broker.client import Admin
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.tables import insert_rows
from benchmarks.scoreboard.replayed import StreamJudge
from benchmarks.scoreboard.scores import make_streams
from tests.support.command_line import OutputOf
from tests.support.drill_models import SHOP_ROUTES, DrilledModel, make_model, raw_rows
from tests.support.environment import kafka_lines
from tests.support.pipeline import wait_for

HOUR_S = 3600
COMPARED = ("id", "at", "score", "latency_ms", *(f"features.{name}" for name in ("x", "y", "k", "flag", "colour")))


@dataclass
class Installation:
    settings: Settings
    config: Path
    model: DrilledModel
    folder: Path

    def leftovers(self) -> list[str]:
        with connect(self.settings.warehouse) as client:
            databases = [name for (name,) in client.rows("SELECT name FROM system.databases")]
        topics = Admin(self.settings.bootstrap_servers, {}).client.list_topics(timeout=10).topics
        prefixes = database_prefix(self.settings), topics_prefix(self.settings)
        return [name for name in [*databases, *topics] if name.startswith(prefixes)]


@pytest.fixture
def config(broker: LocalKafka, client: Client, topic_prefix: str, config: str) -> Path:
    path = Path(config)
    path.write_text(f"{kafka_lines(broker.bootstrap_servers, topic_prefix)}\n{path.read_text()}{SHOP_ROUTES}")
    return path


@pytest.fixture
def installation(config: Path, tmp_path: Path) -> Installation:
    settings = load_settings(config)
    model = make_model(tmp_path, int(time.time() * 1000))
    apply_all(settings, [(model.contract, model.contract_file.read_text())], [model.baseline])
    return Installation(settings, config, model, tmp_path)


@pytest.mark.long
def test_a_suite_checks_pages_and_guard_and_leaves_only_results(
    installation: Installation, output_of: OutputOf
) -> None:
    suite = installation.folder / "drills.yaml"
    suite.write_text(
        "suite: 1\nmodel: shop\nhistory: 8d\ndrills:\n"
        "  - {fault: mean-shift, field: x, magnitude: 2, route: shop}\n"
        "  - {fault: error-burst, route: shop}\n"
        "  - {fault: duplicates, route: shop}\n"
        "  - {fault: silence, duration: 1d, route: shop}\n"
        "  - {fault: silence, route: nowhere}\n"
    )
    junit = installation.folder / "junit.xml"
    arguments = ("--from", installation.model.predictions_file, "--format", "json", "--junit", junit)
    result = json.loads(output_of(1, "drill", "suite", suite, *arguments, "--config", installation.config))
    *passed, broken = result["results"]  # the last route is broken
    assert not broken["passed"]
    assert "the route 'nowhere' is not known here" in broken["report"]["checks"][0]["observed"]
    assert [each["passed"] for each in passed] == [True] * 4, result
    shift, errors, duplicates, silence = passed
    pages = {each["title"]: each["report"]["checks"][0]["observed"] for each in (shift, errors, silence)}
    rules = {"mean-shift x": "psi-major x", "error-burst": "errors", "silence": "silence"}
    assert pages == {title: f"page {rule} at on-call" for title, rule in rules.items()}
    for each in (shift, errors):
        degraded, recovered = (check["observed"] for check in each["report"]["checks"][2:])
        assert degraded.startswith("degraded, the fallback answered ")
        assert recovered.startswith("healthy, the primary answered ")
    assert duplicates["report"]["observed"] == []
    low_s, high_s = shift["predicted_s"]
    # Rules are evaluated at whole hops, so a page may be later than predicted by one of them.
    assert low_s - HOUR_S <= shift["report"]["page_after_s"] <= high_s + HOUR_S
    assert junit.read_text().count("<testcase") == 5
    with connect(installation.settings.warehouse) as client:
        stored = client.rows("SELECT fault, field, passed, length(met), model FROM drills ORDER BY drill_id")
        assert stored == [
            ("mean-shift", "x", True, 4, "shop"),
            ("error-burst", "", True, 4, "shop"),
            ("duplicates", "", True, 2, "shop"),
            ("silence", "", True, 2, "shop"),
            ("silence", "", False, 1, "shop"),
        ]
        for table in ("predictions", "panes", "drift", "volume", "progress", "processors"):
            assert client.rows(f"SELECT count() FROM {table}") == [(0,)], table
        assert {model for (model,) in client.rows("SELECT model FROM contracts")} == {"shop"}
    assert installation.leftovers() == []


def test_events_are_raw_rows_and_clean_removes_an_interrupted_drill(
    installation: Installation, output_of: OutputOf
) -> None:
    settings = installation.settings
    with connect(settings.warehouse) as client:
        client.command(f"CREATE DATABASE {database_prefix(settings)}1")
    admin = Admin(settings.bootstrap_servers, {})
    for done in admin.client.create_topics([NewTopic(f"{topics_prefix(settings)}2-predictions", 1, 1)]).values():
        admin.result(done, "create a topic")
    wait_for(lambda: len(installation.leftovers()) == 2, "the topic", 30)
    clean = ("drill", "clean", "--config", installation.config)
    assert output_of(0, *clean) == "1: removed.\n2: removed.\n"
    wait_for(lambda: installation.leftovers() == [], "the removal", 30)
    assert output_of(0, *clean) == "There is nothing to remove.\n"
    rows = installation.model.events.predictions.slice(0, 200)
    contract = installation.model.contract
    with connect(settings.warehouse) as client:
        insert_rows(client, "predictions", raw_rows(rows))
        newest = newest_event(client, "shop")
        assert newest == rows["at"][-1].as_py()
        since, until = newest - timedelta(days=8), newest + timedelta(milliseconds=1)
        version, events = read_events(client, contract, None, since, until)
        assert version == "1"
        for name in COMPARED:
            assert events.predictions[name].to_pylist() == rows[name].to_pylist(), name
        earlier = rows["at"][120].as_py()
        _, part = read_events(client, contract, None, since, earlier)
        assert part.predictions["id"].to_pylist() == [
            each["id"] for each in rows.select(["id", "at"]).to_pylist() if each["at"] < earlier
        ]
        with pytest.raises(DrillError, match="no raw predictions of shop version 2; there are 1"):
            read_events(client, contract, "2", since, until)
        with pytest.raises(DrillError, match=r"no raw predictions of shop from .*; choose another --until"):
            read_events(client, contract, None, until, until + timedelta(days=1))
        other = msgspec.structs.replace(contract, model="other")
        with pytest.raises(DrillError, match="no raw predictions of other: set raw_share"):
            newest_event(client, other.model)


def test_drills_that_cannot_be_planned_are_one_sentence_and_in_a_suite_stored_as_failed(
    installation: Installation, output_of: OutputOf
) -> None:
    for words, message in (
        ("mean-shift --model nobody", "has no contract of 'nobody'; there are shop."),
        ("mean-shift --model shop", "has no raw predictions of shop: set raw_share in its contract, or give"),
        ("mean-shift --model shop --from FILE --duration 90d", "use a shorter --duration"),
        ("silence --model shop --from FILE --route x", "the route 'x' is not known here"),
    ):
        named = [installation.model.predictions_file if word == "FILE" else word for word in words.split()]
        error = output_of(1, "drill", "run", *named, "--config", installation.config)
        assert message in error, words
        assert "bug" not in error, words
    assert installation.leftovers() == []
    suite = installation.folder / "drills.yaml"
    suite.write_text(
        "suite: 1\nmodel: shop\nhistory: 8d\ndrills:\n"
        "  - {fault: silence, route: nowhere}\n"
        "  - {fault: mean-shift, duration: 90d}\n"
        "  - {fault: null-rise, field: z, rate: 0.5}\n"
    )
    arguments = ("--from", installation.model.predictions_file, "--format", "json", "--config", installation.config)
    result = json.loads(output_of(1, "drill", "suite", suite, *arguments))
    with connect(installation.settings.warehouse) as client:
        rows = client.rows("SELECT fault, field, observed[1], magnitude, rate FROM drills ORDER BY drill_id")
        states = "passed, expected, met, fault_start = at, fault_end = at"
        failed = client.rows(f"SELECT {states}, uniqExact(drill_id) FROM drills GROUP BY ALL")
    assert failed == [(False, ["the drill can run"], [False], True, True, 3)]
    assert [each[:2] for each in rows] == [
        ("silence", ""),
        ("mean-shift", "x"),  # the field that a shorter drill would have
        ("null-rise", "z"),
    ]
    routed, long, unknown = rows
    assert "the route 'nowhere' is not known here" in routed[2]
    assert "use a shorter --duration" in long[2]
    assert "has no field 'z'" in unknown[2]
    assert long[3:] == (2.0, 1.0)
    assert unknown[3:] == pytest.approx((float("nan"), 0.5), nan_ok=True)
    assert [each["passed"] for each in result["results"]] == [False] * 3
    assert installation.leftovers() == []


DAY_S = 86_400
GROUP_WAIT_S = 30
"""A drill's page is a notification, which waits for others of its group."""
CELLS = (
    ("mean-shift", "bmi", 1.0, None, "psi-major"),
    ("scale", "bmi", 1.5, None, "psi-major"),
    ("null-rise", "bmi", None, 0.15, "null-rate"),
    ("category-new", "sex", None, 0.15, "unseen-rate"),
    ("clipped-range", "bmi", 0.05, None, "psi-major"),
)
"""Fault, field, magnitude, rate, and the rule that a drill expects; the last one never pages."""


@pytest.mark.long
def test_kafka_gives_the_pages_of_the_replay(client: Client, config: Path) -> None:
    settings = load_settings(config)
    streams = make_streams("diabetes", 60.0, 1, ["mean-shift"], 7)
    contract, baseline = streams.contract, streams.baseline
    first_days = streams.quiet["at"][0].as_py() + timedelta(days=12)
    table = streams.quiet.filter(pc.less(streams.quiet["at"], first_days))
    no_labels = pa.table({"id": pa.array([], pa.string()), "at": pa.array([], pa.timestamp("ms", "UTC"))})
    events = EventTables(table.append_column("id", pa.array(np.arange(table.num_rows).astype(str))), no_labels)
    plans = [
        plan_drill(
            f"cell-{i}",
            DrillRequest(InjectionRequest(find_fault(fault), field, magnitude=magnitude, rate=rate), 2 * DAY_S),
            *(contract, baseline, events, settings.alerts),
        )
        for i, (fault, field, magnitude, rate, _) in enumerate(CELLS)
    ]
    reports = run_drills(settings, "cells", DrillInput(contract, baseline, events), plans, DrillOptions())
    judge = StreamJudge(client, contract, baseline)
    through_kafka, replayed = [], []
    for plan, report, (*_, rule) in zip(plans, reports, CELLS, strict=True):
        period = plan.injection.period
        start_s, end_s = period.start_ms // 1000, period.end_ms // 1000
        replay = judge.replay(plan.drill_id, *judge.count(plan.events.predictions), "ended")
        starts = [each.start for each in replay.episodes if each.rule.name == rule]
        replayed.append(min((at - start_s for at in starts if start_s <= at < end_s), default=None))
        after_s = report.page_after_s
        through_kafka.append(None if after_s is None else after_s - GROUP_WAIT_S)
    assert through_kafka == replayed
    assert through_kafka[-1] is None
    assert all(each is not None for each in through_kafka[:-1])
