"""Scores one stream: recall, time to page against its prediction, and pages without a cause."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from barograph.contract import Contract, Window

from barograph_server.alerts.prediction.page_time import predict_pages
from barograph_server.alerts.prediction.window_power import Traffic
from barograph_server.alerts.simulator import Episode
from barograph_server.profiling.infer.infer import InferOptions, infer_table
from barograph_server.profiling.infer.profile import Roles
from barograph_server.profiling.infer.tables import memory_table
from barograph_server.sketches.baseline.baseline import ALL, Baseline, FieldBaseline, SliceCounts
from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout
from barograph_server.sketches.detection.effects import FieldShares, observed_shares
from barograph_server.warehouse import migrate
from barograph_server.warehouse.client import Address, Client, connect
from benchmarks.scoreboard.data_sets import DATA_SETS, FEATURES, DataSet
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
from benchmarks.scoreboard.replayed import StreamJudge, StreamReplay
from benchmarks.scoreboard.results import Cell, IncidentResult, QuietPage, QuietStream
from benchmarks.scoreboard.source_rows import SourceTest

TRAFFIC = (20.0, 200.0, 1_000.0)
"""Events per hour."""
TRAINING_DAYS = 60
LEAST_DAYS = 30
"""Least length of production."""
DAY_S = 86_400
WINDOWS = (Window(3_600, 900), Window(86_400, 3_600))
PANE_S = 900


@dataclass(frozen=True, slots=True)
class Streams:
    """The events of one data set at one traffic."""

    data_set: DataSet
    training: pa.Table
    quiet: pa.Table
    """Production without faults."""
    contract: Contract
    baseline: Baseline
    incidents: dict[str, list[Incident]]
    """By class of fault."""
    days: int
    """Length of production."""

    def faulty(self, fault: str) -> pa.Table:
        """The stream with all incidents of a class of faults."""
        return plant(self.quiet, self.data_set, fault, self.incidents[fault], self.contract, self.baseline)


def infer_model(data_set: DataSet, training: pa.Table) -> tuple[Contract, Baseline]:
    """Infer contract and baseline, with all fields critical and all other settings by default."""
    columns = [name for name in training.column_names if name.startswith(FEATURES)]
    fields = [name.removeprefix(FEATURES) for name in columns]
    table = training.select(["at", *columns]).rename_columns(["at", *fields])
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


def make_streams(name: str, per_hour: float, repeats: int, faults: Sequence[str], seed: int) -> Streams:
    """Draw training and production of a data set, and plan the incidents; equal arguments give equal streams."""
    data_set = DATA_SETS[name]
    rng = np.random.default_rng([seed, list(DATA_SETS).index(name), int(per_hour)])
    training = data_set.stream(0, TRAINING_DAYS, per_hour, rng)
    days = LEAD_DAYS + CYCLE_DAYS * max(stream_cycles(fault, repeats) for fault in faults)
    days = max(days, LEAST_DAYS)
    quiet = data_set.stream(TRAINING_DAYS, days, per_hour, rng)
    incidents = {fault: plan_incidents(fault, TRAINING_DAYS, repeats, rng) for fault in faults}
    return Streams(data_set, training, quiet, *infer_model(data_set, training), incidents, days)


def score_data_set(
    client: Client, name: str, per_hour: float, repeats: int, faults: Sequence[str], seed: int
) -> Iterator[Cell | QuietStream]:
    """Infer a contract and a baseline, and score a quiet stream and one stream per class of fault."""
    streams = make_streams(name, per_hour, repeats, faults, seed)
    judge = StreamJudge(client, streams.contract, streams.baseline)
    key = f"{name} {per_hour:g}"
    quiet = judge.replay(f"{key} quiet", *judge.count(streams.quiet))
    yield _quiet_stream(streams, per_hour, judge, quiet)
    without = {_identity(each) for each in quiet.episodes}
    for fault in faults:
        start_s, counts = judge.count(streams.faulty(fault))
        replay = judge.replay(f"{key} {fault}", start_s, counts)
        scorer = FaultScorer(streams, per_hour, fault, judge.layout, start_s, counts)
        yield from scorer.cells(replay, [each for each in replay.episodes if _identity(each) not in without])


def _identity(episode: Episode) -> tuple[str, str, int]:
    return episode.rule.name, episode.key, episode.start


def _quiet_stream(streams: Streams, per_hour: float, judge: StreamJudge, replay: StreamReplay) -> QuietStream:
    data_set = streams.data_set
    test = None
    if data_set.source is not None:
        source = data_set.source()
        rows = source.rows(TRAINING_DAYS, streams.days)
        # A stream with fewer events than the source shows a part of what happened.
        production = rows if streams.quiet.num_rows < rows.num_rows else streams.quiet
        test = SourceTest(judge, source.rows(0, TRAINING_DAYS), production)
    begin_s = streams.quiet["at"][0].as_py().timestamp()
    pages = [
        QuietPage(
            *(each.rule.name, each.key),
            judge.window_of(each.rule.name).name,
            round((each.start - begin_s) / DAY_S, 1),
            test.evidence(each.rule.name, each.key, each.start) if test is not None else None,
        )
        for each in sorted(replay.episodes, key=lambda episode: episode.start)
    ]
    return QuietStream(data_set.name, per_hour, streams.days, tuple(pages), _phi(_field(streams, data_set.number)))


def _field(streams: Streams, name: str) -> FieldBaseline:
    [field] = [each for each in streams.baseline.fields if each.name == name]
    return field


def _phi(field: FieldBaseline) -> float:
    return float(field.slices[ALL].phi[WINDOWS[-1].name].value)


class FaultScorer:
    """Scores the incidents of one class of faults in one stream, whose counts by pane contain the faults."""

    def __init__(
        self, streams: Streams, per_hour: float, fault: str, layout: Layout, start_s: int, counts: IntArray
    ) -> None:
        self._streams, self._per_hour, self._fault, self._layout = streams, per_hour, fault, layout
        self._start_s, self._counts = start_s, counts
        self._field = _field(streams, affected_field(streams.data_set, fault))

    def cells(self, replay: StreamReplay, episodes: list[Episode]) -> Iterator[Cell]:
        """Return one cell for each magnitude; `episodes` are those that do not come without the faults."""
        name, phi = self._field.name, _phi(self._field)
        for magnitude in FAULT_CLASSES[self._fault]:
            incidents = [each for each in self._streams.incidents[self._fault] if each.magnitude == magnitude]
            wrong = Counter(
                f"{each.rule.name} of {each.key}"
                for incident in incidents
                for each in episodes
                if each.key != name and incident.start_s <= each.start < incident.end_s
            )
            shares = self._affected_shares(incidents)
            predicted = self._predict(shares, self._per_hour)
            yield Cell(
                *(self._streams.data_set.name, self._per_hour, self._fault, magnitude, name),
                tuple(self._result(incident, replay, episodes) for incident in incidents),
                dict(sorted(wrong.items())),
                *(predicted, phi, self._per_hour * 24 / phi),
                self._predict(shares, 1_000 * self._per_hour)[2] is not None,
            )

    def _result(self, incident: Incident, replay: StreamReplay, episodes: list[Episode]) -> IncidentResult:
        own = [each for each in episodes if each.key == self._field.name]
        begun = [each.start for each in own if incident.start_s <= each.start < incident.end_s]
        traffic = self._traffic(incident)
        if begun:
            page_s = min(begun)
            return IncidentResult((page_s - incident.start_s) / 3_600, replay.reaction_s(page_s), "none", traffic)
        before = [each for each in own if each.start < incident.start_s < (each.end or math.inf)]
        after = [each for each in own if incident.end_s <= each.start < incident.end_s + DAY_S]
        return IncidentResult(None, None, "still firing" if before else "too late" if after else "no page", traffic)

    def _traffic(self, incident: Incident) -> float:
        first = (incident.start_s - self._start_s) // PANE_S
        events = self._counts[first : first + DAY_S // 4 // PANE_S, EVENTS]
        return round(float(events.mean()) / (self._per_hour * PANE_S / 3_600), 2)

    def _affected_shares(self, incidents: list[Incident]) -> FieldShares:
        """Return the shares of the events in the incidents."""
        affected = np.zeros(self._counts.shape[1], np.int64)
        for incident in incidents:
            first, last = -(-(incident.start_s - self._start_s) // PANE_S), (incident.end_s - self._start_s) // PANE_S
            affected += self._counts[first:last].sum(axis=0)
        index = self._layout.field_index[self._field.name]
        start = int(self._layout.starts[index])
        own = affected[start : start + int(self._layout.widths[index])]
        return observed_shares(self._field, SliceCounts.from_columns(own.tolist()))

    def _predict(self, after: FieldShares, per_hour: float) -> tuple[float | None, float | None, float | None]:
        """Predict the hours to the first page; the first rule to page counts."""
        pages = predict_pages(self._streams.contract, self._field, after, Traffic(per_hour / 3_600))

        def hours(quantile: str) -> float | None:
            times = [getattr(each, quantile) for each in pages if each.severity == "page"]
            first = min(times, default=math.inf) / 3_600
            return first if first <= LASTS_DAYS * 24 else None

        return hours("low_s"), hours("median_s"), hours("high_s")


def score_in_database(
    address: Address, name: str, per_hour: float, repeats: int, faults: Sequence[str], seed: int
) -> list[Cell | QuietStream]:
    """Create a database, and score one data set at one traffic in it."""
    with connect(address, create=True) as client:
        migrate.apply(client)
        return list(score_data_set(client, name, per_hour, repeats, faults, seed))
