"""Chooses the reference of each version and counts it: a period with its counts at each age of its labels.

The reference is the period that a person chose (`barograph reference set`). Without a choice it is the first whole
week, counted from the version's first window, that

- has passed the horizon, so that no more labels are expected;
- has been read completely: every partition holds rows of the model after the horizon;
- has enough labels;
- meets the contract's performance targets: a model that starts badly has no good reference yet.

The reference is a function of the rows, whatever the order in which they arrive and the passes that find them. A week
may look bad because its labels have not been read yet, such as between the predictions and the labels of a backfill. So
neither a rejection nor a reference is final: when rows of the reference or of an earlier week arrive, the search starts
again at the first week that changed. It is counted from raw rows. If those are deleted, a reference stays as it is.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import structlog
from barograph.contract import Contract

from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.baseline.levels import Level
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.scorer.measure import measure
from barograph_server.streams.scorer.reference import REFERENCE_S, ReferencePeriod, References, reference_ages_s
from barograph_server.streams.scorer.rules import baseline_changes, dimensions_at
from barograph_server.streams.scorer.statement_chunks import statement_chunks
from barograph_server.streams.scorer.verdicts import target_levels
from barograph_server.streams.scorer.window_counts import WindowCounts, window_counts
from barograph_server.streams.scorer.windows import EventClock
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring import new_rows, results, state
from barograph_server.warehouse.scoring.results import ReferenceChoice
from barograph_server.warehouse.scoring.rules import Rules
from barograph_server.warehouse.tables import table_of

log = structlog.get_logger()

Period = tuple[int, int]
"""Start and end of a reference in event time, Unix seconds."""
Rows = list[dict[str, Any]]
"""Rows of `performance_reference`, without `frozen_at`."""


class _Position(NamedTuple):
    """How far the search for a version's reference has come. It starts again if the first two change."""

    first_s: int
    targets: tuple[tuple[str, float], ...]
    rejected_weeks: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What one model's pass knows."""

    contract: Contract
    registry: Registry
    clock: EventClock
    now_ms: int
    """The scorer's clock."""
    changed: Collection[int] = ()
    """Score windows (starts, Unix seconds) that changed, or that were counted in this pass."""


@dataclass
class Freezer:
    """Chooses and counts the references of one model."""

    rules: Rules
    check_stop: Callable[[], None] = lambda: None
    """Called between statements. It raises to break off."""
    choices: Mapping[str, ReferenceChoice] = field(default_factory=dict)
    """The periods that a person chose, by version."""
    _positions: dict[str, _Position] = field(default_factory=dict)
    _counted_choices: dict[str, ReferenceChoice] = field(default_factory=dict)
    """The choices that have been counted, so that one without raw rows is not counted in every pass."""

    def has_new_choice(self, references: References) -> bool:
        """Return whether a person chose a reference, or withdrew a choice, since the last pass."""
        return any(self._counted_choices.get(version) != choice for version, choice in self.choices.items()) or any(
            period.chosen and version not in self.choices for version, period in references.periods.items()
        )

    def freeze(self, client: Client, references: References, this: Pass) -> int | None:
        """Count the references that are due.

        Returns:
            The first window (start, Unix seconds) of the versions whose reference changed; None if there are none.
        """
        first_windows: list[int] = []
        read_until_s: float | None = None
        for version, first_s in state.first_windows(client, self.rules).items():
            current = references.periods.get(version)
            if version in self.choices:
                rows = self._chosen(client, version, current, this)
            elif not _is_due(first_s, current, this.changed):
                continue
            else:
                if current is None and read_until_s is None:
                    all_read = this.clock.all_read
                    read_until_s = math.inf if all_read else new_rows.read_until_s(client, self.rules)
                # A reference whose rows changed is counted at once, because a later pass does not find the change.
                until_s = math.inf if current is not None or read_until_s is None else read_until_s
                rows = self._search(client, version, first_s, current, until_s, this)
            if rows is None or _content(rows) == _content(references.rows_of(version)):
                continue
            results.write_references(client, rows or [results.withdrawn_reference(self.rules, version)], this.now_ms)
            first_windows.append(first_s)
        return min(first_windows, default=None)

    def _search(
        self,
        client: Client,
        version: str,
        first_s: int,
        current: ReferencePeriod | None,
        read_until_s: float,
        this: Pass,
    ) -> Rows | None:
        """Find the first good week.

        Returns:
            Its rows; no rows if there is none; None if raw rows are deleted, so that the reference stays.
        """
        weeks, targets = 0, tuple(sorted(this.contract.slo.performance.items()))
        position = self._positions.get(version)
        if position is not None and position[:2] == (first_s, targets):
            changed_weeks = [(start - first_s) // REFERENCE_S for start in this.changed if start >= first_s]
            weeks = min([position.rejected_weeks, *changed_weeks])
        keeps = current is not None and not current.chosen
        while True:
            start_s = first_s + weeks * REFERENCE_S
            matured_s = start_s + REFERENCE_S + self.rules.horizon_ms / 1000
            is_matured = min(this.clock.now_s, read_until_s) >= matured_s
            rows = self._count(client, version, (start_s, start_s + REFERENCE_S), this) if is_matured else []
            if rows or not is_matured or (rows is None and keeps):
                break
            weeks += 1
        self._positions[version] = _Position(first_s, targets, weeks)
        return rows

    def _chosen(self, client: Client, version: str, current: ReferencePeriod | None, this: Pass) -> Rows | None:
        """Return the rows of the chosen period; None if they are in force already or cannot be counted."""
        choice = self.choices[version]
        start_s, end_s = choice.period
        is_counted = self._counted_choices.get(version) == choice or current == (start_s, end_s, True)
        self._counted_choices[version] = choice
        self._positions.pop(version, None)
        if is_counted and not any(start_s <= start < end_s for start in this.changed):
            return None
        rows = self._count(client, version, choice.period, this, chosen=True)
        if not rows:
            log.warning(
                "The chosen reference cannot be counted: its raw predictions are deleted, or it has too few labels. "
                "The earlier reference stays in force. Choose another period with `barograph reference set`.",
                model=self.rules.model,
                version=version,
                start_s=start_s,
                end_s=end_s,
            )
            return None
        return rows

    def _count(self, client: Client, version: str, period: Period, this: Pass, *, chosen: bool = False) -> Rows | None:
        """Count a period of a version at each age of its labels.

        Returns:
            The rows without `frozen_at`; no rows if the period is not a reference; None if raw rows are deleted.
        """
        start_s, end_s = period
        contract, registry = this.contract, this.registry
        predictions = state.predictions_in(client, self.rules, version, start_s, end_s)
        if predictions == 0:
            return []
        windows = state.windows_in(client, self.rules, start_s, end_s)
        groups = list(statement_chunks(client, self.rules, windows, baseline_changes(registry, contract.model)))
        repeats = [state.has_repeated_ids(client, self.rules, group) for group in groups]
        rows: Rows = []
        for age_s in reversed(reference_ages_s(self.rules)) if groups else ():
            counted = []
            for group, has_repeats in zip(groups, repeats, strict=True):
                self.check_stop()
                dimensions = dimensions_at(contract, registry, group[0])
                counted.append(
                    state.count_reference(client, self.rules, dimensions, group, age_s, has_repeats=has_repeats)
                )
            columns = {"age_s": age_s, "from_time": start_s, "to_time": end_s, "chosen": chosen}
            age_rows = results.reference_rows(self.rules, version, pa.concat_tables(counted), columns)
            if not rows:
                whole = [row for row in age_rows if row["slice"] == ALL and row["predictions"] >= predictions]
                if not whole:
                    return None
                reasons = rejection(contract, self.rules, _counts(self.rules, whole[0]))
                if reasons[0] and not (chosen and reasons[0] != TOO_FEW_LABELS):
                    return []
            rows += age_rows
        return rows or None


TOO_FEW_LABELS = "too few labels"


def rejection(contract: Contract, rules: Rules, counts: WindowCounts) -> list[str]:
    """Return why each of W matured periods is not a good reference; empty if it is one.

    A good reference has enough labels and no clear miss of a performance target of the contract.
    """
    measured = measure(rules, counts)
    enough = measured["mae" if rules.kind == "number" else "accuracy", ""].metric.enough
    missed: list[list[str]] = [[] for _ in enough]
    for name, target in contract.slo.performance.items():
        each = measured.get((name, ""))
        if each is not None:
            levels = target_levels(name, each.metric, target)
            for names, is_enough, level in zip(missed, each.metric.enough, levels, strict=True):
                names += [name] if is_enough and level == Level.major else []
    return [
        TOO_FEW_LABELS if not is_enough else f"misses slo.performance: {', '.join(names)}" if names else ""
        for is_enough, names in zip(enough, missed, strict=True)
    ]


def _counts(rules: Rules, row: Mapping[str, Any]) -> WindowCounts:
    return window_counts(
        rules, table_of("performance_reference", {"frozen_at": [0], **{k: [v] for k, v in row.items()}})
    )


def _is_due(first_s: int, current: ReferencePeriod | None, changed: Collection[int]) -> bool:
    """Return whether a version has no reference or a withdrawn one, or rows of it or of an earlier week changed."""
    if current is None or current.chosen:
        return True
    return any(first_s <= start < current.to_time for start in changed)


def _content(rows: Rows) -> list[str]:
    """Return rows in a form in which equal counts are equal, whatever their order."""
    names = sorted(rows[0].keys() - {"model", "basis"}) if rows else ()
    return sorted(repr([row[name] for name in names]) for row in rows)
