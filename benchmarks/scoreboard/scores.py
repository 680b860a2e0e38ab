"""Scores one stream: recall, time to page against its prediction, and pages without a cause."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, Window

from alerts.prediction.page_time import predict_pages
from alerts.prediction.traffic import Traffic
from alerts.simulator import Episode
from benchmarks.scoreboard.data_sets import DATA_SETS, DataSet
from benchmarks.scoreboard.incidents import (
    CYCLE_DAYS,
    FAULT_CLASSES,
    LASTS_DAYS,
    LEAD_DAYS,
    Incident,
    affected_field,
    plan_incidents,
    plant,
    stream_cycles,
)
from benchmarks.scoreboard.replayed import StreamJudge
from cli.infer.infer import InferOptions, infer_table
from cli.infer.profile import Roles
from cli.infer.tables import memory_table
from sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts
from sketches.baseline.layout import IntArray, Layout
from sketches.detection.effects import observed_shares
from warehouse import migrate
from warehouse.client import Address, Client, connect

WINDOWS = (Window(3_600, 900), Window(86_400, 3_600))
PANE_S = 900
TRAFFIC = (20.0, 200.0, 1_000.0)
"""Events per hour."""
TRAINING_DAYS = 60
QUIET_DAYS = 30
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault at one magnitude, traffic and data set. Times are hours from the start of the incident."""

    data_set: str
    per_hour: float
    fault: str
    magnitude: float
    field: str
    incidents: int
    hours: tuple[float | None, ...]
    """Hours to the first page of the affected field in each incident; None if it did not page while it lasted."""
    wrong_pages: int
    """Pages for other fields that began in an incident."""
    predicted: tuple[float | None, float | None, float | None]
    """Hours at the 10, 50 and 90 % quantiles; None if the page may not come while the incident lasts."""

    @property
    def recall(self) -> float:
        """Share of the incidents that paged."""
        return sum(each is not None for each in self.hours) / self.incidents

    @property
    def is_detectable(self) -> bool:
        """Whether a page is predicted with 90 % while the incident lasts."""
        return self.predicted[2] is not None

    @property
    def within(self) -> int:
        """Number of pages within the predicted interval."""
        low, _, high = (math.inf if each is None else each for each in self.predicted)
        return sum(each is not None and low <= each <= high for each in self.hours)


@dataclass(frozen=True, slots=True)
class QuietStream:
    """Pages of a stream without faults."""

    data_set: str
    per_hour: float
    days: int
    pages: dict[str, int]
    """Number of pages by rule and field."""
    phi: float
    """Overdispersion of the field of faults in the long window."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The events of one data set at one traffic."""

    data_set: DataSet
    training: pa.Table
    stream: pa.Table
    """Without faults."""
    contract: Contract
    baseline: Baseline
    incidents: dict[str, list[Incident]]
    """By class of fault."""

    @property
    def quiet(self) -> pa.Table:
        """The first days of the stream without faults."""
        end = self.stream["at"][0].as_py() + timedelta(days=QUIET_DAYS)
        return self.stream.filter(pc.less(self.stream["at"], end))

    def faulty(self, fault: str) -> pa.Table:
        """The stream with all incidents of a class of faults."""
        return plant(self.stream, self.data_set, fault, self.incidents[fault], self.contract, self.baseline)


def make_streams(name: str, per_hour: float, repeats: int, faults: Sequence[str], seed: int) -> Streams:
    """Draw training and production of a data set, and plan the incidents; equal arguments give equal streams."""
    data_set = DATA_SETS[name]
    rng = np.random.default_rng([seed, list(DATA_SETS).index(name), int(per_hour)])
    training = data_set.stream(0, TRAINING_DAYS, per_hour, rng)
    longest_days = LEAD_DAYS + CYCLE_DAYS * max(stream_cycles(fault, repeats) for fault in faults)
    stream = data_set.stream(TRAINING_DAYS, max(longest_days, QUIET_DAYS), per_hour, rng)
    incidents = {fault: plan_incidents(fault, TRAINING_DAYS, repeats, rng) for fault in faults}
    return Streams(data_set, training, stream, *_infer(data_set, training), incidents)


def score_data_set(
    client: Client, name: str, per_hour: float, repeats: int, faults: Sequence[str], seed: int
) -> Iterator[Cell | QuietStream]:
    """Infer a contract and a baseline, and score a quiet stream and one stream per class of fault."""
    streams = make_streams(name, per_hour, repeats, faults, seed)
    data_set, contract, baseline = streams.data_set, streams.contract, streams.baseline
    judge = StreamJudge(client, contract, baseline)
    key = f"{name} {per_hour:g}"
    episodes = judge.pages(f"{key} quiet", *judge.count(streams.quiet))
    [field] = [each for each in baseline.fields if each.name == data_set.number]
    phi = field.slices[ALL].phi[WINDOWS[-1].name].value
    pages = Counter(f"{each.rule.name} of {each.key}" for each in episodes)
    yield QuietStream(name, per_hour, QUIET_DAYS, dict(sorted(pages.items())), phi)
    for fault, incidents in streams.incidents.items():
        start_s, counts = judge.count(streams.faulty(fault))
        episodes = judge.pages(f"{key} {fault}", start_s, counts)
        yield from _cells(data_set, per_hour, fault, incidents, episodes, contract, baseline, start_s, counts)


def _infer(data_set: DataSet, training: pa.Table) -> tuple[Contract, Baseline]:
    table = training.rename_columns([name.removeprefix("features.") for name in training.column_names])
    fields = [name for name in table.column_names if name != "at"]
    options = InferOptions(
        table=None,  # type: ignore[arg-type]  # `infer_table` does not use it
        model=data_set.name,
        version="1",
        roles=Roles(time="at", critical=frozenset(fields)),
        pane_s=PANE_S,
        windows=WINDOWS,
    )
    result = infer_table(memory_table(data_set.name, table), options)
    return result.contract, result.baseline


def _cells(
    data_set: DataSet,
    per_hour: float,
    fault: str,
    incidents: list[Incident],
    episodes: list[Episode],
    contract: Contract,
    baseline: Baseline,
    start_s: int,
    counts: IntArray,
) -> Iterator[Cell]:
    name = affected_field(data_set, fault)
    for magnitude in FAULT_CLASSES[fault]:
        chosen = [each for each in incidents if each.magnitude == magnitude]
        hours: list[float | None] = []
        wrong = 0
        for incident in chosen:
            begun = [each for each in episodes if incident.start_s <= each.start < incident.end_s]
            own = [each.start for each in begun if each.key == name]
            hours.append((min(own) - incident.start_s) / 3_600 if own else None)
            wrong += sum(each.key != name for each in begun)
        predicted = _predict(contract, baseline, name, per_hour, chosen, start_s, counts)
        yield Cell(
            *(data_set.name, per_hour, fault, magnitude, name, len(chosen)),
            *(tuple(hours), wrong, predicted),
        )


def _predict(
    contract: Contract,
    baseline: Baseline,
    name: str,
    per_hour: float,
    incidents: list[Incident],
    start_s: int,
    counts: IntArray,
) -> tuple[float | None, float | None, float | None]:
    """Predict the first page from the shares of the affected events; the first rule to page counts."""
    [field] = [each for each in baseline.fields if each.name == name]
    pane_s = contract.pane_s
    affected = np.zeros(counts.shape[1], np.int64)
    for incident in incidents:
        first, last = -(-(incident.start_s - start_s) // pane_s), (incident.end_s - start_s) // pane_s
        affected += counts[first:last].sum(axis=0)
    after = observed_shares(field, _slice_counts(Layout(baseline), field, affected))
    pages = [
        each for each in predict_pages(contract, field, after, Traffic(per_hour / 3_600)) if each.severity == "page"
    ]

    def hours(quantile: str) -> float | None:
        first = min((getattr(each, quantile) for each in pages), default=math.inf) / 3_600
        return first if first <= LASTS_DAYS * 24 else None

    return hours("low_s"), hours("median_s"), hours("high_s")


def _slice_counts(layout: Layout, field: FieldBaseline, counts: IntArray) -> SliceCounts:
    index = layout.field_index[field.name]
    start = int(layout.starts[index])
    return SliceCounts.from_columns(counts[start : start + int(layout.widths[index])].tolist())


def score_in_database(
    address: Address, name: str, per_hour: float, repeats: int, faults: Sequence[str], seed: int
) -> list[Cell | QuietStream]:
    """Create a database, and score one data set at one traffic in it."""
    with connect(address, create=True) as client:
        migrate.apply(client)
        return list(score_data_set(client, name, per_hour, repeats, faults, seed))


def cell_json(cell: Cell | QuietStream) -> dict[str, Any]:
    """Convert a result to JSON values."""
    return asdict(cell)
