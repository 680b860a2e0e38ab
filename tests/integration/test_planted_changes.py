"""Fifty changes at random times in five months of real flights: the true causes rank first, the others are not accused.

Half of the changes alter a field of the source that they name for four days; the others do nothing. Real processors
count and judge the flights.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from barograph.contract import DeclaredSource

from barograph_server.alerts.guard.suspected_causes import ExplainedVerdict, explain_verdicts
from barograph_server.examples.flights.features import FEATURES, PLANE, ROUTE, SCHEDULE, WEATHER
from barograph_server.warehouse.governance.changes import Change, add_changes
from tests.support.flights import Flights, as_events, make_flights
from tests.support.pipeline import Pipeline
from tests.support.toy_events import messages

pytestmark = pytest.mark.long
SOURCES = {"weather": WEATHER, "schedule": SCHEDULE, "fleet": PLANE, "routes": ROUTE}
SEED, PLANTED, ALTERED_FOR = 25, 50, timedelta(days=4)
APART = 3 * ALTERED_FOR
"""Least time between two alterations of one field."""


class PlantedChange(NamedTuple):
    change: Change
    field: str
    """The field that it alters; empty: none."""

    @property
    def time(self) -> datetime:
        return self.change.changed_at


def plant_changes(table: pa.Table, random: np.random.Generator) -> list[PlantedChange]:
    """Draw changes at random times between the first and the last two weeks of a table."""
    first, last = (each.as_py().astimezone(UTC) for each in (table["at"][0], table["at"][-1]))
    span_s = (last - first - timedelta(days=28)).total_seconds()
    source_of = {field: source for source, fields in SOURCES.items() for field in fields}
    planted: list[PlantedChange] = []
    while len(planted) < PLANTED:
        time = first + timedelta(days=14, seconds=int(random.uniform(0, span_s)))
        field = str(random.choice(FEATURES)) if len(planted) < PLANTED // 2 else ""
        if any(field and each.field == field and abs(each.time - time) < APART for each in planted):
            continue
        source = source_of[field] if field else str(random.choice(list(SOURCES)))
        change = Change(time, "deploy", "", f"job-{len(planted)}", "", "", source, "", "", "")
        planted.append(PlantedChange(change, field))
    return planted


def altered(flights: Flights, table: pa.Table, planted: list[PlantedChange], random: np.random.Generator) -> pa.Table:
    """Add two standard deviations to numbers, and replace half of the texts by one, for as long as a change says."""
    for each in planted:
        if not each.field:
            continue
        name = f"features.{each.field}"
        column, at = table[name].combine_chunks(), table["at"]
        chosen = pc.and_(
            pc.greater_equal(at, pa.scalar(each.time, at.type)),
            pc.less(at, pa.scalar(each.time + ALTERED_FOR, at.type)),
        )
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            shift = 2 * max(pc.stddev(flights.train[each.field]).as_py(), 0.5)
            changed: Any = pc.add(column, pa.scalar(shift).cast(column.type, safe=False))
        else:
            chosen = pc.and_(chosen, pa.array(random.random(table.num_rows) < 0.5))
            changed = pc.drop_null(column)[0]
        table = table.set_column(table.column_names.index(name), name, pc.if_else(chosen, changed, column))
    return table


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Flights:
    return make_flights(tmp_path_factory.mktemp("flights"))


def test_true_causes_rank_first_and_others_are_not_accused(pipeline: Pipeline, flights: Flights) -> None:
    random = np.random.default_rng(SEED)
    planted = plant_changes(flights.predictions, random)
    table = altered(flights, flights.predictions, planted, random)
    contract = msgspec.structs.replace(
        flights.contract,
        declared_sources={name: DeclaredSource(owner=name, fields=fields) for name, fields in SOURCES.items()},
    )
    pipeline.prepare(contract, [flights.baseline])
    events = as_events(table)
    pipeline.start_all("sketcher", "monitor")
    pipeline.produce(messages(events, 1))
    pipeline.end(1)
    pipeline.wait_judged(len(events), patience_s=600)
    add_changes(pipeline.client, [each.change for each in planted])
    times = [each.as_py() for each in (table["at"][0], table["at"][-1])]
    explained = explain_verdicts(pipeline.client, contract, times[0] - timedelta(days=1), times[1] + timedelta(days=8))
    after = {each: [v for v in explained if follows(v, each)] for each in planted if each.field}
    firsts = [
        (each, verdict.ranked[0].change == each.change) for each, verdicts in after.items() for verdict in verdicts
    ]
    right = sum(is_first for _, is_first in firsts)
    innocents = {each.change.subject for each in planted if not each.field}
    accused = {
        verdict.ranked[0].change.subject
        for verdict in explained
        if verdict.ranked and verdict.ranked[0].likelihood == "likely"
    } & innocents
    n_altered = sum(bool(verdicts) for verdicts in after.values())
    print(
        f"{len(explained)} verdicts became major, {len(firsts)} of them after {n_altered} alterations: the cause is "
        f"first in {right}; {len(accused)} of {len(innocents)} other changes are accused"
    )
    assert len(firsts) >= 20
    assert right >= 0.9 * len(firsts)
    assert len(accused) <= 0.1 * len(innocents)


def follows(verdict: ExplainedVerdict, planted: PlantedChange) -> bool:
    """Return whether a verdict on the altered field became major while or just after the field was altered."""
    is_after = planted.time < verdict.verdict.window_end <= planted.time + ALTERED_FOR + timedelta(days=1)
    return verdict.verdict.field == planted.field and is_after
