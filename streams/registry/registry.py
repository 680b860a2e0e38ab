"""The contracts and baselines in force, as processors use them.

A version's first baseline is in force for all event times, each later one from its effective time. That is a pane
boundary, so that two sketchers never bin one pane on different edges.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from barograph.contract import Contract

from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.events.event_time import RETENTION_MS


@dataclass(frozen=True, slots=True)
class RegisteredBaseline:
    baseline: Baseline
    baseline_id: str
    effective_from_s: int
    """Event time, Unix seconds; 0 for a version's first."""
    accepted_at_ms: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """The baseline on which a prediction is binned."""

    layout: Layout
    baseline_id: str
    unregistered: bool
    """Whether the version has no baseline of its own."""


@dataclass(frozen=True)
class Registry:
    """An immutable snapshot of contracts and baselines; each poll that finds a change creates a new one."""

    contracts: dict[str, Contract] = field(default_factory=dict)
    baselines: dict[str, dict[str, tuple[RegisteredBaseline, ...]]] = field(default_factory=dict)
    """model → version → baselines with rows, ascending by effective time."""
    empty: dict[str, tuple[RegisteredBaseline, ...]] = field(default_factory=dict)
    """model → baselines without rows, on which its predictions are counted as long as it has no other."""
    layouts: dict[str, Layout] = field(default_factory=dict)
    applied_at_ms: dict[str, int] = field(default_factory=dict)
    """model → when its first contract was applied, Unix ms."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """model → why its newest contract or one of its baselines cannot be read. The rest of the snapshot holds the last
    readable copy of such a model, if there is one."""
    retention_ms: int = RETENTION_MS
    """Age at receipt from which events are rejected."""
    codebooks: dict[str, bytes] = field(default_factory=dict)
    """Codebook id → its file, of those that contracts name."""

    def effective(self, model: str, version: str) -> tuple[tuple[RegisteredBaseline, ...], bool]:
        """Return the baselines of a version, ascending by effective time, and whether the version is unregistered.

        An unregistered version of a known model is compared with the newest version's baselines, so that a deployment
        never blinds the monitor. Without a baseline with rows, those without are in force. The tuple is empty if the
        model has no baseline at all.
        """
        versions = self.baselines.get(model, {})
        own = versions.get(version)
        if own:
            return own, False
        if not versions:
            return self.empty.get(model, ()), True
        newest = max(versions.values(), key=lambda history: history[0].accepted_at_ms)
        return newest, True

    def spans(self, model: str, version: str, baseline_id: str) -> list[tuple[float, float]]:
        """Return the intervals of event time (Unix seconds) in which a version is counted on a baseline.

        The first interval of a version begins at -inf, the last ends at inf. The list is empty if the baseline is
        never in force.
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
        """Return the baseline on which a pane is counted; None for a model without any baseline."""
        history, unregistered = self.effective(model, version)
        in_force = None
        for entry in history:
            if in_force is None or entry.effective_from_s <= pane_start_s:
                in_force = entry
        if in_force is None:
            return None
        return Resolved(self.layouts[in_force.baseline_id], in_force.baseline_id, unregistered)


def build_registry(
    contracts: Iterable[tuple[Contract, int]],
    baselines: Iterable[RegisteredBaseline],
    previous: Registry | None = None,
    unreadable: dict[str, str] | None = None,
    retention_ms: int = RETENTION_MS,
    codebooks: dict[str, bytes] | None = None,
) -> Registry:
    """Assemble a registry.

    Args:
        contracts: each model's newest contract and when its first was applied (Unix ms).
        previous: the snapshot before; its layouts are reused.
        unreadable: model → why its newest contract or one of its baselines cannot be read.
        retention_ms: age at receipt from which events are rejected.
        codebooks: codebook id → its file.
    """
    known = previous.layouts if previous else {}
    layouts: dict[str, Layout] = {}
    by_model: dict[str, dict[str, list[RegisteredBaseline]]] = {}
    empty: dict[str, list[RegisteredBaseline]] = {}
    for entry in baselines:
        if entry.baseline.rows:
            versions = by_model.setdefault(entry.baseline.model, {})
            versions.setdefault(entry.baseline.version, []).append(entry)
        else:
            empty.setdefault(entry.baseline.model, []).append(entry)
        layouts[entry.baseline_id] = known.get(entry.baseline_id) or Layout(entry.baseline)
    pairs = list(contracts)
    return Registry(
        contracts={contract.model: contract for contract, _ in pairs},
        baselines={
            model: {version: _in_effect(history) for version, history in versions.items()}
            for model, versions in by_model.items()
        },
        empty={model: _in_effect(history) for model, history in empty.items()},
        layouts=layouts,
        applied_at_ms={contract.model: applied_at_ms for contract, applied_at_ms in pairs},
        unreadable=unreadable or {},
        retention_ms=retention_ms,
        codebooks=codebooks or {},
    )


def _in_effect(history: Iterable[RegisteredBaseline]) -> tuple[RegisteredBaseline, ...]:
    return tuple(sorted(history, key=lambda each: (each.effective_from_s, each.accepted_at_ms)))
