"""Freezes the reference of each version: one week with its counts at each age of its labels.

The reference is the first whole week, counted from the version's first window, that

- has passed the horizon, so that no more labels are expected;
- has been read completely: every partition holds rows of the model after the horizon;
- has enough labels;
- meets the contract's performance targets: a model that starts badly has no good reference yet.

It is counted from raw rows, once per version. If those are deleted there is no reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from barograph.contract import Contract

from sketches.baseline.baseline import ALL
from sketches.baseline.levels import Level
from streams.registry.registry import Registry
from streams.scorer.measure import measure
from streams.scorer.reference import REFERENCE_S, reference_ages_s
from streams.scorer.rules import baseline_changes, dimensions_at
from streams.scorer.statement_chunks import statement_chunks
from streams.scorer.verdicts import target_levels
from streams.scorer.window_counts import window_counts
from streams.scorer.windows import EventClock
from warehouse.client import Client
from warehouse.scoring import new_rows, results, state
from warehouse.scoring.rules import Rules
from warehouse.tables import table_of


@dataclass
class Freezer:
    """Freezes the references of one model."""

    rules: Rules
    check_stop: Callable[[], None] = lambda: None
    """Called between statements. It raises to break off."""
    _rejected_weeks: dict[tuple[str, object], int] = field(default_factory=dict)
    """Number of weeks that are not a reference, by version and performance targets of the contract."""

    def freeze(
        self, client: Client, contract: Contract, registry: Registry, frozen: set[str], clock: EventClock, now_ms: int
    ) -> int | None:
        """Freeze the references of the versions whose first good week has passed the horizon.

        Args:
            client: the warehouse.
            contract: the model's contract.
            registry: its baselines.
            frozen: versions that have a reference.
            clock: the current event time.
            now_ms: the scorer's clock.

        Returns:
            The first window (start, Unix seconds) of the versions that were frozen; None if there are none.
        """
        first_windows: list[int] = []
        targets = tuple(sorted(contract.slo.performance.items()))
        read_until_s: float | None = None
        for version, first_s in state.first_windows(client, self.rules).items():
            if version in frozen:
                continue
            weeks = self._rejected_weeks.get((version, targets), 0)
            while True:
                start_s = first_s + weeks * REFERENCE_S
                matured_s = start_s + REFERENCE_S + self.rules.horizon_ms / 1000
                if clock.now_s < matured_s:
                    break
                if read_until_s is None:
                    read_until_s = math.inf if clock.all_read else new_rows.read_until_s(client, self.rules)
                if read_until_s < matured_s:
                    break
                rows = self._count(client, contract, registry, version, start_s, now_ms)
                if rows:
                    results.write_references(client, rows)
                    first_windows.append(first_s)
                    break
                weeks += 1
            self._rejected_weeks[version, targets] = weeks
        return min(first_windows, default=None)

    def _count(
        self, client: Client, contract: Contract, registry: Registry, version: str, start_s: int, now_ms: int
    ) -> list[dict[str, Any]]:
        """Count a week of a version at each age of its labels. Return no rows if the week is not a reference."""
        end_s = start_s + REFERENCE_S
        predictions = state.predictions_in(client, self.rules, version, start_s, end_s)
        if predictions == 0:
            return []
        windows = state.windows_in(client, self.rules, start_s, end_s)
        groups = list(statement_chunks(client, self.rules, windows, baseline_changes(registry, contract.model)))
        repeats = [state.has_repeated_ids(client, self.rules, group) for group in groups]
        rows: list[dict[str, Any]] = []
        for age_s in reversed(reference_ages_s(self.rules)) if groups else ():
            counted = []
            for group, has_repeats in zip(groups, repeats, strict=True):
                self.check_stop()
                dimensions = dimensions_at(contract, registry, group[0])
                counted.append(
                    state.count_reference(client, self.rules, dimensions, group, age_s, has_repeats=has_repeats)
                )
            columns = {"age_s": age_s, "from_time": start_s, "to_time": end_s, "frozen_at": now_ms}
            age_rows = results.reference_rows(self.rules, version, pa.concat_tables(counted), columns)
            if not rows:
                whole = [row for row in age_rows if row["slice"] == ALL and row["predictions"] >= predictions]
                if not whole or not is_known_good(contract, self.rules, whole[0]):
                    return []
            rows += age_rows
        return rows


def is_known_good(contract: Contract, rules: Rules, row: Mapping[str, Any]) -> bool:
    """Return whether a row of `performance_reference` has enough labels and no clear miss of a performance target."""
    measured = measure(
        rules, window_counts(rules, table_of("performance_reference", {name: [row[name]] for name in row}))
    )
    first = measured["mae" if rules.kind == "number" else "accuracy", ""].metric
    if not first.enough[0]:
        return False
    return not any(
        each.metric.enough[0] and target_levels(name, each.metric, target)[0] == Level.major
        for name, target in contract.slo.performance.items()
        if (each := measured.get((name, ""))) is not None
    )
