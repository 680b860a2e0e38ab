"""Freezing: which week of a version is its reference, and what it held at each age of its labels.

It is the first whole week, counted from the version's first window, that

- has passed the horizon, so that no label is awaited any more;
- has wholly been read: every partition holds rows of the model from beyond the horizon;
- has labels enough, and
- keeps what the contract promises: of a model that was bad at first the best that is known is not that.

It is counted from raw rows, once per version. Where these are gone there is none.
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
from streams.scorer.measure import figures
from streams.scorer.reference import REFERENCE_S, ages_of
from streams.scorer.rules import breaks_of, dimensions_at
from streams.scorer.statement_chunks import chunks
from streams.scorer.verdicts import levels_of_promise
from streams.scorer.window_counts import dense
from streams.scorer.windows import Now
from warehouse.client import Client
from warehouse.scoring import arrivals, results, state
from warehouse.scoring.rules import Rules
from warehouse.tables import table_of


@dataclass
class Freezer:
    """Freezes the references of one model."""

    rules: Rules
    check: Callable[[], None] = lambda: None
    """Called between statements: raises to break off."""
    _refused: dict[tuple[str, object], int] = field(default_factory=dict)
    """How many weeks of a version are no reference, as long as the contract promises the same."""

    def freeze(
        self, client: Client, contract: Contract, registry: Registry, frozen: set[str], now: Now, now_ms: int
    ) -> int | None:
        """Freeze the reference of each version whose first good week has passed the horizon.

        Args:
            client: the warehouse.
            contract: of the model.
            registry: with its baselines.
            frozen: versions that have a reference.
            now: in event time.
            now_ms: by the clock of the scorer.

        Returns:
            The first moment (Unix seconds) of the versions of which one was frozen; None where none was.
        """
        since: list[int] = []
        promised = tuple(sorted(contract.slo.performance.items()))
        read_until_s: float | None = None
        for version, first_s in state.first_windows(client, self.rules).items():
            if version in frozen:
                continue
            weeks = self._refused.get((version, promised), 0)
            while True:
                start_s = first_s + weeks * REFERENCE_S
                matured_s = start_s + REFERENCE_S + self.rules.horizon_ms / 1000
                if now.second < matured_s:
                    break
                if read_until_s is None:
                    read_until_s = math.inf if now.all_read else arrivals.read_until_s(client, self.rules)
                if read_until_s < matured_s:
                    break
                rows = self._count(client, contract, registry, version, start_s, now_ms)
                if rows:
                    results.write_references(client, rows)
                    since.append(first_s)
                    break
                weeks += 1
            self._refused[version, promised] = weeks
        return min(since, default=None)

    def _count(
        self, client: Client, contract: Contract, registry: Registry, version: str, start_s: int, now_ms: int
    ) -> list[dict[str, Any]]:
        """Count a week of a version at each age of its labels; nothing where it is no reference."""
        end_s = start_s + REFERENCE_S
        predictions = state.predictions_in(client, self.rules, version, start_s, end_s)
        if predictions == 0:
            return []
        windows = state.windows_in(client, self.rules, start_s, end_s)
        groups = list(chunks(client, self.rules, windows, breaks_of(registry, contract.model)))
        odd = [state.has_odd_ids(client, self.rules, group) for group in groups]
        rows: list[dict[str, Any]] = []
        for age_s in reversed(ages_of(self.rules)) if groups else ():
            counted = []
            for group, odd_ids in zip(groups, odd, strict=True):
                self.check()
                dimensions = dimensions_at(contract, registry, group[0])
                counted.append(state.score_together(client, self.rules, dimensions, group, age_s, odd=odd_ids))
            spanned = {"age_s": age_s, "from_time": start_s, "to_time": end_s, "frozen_at": now_ms}
            of_age = results.reference_rows(self.rules, version, pa.concat_tables(counted), spanned)
            if not rows:
                whole = [row for row in of_age if row["slice"] == ALL and row["predictions"] >= predictions]
                if not whole or not is_known_good(contract, self.rules, whole[0]):
                    return []
            rows += of_age
        return rows


def is_known_good(contract: Contract, rules: Rules, row: Mapping[str, Any]) -> bool:
    """Whether a row of `performance_reference` has labels enough and does not surely break what is promised."""
    measured = figures(rules, dense(rules, table_of("performance_reference", {name: [row[name]] for name in row})))
    first = measured["mae" if rules.kind == "number" else "accuracy", ""].metric
    if not first.enough[0]:
        return False
    return not any(
        figure.metric.enough[0] and levels_of_promise(name, figure.metric, promise)[0] == Level.major
        for name, promise in contract.slo.performance.items()
        if (figure := measured.get((name, ""))) is not None
    )
