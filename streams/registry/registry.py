"""The contracts and baselines that processors work by, read from ClickHouse and polled.

With ClickHouse away a processor goes on with the last copy. A version's first baseline holds for all event times;
later ones from their effective time on, which is a pane boundary, so that two sketchers never bin one pane on
different edges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from barograph.contract import Contract

from sketches.baseline.baseline import Baseline
from sketches.baseline.layout import Layout


@dataclass(frozen=True, slots=True)
class RegisteredBaseline:
    """A baseline and since when (event time, Unix seconds; 0 for a version's first) it holds."""

    baseline: Baseline
    baseline_id: str
    effective_from_s: int
    accepted_at_ms: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a prediction is binned on."""

    layout: Layout
    baseline_id: str
    unregistered: bool


@dataclass(frozen=True)
class Registry:
    """One immutable reading of contracts and baselines; a poll makes a new one."""

    contracts: dict[str, Contract] = field(default_factory=dict)
    baselines: dict[str, dict[str, tuple[RegisteredBaseline, ...]]] = field(default_factory=dict)
    """model → version → baselines, ascending by effective time."""
    layouts: dict[str, Layout] = field(default_factory=dict)
    """By baseline id."""
    applied_at_ms: dict[str, int] = field(default_factory=dict)
    """model → when its first contract was applied."""

    def effective(self, model: str, version: str) -> tuple[tuple[RegisteredBaseline, ...], bool]:
        """Find the baselines a version is judged by, and whether the version is unregistered.

        An unregistered version of a known model is judged against the newest version's baselines, so that a
        deployment never blinds the monitor. Empty where the model has no baseline at all.
        """
        versions = self.baselines.get(model, {})
        own = versions.get(version)
        if own:
            return own, False
        if not versions:
            return (), True
        newest = max(versions.values(), key=lambda history: history[0].accepted_at_ms)
        return newest, True

    def spans(self, model: str, version: str, baseline_id: str) -> list[tuple[float, float]]:
        """Find from when until when (event time, Unix seconds) a baseline is what a version is counted on.

        A version's first holds for all times before too, its last from then on. Empty where it never is.
        """
        history, _ = self.effective(model, version)
        begins = [-math.inf, *(float(entry.effective_from_s) for entry in history[1:])]
        ends = [*begins[1:], math.inf]
        return [
            (begin, end)
            for entry, begin, end in zip(history, begins, ends, strict=False)
            if entry.baseline_id == baseline_id and begin < end
        ]

    def resolve(self, model: str, version: str, pane_start_s: int) -> Resolved | None:
        """Find the layout that a pane is counted on; None for a model without any baseline."""
        history, unregistered = self.effective(model, version)
        chosen = None
        for entry in history:
            if chosen is None or entry.effective_from_s <= pane_start_s:
                chosen = entry
        if chosen is None:
            return None
        return Resolved(self.layouts[chosen.baseline_id], chosen.baseline_id, unregistered)


def build_registry(
    contracts: Iterable[tuple[Contract, int]],
    baselines: Iterable[RegisteredBaseline],
    previous: Registry | None = None,
) -> Registry:
    """Assemble a registry.

    Args:
        contracts: each model's newest contract and when its first was applied (Unix ms).
        baselines: all that were ever accepted.
        previous: layouts of it are taken over, so that polling costs nothing where nothing changed.
    """
    known = previous.layouts if previous else {}
    layouts: dict[str, Layout] = {}
    by_model: dict[str, dict[str, list[RegisteredBaseline]]] = {}
    for entry in baselines:
        versions = by_model.setdefault(entry.baseline.model, {})
        versions.setdefault(entry.baseline.version, []).append(entry)
        layouts[entry.baseline_id] = known.get(entry.baseline_id) or Layout(entry.baseline)
    pairs = list(contracts)
    return Registry(
        contracts={contract.model: contract for contract, _ in pairs},
        baselines={
            model: {
                version: tuple(sorted(history, key=lambda e: (e.effective_from_s, e.accepted_at_ms)))
                for version, history in versions.items()
            }
            for model, versions in by_model.items()
        },
        layouts=layouts,
        applied_at_ms={contract.model: applied_at_ms for contract, applied_at_ms in pairs},
    )
