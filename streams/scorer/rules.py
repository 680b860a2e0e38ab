"""From a contract and its baselines to what the scorer measures by."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

import msgspec
from barograph.contract import SECONDS_PER_HOUR, Contract, LabelSpec, content_hash
from barograph.contract.check import label_kind

from sketches.baseline.baseline import SliceValues
from sketches.performance.bins import score_edges
from sketches.performance.maturity import age_edges
from streams.registry.registry import Registry
from warehouse.scoring.rules import Dimension, Kind, Rules

_LABEL_TYPES = {"bool": "bool", "category": "string", "float": "number"}
"""What `labels.label_type` is for each type of label in a contract."""
_NEWEST = ""
"""Key of the versions without a baseline of their own: they go by the newest version's."""


def why_not(contract: Contract) -> str:
    """Say why a model's performance cannot be measured, and what to do; empty where it can."""
    label = contract.label
    if label is None:
        return "The contract names no label: add `label` to measure performance."
    if contract.raw_share == 0:
        return (
            "The contract keeps no raw events (`raw: none`), so labels meet no predictions: keep a share, such as "
            "`raw: {share: 0.1}`, to measure performance on it."
        )
    if label.type == "category" and not label.classes and label.positive is None:
        return "The label is a category without `positive` and without `classes`: name one of them."
    return ""


def make_rules(contract: Contract, registry: Registry) -> Rules:
    """Make the rules of a model that can be measured (`why_not`)."""
    label = contract.label
    assert label is not None
    kind: Kind = label_kind(label)  # type: ignore[assignment]
    window_s = max(SECONDS_PER_HOUR, contract.pane_s)
    threshold = label.threshold if kind == "binary" else 0.5
    is_flag, positive = label.type == "bool", _positive(label)
    return Rules(
        model=contract.model,
        kind=kind,
        basis=content_hash((_measured(label), float(window_s), contract.raw_share)),
        window_s=window_s,
        horizon_ms=label.horizon_s * 1000,
        raw_share=contract.raw_share,
        label_type=_LABEL_TYPES[label.type],
        positive=positive,
        positive_label="true" if is_flag and isinstance(label.positive, str) else positive,
        threshold=threshold,
        answers=("true", "false") if is_flag and not isinstance(label.positive, str) else (),
        classes=label.classes,
        edges=() if kind == "number" else tuple(score_edges(threshold).tolist()),
        age_edges_s=tuple(age_edges(label.horizon_s)[:-1].tolist()),
        registered=tuple(sorted(registry.baselines.get(contract.model, {}))),
    )


def _measured(label: LabelSpec) -> LabelSpec:
    """The label without what changes verdicts alone."""
    return msgspec.structs.replace(label, mature=0.95)


def _positive(label: LabelSpec) -> str:
    if isinstance(label.positive, str):
        return label.positive
    return "false" if label.positive is False else "true"


def breaks_of(registry: Registry, model: str) -> list[int]:
    """Event times (Unix seconds, ascending) at which a baseline of the model takes effect."""
    versions = registry.baselines.get(model, {}).values()
    return sorted({entry.effective_from_s for history in versions for entry in history})


def by_dimensions(windows: Iterable[int], breaks: list[int]) -> list[list[int]]:
    """Group windows (starts) over each of which the same baselines hold, ascending."""
    groups: dict[int, list[int]] = {}
    for start in sorted(windows):
        groups.setdefault(bisect_right(breaks, start), []).append(start)
    return [groups[key] for key in sorted(groups)]


def dimensions_at(contract: Contract, registry: Registry, start_s: int) -> list[Dimension]:
    """The dimensions by which a model's predictions are cut at a time: those of its baselines, as panes have them.

    A model without a baseline has those of the contract, with the values that it lists; arms always have slices.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = {}

    def add(version: str, dimensions: Iterable[SliceValues]) -> None:
        sources = set()
        for each in dimensions:
            found.setdefault((each.name, each.sources), {})[version] = each.values
            sources.add(each.sources)
        if contract.arms is not None and ("arm",) not in sources:
            found.setdefault(("arm", ("arm",)), {})[version] = tuple(contract.arms.shares)

    versions = registry.baselines.get(contract.model, {})
    for version in (_NEWEST, *sorted(versions)):
        resolved = registry.resolve(contract.model, version, start_s)
        if resolved is not None:
            add(version, resolved.layout.baseline.dimensions)
    if not versions:
        declared = [
            SliceValues(name=cut.name, source=cut.source, values=cut.values, trained=False) for cut in contract.slices
        ]
        add(_NEWEST, declared)
    return [
        Dimension(
            name=name,
            sources=sources,
            kept=tuple((version, *members) for version, values in by.items() for members in _members(sources, values)),
            versions=tuple(by),
        )
        for (name, sources), by in found.items()
    ]


def _members(sources: tuple[str, ...], values: Iterable[str]) -> Iterable[tuple[str, ...]]:
    from barograph.contract import CROSS

    for value in values:
        members = tuple(value.split(CROSS)) if len(sources) > 1 else (value,)
        if len(members) == len(sources):
            yield members
