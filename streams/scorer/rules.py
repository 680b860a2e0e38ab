"""Derives from a contract and its baselines how the scorer measures a model."""

from bisect import bisect_right
from collections.abc import Iterable

import msgspec
from barograph.contract import CROSS, SECONDS_PER_HOUR, Contract, ShadowTest, Slo, content_hash
from barograph.contract.check import label_kind
from barograph.contract.label_values import has_open_classes, is_open, label_forms, positive_value

from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.sketches.baseline.loss_trees import LossTrees
from barograph_server.sketches.performance.bins import score_edges
from barograph_server.sketches.performance.maturity import age_edges
from barograph_server.streams.registry.registry import Registry
from barograph_server.warehouse.scoring.rules import ArmTest, Kind, PairSettings, Rules, ScoreDimension, ShadowVersions

MAX_TREE_VERSIONS = 4
"""Versions whose trees are in the SQL: 21 kB each, up to twice in a statement, which ClickHouse limits to 256 KiB."""
_NEWEST = ""
"""Key of the versions without their own baseline. They use the newest version's."""


def unmeasurable_reason(contract: Contract) -> str:
    """Return why a model's performance cannot be measured and what to do; empty if it can be measured."""
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


def uncountable_reason(contract: Contract) -> str:
    """Return why a candidate or arms of a model cannot be compared and what to do; empty if they can."""
    if contract.raw_share > 0:
        return ""
    return (
        "The contract keeps no raw events (`raw: none`), so nothing can be compared: keep a share, such as "
        "`raw: {share: 0.1}`, to compare candidates or arms on it."
    )


def counts_arms(contract: Contract) -> bool:
    """Return whether arms are counted, because they are judged by days or by the hour."""
    return contract.arms is not None and (bool(contract.arms.margins) or contract.rollback is not None)


def is_counted(contract: Contract) -> bool:
    """Return whether the scorer counts a model's predictions: it measures them, or it compares a candidate or arms."""
    if not unmeasurable_reason(contract):
        return True
    is_compared = contract.shadow is not None or counts_arms(contract)
    return is_compared and not uncountable_reason(contract)


def make_rules(contract: Contract, registry: Registry) -> Rules:
    """Build the rules of a model that is counted (see `is_counted`)."""
    window_s = max(SECONDS_PER_HOUR, contract.pane_s)
    registered = tuple(sorted(registry.baselines.get(contract.model, {})))
    arms = None
    if contract.arms is not None and counts_arms(contract):
        arms = ArmTest(tuple(contract.arms.shares), contract.arms.unit)
    shadow, settings = None, PairSettings()
    if contract.shadow is not None:
        shadow = ShadowVersions(contract.shadow.candidate, contract.shadow.of)
        settings = _pair_settings(contract.shadow, contract.slo)
    label = contract.label
    if label is None or unmeasurable_reason(contract):
        return Rules(
            model=contract.model,
            kind="unlabelled",
            basis=content_hash((None, float(window_s), contract.raw_share)),
            window_s=window_s,
            horizon_ms=0,
            raw_share=contract.raw_share,
            registered=registered,
            shadow=shadow,
            pair_settings=settings,
            arms=arms,
        )
    kind: Kind = label_kind(label)  # type: ignore[assignment]
    threshold = label.threshold if kind == "binary" else 0.5
    losses = _losses(registry, contract.model) if kind == "number" else ()
    return Rules(
        model=contract.model,
        kind=kind,
        # `mature` affects verdicts but not counts, so its value is fixed.
        basis=content_hash((msgspec.structs.replace(label, mature=0.95), float(window_s), contract.raw_share)),
        window_s=window_s,
        horizon_ms=label.horizon_s * 1000,
        raw_share=contract.raw_share,
        forms=tuple(label_forms(label).items()),
        has_open_labels=is_open(label),
        has_open_classes=kind == "binary" and has_open_classes(label),
        positive=positive_value(label) if kind == "binary" else "",
        threshold=threshold,
        classes=label.classes,
        edges=() if kind == "number" else tuple(score_edges(threshold).tolist()),
        age_edges_s=tuple(age_edges(label.horizon_s)[:-1].tolist()),
        registered=registered,
        losses=losses,
        shadow=shadow,
        pair_settings=settings,
        arms=arms,
    )


def _losses(registry: Registry, model: str) -> tuple[tuple[str, LossTrees], ...]:
    """Return the trees of the newest versions: those of the first baseline of each, so that all its windows add up."""
    firsts = [history[0] for history in registry.baselines.get(model, {}).values()]
    firsts.sort(key=lambda first: (-first.accepted_at_ms, first.baseline.version))
    trees = [(first.baseline.version, first.baseline.loss) for first in firsts]
    return tuple((version, each) for version, each in trees if each is not None)[:MAX_TREE_VERSIONS]


def _pair_settings(shadow: ShadowTest, slo: Slo) -> PairSettings:
    of_candidate = shadow.candidate_prices or shadow.prices
    return PairSettings(
        copy=shadow.copy,
        prices=tuple(
            (name, name in shadow.prices, name in of_candidate) for name in sorted({*shadow.prices, *of_candidate})
        ),
        slow_ms=slo.latency_ms or 0.0,
    )


def baseline_changes(registry: Registry, model: str) -> list[int]:
    """Return the event times (Unix seconds, ascending) at which a baseline of the model takes effect."""
    versions = registry.baselines.get(model, {}).values()
    return sorted({entry.effective_from_s for history in versions for entry in history})


def group_by_baselines(windows: Iterable[int], changes: list[int]) -> list[list[int]]:
    """Group windows (starts) by the baselines in effect, ascending."""
    groups: dict[int, list[int]] = {}
    for start in sorted(windows):
        groups.setdefault(bisect_right(changes, start), []).append(start)
    return [groups[key] for key in sorted(groups)]


def dimensions_at(contract: Contract, registry: Registry, start_s: int) -> list[ScoreDimension]:
    """Return the slice dimensions of a model's predictions at a time: those of its baselines, as in panes.

    A model without a baseline has the contract's dimensions with the values listed there. Arms always have slices.
    """
    by_dimension: dict[tuple[str, tuple[str, ...]], dict[str, tuple[str, ...]]] = {}

    def add(version: str, dimensions: Iterable[SliceValues]) -> None:
        sources = set()
        for each in dimensions:
            by_dimension.setdefault((each.name, each.sources), {})[version] = each.values
            sources.add(each.sources)
        if contract.arms is not None and ("arm",) not in sources:
            by_dimension.setdefault(("arm", ("arm",)), {})[version] = tuple(contract.arms.shares)

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
        ScoreDimension(
            name=name,
            sources=sources,
            own_slices=tuple(
                (version, *members) for version, values in by_version.items() for members in _members(sources, values)
            ),
            versions=tuple(by_version),
        )
        for (name, sources), by_version in by_dimension.items()
    ]


def _members(sources: tuple[str, ...], values: Iterable[str]) -> Iterable[tuple[str, ...]]:
    for value in values:
        members = tuple(value.split(CROSS)) if len(sources) > 1 else (value,)
        if len(members) == len(sources):
            yield members
