"""The scoreboard replays without Kafka: the processors page at the same times."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from barograph_server.drills.faults import EventTables, InjectionRequest
from barograph_server.drills.faults.catalogue import find_fault
from barograph_server.drills.run.plan import DrillRequest, plan_drill
from barograph_server.drills.run.run import DrillInput, DrillOptions, run_drills
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.local.kafka import LocalKafka
from barograph_server.settings import load_settings
from barograph_server.warehouse.client import Client
from benchmarks.scoreboard.replayed import StreamJudge
from benchmarks.scoreboard.scores import make_streams
from tests.support.environment import write_settings

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
def test_kafka_gives_the_pages_of_the_replay(
    broker: LocalKafka,
    engine: LocalClickHouse,
    client: Client,
    database: str,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = engine.address(database)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", where.password)
    lines = f'bootstrap_servers = "{broker.bootstrap_servers}"', f'topic_prefix = "{topic_prefix}"'
    settings = load_settings(Path(write_settings(tmp_path / "barograph.toml", where, *lines)))
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
        own = [each for each in replay.episodes if each.rule.name == rule]
        pages = [each.start - start_s for each in own if start_s <= each.start < end_s]
        replayed.append(min(pages, default=None))
        after_s = report.page_after_s
        through_kafka.append(None if after_s is None else after_s - GROUP_WAIT_S)
    assert through_kafka == replayed
    assert through_kafka[-1] is None
    assert all(each is not None for each in through_kafka[:-1])
