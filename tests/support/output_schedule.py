"""Outputs and arms in the random histories of `monitor_schedule`, and the pairs to be compared in them."""

from collections import Counter
from typing import Any

import msgspec
from barograph.contract import Arms, Contract, Field, Slice

from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts, SliceValues
from barograph_server.streams.monitor.verdicts.sides import compared_ends
from barograph_server.streams.registry.registry import RegisteredBaseline, Registry, build_registry
from tests.support.monitor_schedule import COLOURS, CONTROL, History, judged_until_s, pane_of, windows_of

ARMS = (CONTROL, "b")
Pair = tuple[str, str, str, str, int, str, str]
"""Model, kind, left, right, window end, window, and the side."""


def with_outputs(registry: Registry) -> Registry:
    return build_registry(
        [(_contract(contract), registry.applied_at_ms[model]) for model, contract in registry.contracts.items()],
        [
            _registered(entry)
            for versions in registry.baselines.values()
            for history in versions.values()
            for entry in history
        ],
    )


def _contract(contract: Contract) -> Contract:
    outputs = (Field(name="score", type="float", source="score"), Field(name="class", type="category", source="class"))
    arm = Slice(name="arm", source="arm", values=ARMS, sketches=("score",))
    return msgspec.structs.replace(
        contract,
        fields=(*contract.fields, *outputs),
        slices=(*(cut for cut in contract.slices if cut.name != "arm"), arm),
        arms=Arms(shares={"a": 0.5, "b": 0.5}),
    )


def _registered(entry: RegisteredBaseline) -> RegisteredBaseline:
    baseline = _baseline(entry.baseline)
    return RegisteredBaseline(baseline, baseline.id, entry.effective_from_s, entry.accepted_at_ms)


def _baseline(baseline: Baseline) -> Baseline:
    """Add outputs to a baseline; a second baseline of a version, whose edges are shifted, has one class less."""
    shift = baseline.fields[0].edges[0] + 0.5
    classes = COLOURS[:2] if shift else COLOURS
    cells = (*(300,) * len(classes), baseline.rows - 300 * len(classes), 0)
    outputs = (
        FieldBaseline(
            name="score",
            kind="numeric",
            edges=(shift, 0.5 + shift),
            mean=shift,
            slices={"all": SliceCounts(cells=(300, 360, 240, 100))},
        ),
        FieldBaseline(name="class", kind="category", categories=classes, slices={"all": SliceCounts(cells=cells)}),
    )
    arms = SliceValues(name="arm", source="arm", values=ARMS, trained=False)
    others = (dimension for dimension in baseline.dimensions if dimension.name != "arm")
    return msgspec.structs.replace(baseline, fields=(*baseline.fields, *outputs), dimensions=(*others, arms))


def expected_pairs(history: History) -> Counter[Pair]:
    events: Counter[tuple[str, str, str, int, str]] = Counter()
    for event in history.counted:
        contract = history.registry.contracts[event.model]
        windows = {window.name: window for window in contract.windows}
        for name, end in windows_of(history, event.model, pane_of(history, event)):
            judged = history.live or end <= judged_until_s(history, event.model, name)
            if judged and compared_ends(windows[name], [end]):
                for kind, side in (("version", event.version), ("arm", event.arm or CONTROL)):
                    events[event.model, kind, name, end, side] += 1
    counts: Counter[Pair] = Counter()
    for model, kind, name, end, _ in events:
        left, right = ("1", "unheard-of") if kind == "version" else ARMS
        both = [events[model, kind, name, end, side] for side in (left, right)]
        if all(both):
            for side, n in zip(("left", "right"), both, strict=True):
                counts[model, kind, left, right, end, name, side] = n
    return counts


def compared_pairs(rows: dict[Any, dict[str, Any]]) -> Counter[Pair]:
    """Return the same counts from rows of `comparisons`: the error rate covers all events."""
    counts: Counter[Pair] = Counter()
    for row in rows.values():
        if row["measure"] == "error_rate":
            key = row["model"], row["kind"], row["left"], row["right"], row["window_end"], row["window"]
            for side in ("left", "right"):
                counts[*key, side] += row[f"n_{side}"]
    return counts
