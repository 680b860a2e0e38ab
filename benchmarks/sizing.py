"""Estimate the capacity that a load needs from measured costs: processes, partitions, engines, network, storage.

Every cost comes from the curves and unit costs of `Growth`. The constants of this module are planning assumptions, such
as the utilization of a core and the replication factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from barograph_server.streams.broker.assigned_consumer import POLL_S
from barograph_server.streams.recorder import recorder
from barograph_server.streams.sketcher.decode_batch import BATCH_BYTES, BATCH_MESSAGES, BATCH_S
from benchmarks.growth_measurement import Curve, Growth

FULL = 0.6
"""Planned utilization of a core; the rest is for bursts and for catching up."""
ENGINE_CORES = 2.0
"""Cores of the measured engine; a node is one such engine."""
REPLICAS = 3
"""Kafka's replication factor."""
DAY_S = 86_400
NUMBER_BYTES = 8
PANE_S = 60
LEAST_PARTIALS = 4
"""Minimum number of partitions of `partials`."""
IDLE_FLUSH_S = 15.0
"""Flush interval of the measured idle sketchers."""
Form = Literal["json", "arrow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Incoming events and the settings that determine their cost."""

    events_per_s: float
    models: int = 10
    form: Form = "json"
    fields: int = 20
    raw_share: float = 1.0
    """Share of predictions that the recorder writes."""
    flush_s: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The capacity that a load needs."""

    sketchers: int
    recorders: int
    monitors: int
    holds: bool
    """Whether the monitors can carry the load; their number is limited by the partitions of `partials`."""
    source_partitions: int
    partials_partitions: int
    engines: int
    """Nodes with `ENGINE_CORES` cores."""
    sketcher_share: float
    """Share of a core per sketcher."""
    monitor_cores: float
    """Cores of all monitors together."""
    progress_cores: float
    """Cores of all monitors for progress records, the only cost that grows with processes × partitions × models."""
    engine_cores: float
    kafka_in_mb_s: float
    """From producers and sketchers, before replication."""
    kafka_out_mb_s: float
    """To sketchers, recorders and monitors."""
    replication_mb_s: float
    clickhouse_in_mb_s: float
    raw_gb_day: float
    panes_gb_day: float
    """Panes, verdicts, volume and rollups."""
    kafka_gb_day: float
    """Predictions and partials, all replicas."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of a load, computed from measurements."""

    growth: Growth

    def round_s(self, events: float, models: float, fields: int, form: Form) -> float:
        """CPU of one round of a sketcher, a poll with the given numbers of events and models (s).

        The cost per event is that of full polls over Kafka. The fixed cost of a round is that of the smallest measured
        batch, plus the cost of the arrays of each further model.
        """
        by_models = self.growth.curve("sketcher by models").line
        fixed_ms = self.growth.curve("sketcher by events").costs[0] + max(0.0, models - 1) * by_models.slope
        per_event_us = self.growth.units[f"sketcher_{form}_us"]
        curve = "sketcher by fields" if form == "json" else "sketcher Arrow by fields"
        return self._scaled(events * per_event_us / 1e6, fields, curve) + self._scaled(
            fixed_ms / 1e3, fields, "sketcher Arrow by fields"
        )

    def waiting_share(self, sources: float, partials: float, flush_s: float) -> float:
        """Share of a core of a sketcher without events."""
        by_sources = self.growth.curve("sketcher waiting by sources").line
        by_partials = self.growth.curve("sketcher waiting by partials")
        by_flushes = self.growth.curve("sketcher waiting by flushes").line
        held_partials = self.growth.units["held_partials"]
        held_flushes = self.growth.units["held_flushes"]
        percent = by_sources.at(sources) + by_partials.line.slope * (partials - held_partials)
        percent += by_flushes.slope * (60 / flush_s - held_flushes)
        return max(0.0, percent / 100)

    def sketcher_share(self, load: Load, processes: int, sources: int, partials: int) -> float:
        """Share of a core per sketcher, at most 1."""
        rate = load.events_per_s / processes
        idle = self.waiting_share(sources / processes, partials, load.flush_s)
        # A round waits `POLL_S` for messages and then processes them: larger rounds are fewer.
        rounds = 1 / POLL_S
        spent = 0.0
        for _ in range(12):
            spent = self.round_s(rate / rounds, load.models, load.fields, load.form)
            rounds = max(1 / (POLL_S + spent), rate / self.full_turn(load))
        # A process that would need more than a core gets larger rounds instead.
        return min(1.0, idle + rounds * spent + self.writing_share(load))

    def sketcher_capacity(self, load: Load) -> float:
        """Events per second of a sketcher on a whole core with full batches."""
        events = self.full_turn(load)
        return events / self.round_s(events, load.models, load.fields, load.form)

    def full_turn(self, load: Load) -> float:
        """Events of a sketcher's full batch, which is bounded by number, bytes and time."""
        one_s = self.round_s(1, 1, load.fields, load.form) - self.round_s(0, 1, load.fields, load.form)
        return min(BATCH_MESSAGES, BATCH_BYTES / (NUMBER_BYTES * (load.fields + 1)), BATCH_S / one_s)

    def recorder_s(self, load: Load) -> float:
        """CPU of a recorder per event (s), averaged over recorded and dropped events."""
        recorded = self.growth.units[f"recorder_{load.form}_us"] / 1e6
        at_share, share = self.growth.units[f"recorder_{load.form}_shared_us"] / 1e6, self.growth.units["raw_share"]
        dropped = min(recorded, max(0.0, (at_share - share * recorded) / (1 - share)))
        return self._scaled(
            load.raw_share * recorded + (1 - load.raw_share) * dropped, load.fields, "sketcher by fields"
        )

    def partials_per_s(self, load: Load) -> float:
        """Partials per second of a sketcher: one per model and flush, and one more when a pane ends in the flush."""
        return load.models * (1 / load.flush_s + 1 / PANE_S)

    def partial_bytes(self, load: Load) -> float:
        """Size of a partial (bytes)."""
        return 1024 * self.growth.curve("sketcher partial by fields").line.at(load.fields)

    def writing_share(self, load: Load) -> float:
        """Share of a core of a sketcher for writing its partials."""
        return self.partials_per_s(load) * self.growth.curve("sketcher writing by fields").line.at(load.fields) / 1e3

    def progress_s(self, sources: float, models: float) -> float:
        """CPU of a monitor for one progress record that seals nothing (s), in a partition with `models` models."""
        line = self.growth.curve("monitor by sources").line
        per_model = line.slope / self.growth.units["monitor_progress_models"]
        return (line.fixed + per_model * sources * models) / 1e6 + self.record_s()

    def record_s(self) -> float:
        """CPU of a monitor for receiving a single record (s): fetching, Faust, acknowledging."""
        by_flushes = self.growth.curve("monitor waiting by flushes").line
        # Percent of a core per flush a minute; each flush writes a record to every partition of `partials`.
        of_one = by_flushes.slope / 100 * 60 / self.growth.units["held_flush_partials"]
        return max(
            self.growth.units["monitor_record_us"] / 1e6,
            of_one - self.growth.curve("monitor by sources").costs[0] / 1e6,
        )

    def monitor_cores(self, load: Load, sketchers: int, sources: int, partials: int) -> tuple[float, float]:
        """Cores of all monitors together without their idle cost, and their cores for progress records."""
        merging = self.growth.curve("monitor partials by fields").line.at(load.fields) / 1e3
        merging += self.record_s()
        judging = self.growth.curve("monitor judging by fields").line.at(load.fields) / 1e3
        writing = self.growth.curve("monitor writing by fields").line.at(load.fields) / 1e3
        progress = sketchers * partials / load.flush_s * self.progress_s(sources, load.models / partials)
        judged = load.models * judging / PANE_S + min(load.models, partials) * writing / PANE_S
        return sketchers * self.partials_per_s(load) * merging + judged + progress, progress

    def monitor_waiting(self, partials: int, monitors: int) -> float:
        """Share of a core of each idle monitor."""
        line = self.growth.curve("monitor waiting by partials").line
        return max(0.0, line.at(partials / monitors)) / 100

    def recorder_round_s(self, load: Load, events: float) -> float:
        """CPU of one round of a recorder, a poll with `events` events of all models (s)."""
        by_models = self.growth.curve("recorder waiting by models").line
        of_models = max(0.0, by_models.slope) / 100 * POLL_S * max(0, load.models - 1)
        return events * self.recorder_s(load) + of_models

    def recorder_capacity(self, load: Load) -> float:
        """Events per second of a recorder on a whole core with full polls; infinite if events have no cost."""
        spent = self.recorder_round_s(load, recorder.POLL_MESSAGES)
        return recorder.POLL_MESSAGES / spent if spent else math.inf

    def recorder_share(self, load: Load, processes: int) -> float:
        """Share of a core per recorder, at most 1; includes the cost of small inserts."""
        rate = load.events_per_s / processes
        fixed = max(0.0, self.growth.curve("recorder waiting by rate").line.fixed) / 100
        rounds, spent = 1 / POLL_S, 0.0
        for _ in range(12):
            spent = self.recorder_round_s(load, rate / rounds)
            rounds = max(1 / (POLL_S + spent), rate / recorder.POLL_MESSAGES)
        return min(1.0, fixed + rounds * spent)

    def engine_cores(self, load: Load, partials: int, *, sketchers: int, recorders: int, monitors: int) -> float:
        """Cores of all engines.

        For raw rows with their merges, an insert per second and recorder, a commit per pane and partition of
        `partials`, and the queries and reports of all processes.
        """
        rows = load.events_per_s * load.raw_share * self.growth.units[f"engine_{load.form}_us"] / 1e6
        rows = self._scaled(rows, load.fields, "sketcher by fields")
        commits = (
            min(load.models, partials) / PANE_S * self.growth.curve("ClickHouse engine by fields").line.fixed / 1e3
        )
        more = load.models / PANE_S * self.growth.curve("ClickHouse engine by fields").line.slope * load.fields / 1e3
        # Between panes, each partition of `partials` writes its offset ledger at most every `WRITE_S`.
        ledger = partials / max(WRITE_S, load.flush_s / max(1, sketchers)) * self._ledger_s()
        inserts = recorders * self.growth.units["engine_recorder_insert_ms"] / 1e3
        return (
            rows + inserts + commits + max(0.0, more) + ledger + (sketchers + recorders + monitors) * self.query_share()
        )

    def query_share(self) -> float:
        """Share of an engine's core per process, for reading contracts and reporting every ten seconds."""
        units = self.growth.units
        # One sketcher wrote to each of those partitions every 15 s.
        ledger = units["idle_partials"] / max(WRITE_S, IDLE_FLUSH_S) * self._ledger_s()
        return max(0.0, units["idle_engine_share"] - ledger) / units["idle_processes"]

    def _ledger_s(self) -> float:
        return LEDGER_INSERTS * self.growth.units["engine_small_insert_ms"] / 1e3

    def _scaled(self, cost: float, fields: int, curve: str) -> float:
        """A cost that was measured with the fields of `grown`, for another number of fields."""
        measured = int(self.growth.units["fields"])
        if fields == measured:
            return cost
        result = self.growth.curve(curve)
        return cost * _interpolated(result, fields) / _interpolated(result, measured)


WRITE_S = 10.0
"""Default interval of the monitor's writes between panes."""
LEDGER_INSERTS = 2
"""Inserts of such a write: tables `offset_ledger` and `progress`."""


def needs(growth: Growth, load: Load) -> Needs:
    """Estimate the capacity that a load needs.

    Raises:
        KeyError: a cost was not measured.
    """
    costs = Costs(growth)
    monitors = partials = expected = 1
    sketchers = recorders = sources = 1
    # The numbers depend on each other; a few iterations converge.
    for _ in range(12):
        # A partition without a model has only progress records: more partitions than models have no use.
        partials = _power_of_two(max(min(2 * monitors, load.models), LEAST_PARTIALS))
        capacity = costs.sketcher_capacity(load)
        idle = costs.waiting_share(sources / sketchers, partials, load.flush_s)
        spare = max(FULL - idle - costs.writing_share(load), FULL / 10)
        sketchers = _processes(load.events_per_s, capacity * spare)
        recorders = _processes(load.events_per_s, FULL * costs.recorder_capacity(load))
        sources = _power_of_two(max(sketchers, recorders))
        cores, progress = costs.monitor_cores(load, sketchers, sources, partials)
        own = costs.monitor_waiting(partials, monitors)
        expected = _processes(cores, max(FULL - own, FULL / 10))
        monitors = min(expected, partials)
    engine = costs.engine_cores(load, partials, sketchers=sketchers, recorders=recorders, monitors=monitors)
    event = growth.units[f"{load.form}_kafka_bytes"] * load.fields / growth.units["fields"]
    events_mb_s = load.events_per_s * event / 1e6
    partials_mb_s = sketchers * costs.partials_per_s(load) * costs.partial_bytes(load) / 1e6
    row = growth.units[f"{load.form}_row_bytes"] * load.fields / growth.units["fields"]
    sent = growth.units["insert_row_bytes"] * load.fields / growth.units["fields"]
    pane = 1024 * growth.curve("ClickHouse bytes by fields").line.at(load.fields)
    return Needs(
        sketchers=sketchers,
        recorders=recorders,
        monitors=monitors,
        holds=expected <= monitors,
        source_partitions=sources,
        partials_partitions=partials,
        engines=max(1, math.ceil(engine / (ENGINE_CORES * FULL))),
        sketcher_share=costs.sketcher_share(load, sketchers, sources, partials),
        monitor_cores=cores + monitors * own,
        progress_cores=progress,
        engine_cores=engine,
        kafka_in_mb_s=events_mb_s + partials_mb_s,
        kafka_out_mb_s=2 * events_mb_s + partials_mb_s,
        replication_mb_s=(REPLICAS - 1) * (events_mb_s + partials_mb_s),
        clickhouse_in_mb_s=load.events_per_s * load.raw_share * sent / 1e6,
        raw_gb_day=load.events_per_s * load.raw_share * row * DAY_S / 1e9,
        panes_gb_day=load.models * pane * DAY_S / PANE_S / 1e9,
        kafka_gb_day=REPLICAS * (events_mb_s + partials_mb_s) * DAY_S / 1e3,
    )


def most_sketchers(growth: Growth, flush_s: float) -> float:
    """Number of sketchers whose progress records alone fill the monitor of one partition."""
    return FULL * flush_s / Costs(growth).progress_s(0, 0)


def capacities(growth: Growth, load: Load) -> dict[str, float]:
    """Events per second at which one process of each stage, or one engine, reaches its planned utilization.

    The monitor is missing: its cost depends on partials, and one process can carry any rate of a few models.
    """
    costs = Costs(growth)
    partials, sources = 4, 4
    idle = costs.waiting_share(sources, partials, load.flush_s) + costs.writing_share(load)
    of_one = Load(events_per_s=1.0, models=0, form=load.form, fields=load.fields)
    row_s = costs.engine_cores(of_one, 0, sketchers=0, recorders=0, monitors=0)
    return {
        "sketcher": costs.sketcher_capacity(load) * max(FULL - idle, 0.0),
        "recorder": FULL * costs.recorder_capacity(load),
        "ClickHouse node": ENGINE_CORES * FULL / (row_s * load.raw_share) if load.raw_share else math.inf,
    }


def _interpolated(curve: Curve, factor: float) -> float:
    """Interpolate a cost; proportional beyond the last point, constant before the first one."""
    if factor > curve.factors[-1]:
        return curve.costs[-1] * factor / curve.factors[-1]
    return float(np.interp(factor, curve.factors, curve.costs))


def _processes(work: float, each: float) -> int:
    return max(1, math.ceil(work / each))


def _power_of_two(least: int) -> int:
    return 1 << max(0, (least - 1).bit_length())
