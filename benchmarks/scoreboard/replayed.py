"""Counts a stream into panes, judges its windows with the monitor's code, and replays the rules over the verdicts."""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Contract, Window
from barograph.contract.alerts import FIELD_RULES
from barograph.guard.health import ModelHealth
from numpy.typing import NDArray

from barograph_server.alerts import AlertSettings, rules_of
from barograph_server.alerts.simulator import Episode, simulate
from barograph_server.alerts.templates.fields import RATE_RULES
from barograph_server.drills.guard_states import guard_states
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.baseline.cells import FieldCells, category_cells, numeric_cells
from barograph_server.sketches.baseline.columns import TAIL, FieldColumn
from barograph_server.sketches.baseline.layout import EVENTS, IntArray, Layout
from barograph_server.streams.monitor.state.commit_rows import Columns
from barograph_server.streams.monitor.state.series import CompiledBaseline, Series
from barograph_server.streams.monitor.verdicts.judge import judge
from barograph_server.streams.monitor.verdicts.window_counts import WindowSet
from barograph_server.streams.monitor.windows import ends_between, fixed_starts
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.signals import FactTime
from barograph_server.warehouse.tables import insert_columns
from benchmarks.scoreboard.data_sets import FEATURES

HOUR_S = 3_600


@dataclass(frozen=True, slots=True)
class StreamReplay:
    """What the rules that page did on a stream, and what the guard made of it."""

    episodes: tuple[Episode, ...]
    """Periods in which an instance fired."""
    guard: tuple[ModelHealth, ...]
    """The first record of each state."""

    def reaction_s(self, page_s: int) -> float | None:
        """Return the time from a page (Unix seconds) to the degraded state; None if the model was degraded before."""
        before = [each.state for each in self.guard if each.at_ms < page_s * 1000]
        if before and before[-1] == "degraded":
            return None
        degraded_ms = [each.at_ms for each in self.guard if each.at_ms >= page_s * 1000 and each.state == "degraded"]
        return min(degraded_ms) / 1000 - page_s if degraded_ms else math.inf


class StreamJudge:
    """Judges streams of one contract and baseline."""

    def __init__(self, client: Client, contract: Contract, baseline: Baseline) -> None:
        self._client, self.contract = client, contract
        self.layout = Layout(baseline)
        self._compiled = CompiledBaseline.of(self.layout)
        self._cells = [FieldCells(field) for field in self.layout.fields]
        self._baseline_id = baseline.id
        self._short, self._long = min(contract.windows), max(contract.windows)
        self.sealed_after_s = contract.lateness_s + contract.out_of_order_s

    def window_of(self, rule: str) -> Window:
        """Return the window that a page of a rule is about: the short one for rates, the long one for PSI."""
        return self._short if rule in RATE_RULES else self._long

    def count(self, table: pa.Table) -> tuple[int, IntArray]:
        """Count events by pane: the start of the first, Unix seconds, and the counts, shape (n_panes, width)."""
        pane = table["at"].cast(pa.int64()).to_numpy() // (self.contract.pane_s * 1000)
        first, n_panes = int(pane.min()), int(pane.max() - pane.min()) + 1
        index = pane - first
        counts = np.zeros((n_panes, self.layout.width), np.int64)
        counts[:, EVENTS] = np.bincount(index, minlength=n_panes)
        for field, start in zip(self._cells, self.layout.starts.tolist(), strict=True):
            width = field.n_cells + TAIL
            cells, flags = _assign(field, table[f"{FEATURES}{field.field.name}"].combine_chunks())
            flat = np.bincount(index * width + cells, minlength=n_panes * width)
            counts[:, start : start + width] = flat.reshape(n_panes, width)
            for column, mask in flags:
                counts[:, start + field.n_cells + column] = np.bincount(index[mask], minlength=n_panes)
        return first * self.contract.pane_s, counts

    def replay(self, name: str, start_s: int, counts: IntArray, known: FactTime = "judged") -> StreamReplay:
        """Judge a stream under the name of a model, and replay the field rules that page.

        `start_s` is the start of the first pane of the counts. A rule knows a verdict as soon as its window is sealed,
        or as soon as it ends, as in drills.
        """
        contract = msgspec.structs.replace(self.contract, model=name)
        series = self._series(contract, start_s, counts)
        end_s = start_s + len(counts) * contract.pane_s
        for window in contract.windows:
            ends_s = list(ends_between(window, start_s + window.length_s - 1, end_s))
            starts_s, lost = fixed_starts(window, ends_s), np.zeros(len(ends_s))
            windows = WindowSet(contract, window, starts_s, np.array(ends_s), lost, lost.astype(np.int8), 1, 0)
            for drift, rates in judge(series, windows):
                self._insert("drift", drift)
                # Rules read rates of the short window only.
                self._insert("rates", rates if window == self._short else None)
        settings = AlertSettings()
        rules = [rule for rule in rules_of(contract, settings) if rule.name in FIELD_RULES and rule.severity == "page"]
        simulation = simulate(self._client, rules, settings, start_s, end_s, known)
        episodes = tuple(episode for each in simulation.replays for episode in each.episodes)
        return StreamReplay(episodes, tuple(guard_states(contract, simulation)))

    def _series(self, contract: Contract, start_s: int, counts: IntArray) -> Series:
        series = Series("1", self._baseline_id, self._compiled, contract, first_s=start_s)
        hours: dict[int, IntArray] = {}
        for i, of_pane in enumerate(counts):
            at = start_s + i * contract.pane_s
            pane = series.panes[at] = series.empty_pane(at)
            pane.counts = of_pane[None]
            hour = at // HOUR_S * HOUR_S
            hours[hour] = hours.get(hour, 0) + of_pane[None]
        series.hours.update(hours)
        return series

    def _insert(self, table: str, columns: Columns | None) -> None:
        if columns is not None and len(columns["record_seq"]):
            judged = (np.asarray(columns["window_end"], np.int64) + self.sealed_after_s) * 1000
            insert_columns(self._client, table, columns | {"judged_at": judged})


def _assign(
    field: FieldCells, column: pa.Array
) -> tuple[NDArray[np.int64], tuple[tuple[FieldColumn, NDArray[np.bool_]], ...]]:
    """Return the cell of each value, and the counts beside it with the values that each holds."""
    if field.field.kind == "category":
        return category_cells(field, column).astype(np.int64), ()
    null = pc.is_null(column).to_numpy(zero_copy_only=False)
    values = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
    cells = numeric_cells(field, values, null)
    return cells.cell.astype(np.int64), cells.flags
