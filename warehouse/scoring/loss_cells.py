"""The bin of a prediction's expected |error|, as SQL: what `sketches.baseline.loss_trees` computes from arrays."""

from typing import Any

from barograph_server.sketches.baseline.loss_trees import LOSS_ZERO, MAX_STEPS, NO_CELL, SCORE, LossFeature, LossTrees
from barograph_server.warehouse.scoring.rules import Rules


def loss_cell(rules: Rules) -> str:
    """Return the expression for the bin of a row of `predictions`; `NO_CELL` if its version has no trees."""
    branches = []
    for i, (_, trees) in enumerate(rules.losses):
        # Each feature has its expression once and then an alias, which the trees repeat.
        names = [f"loss_{i}_{j}" for j in range(len(trees.features))]
        features = zip(names, trees.features, strict=True)
        known = " OR ".join(
            f"isFinite({_value(name, each)} AS {name})" for name, each in features if each.source != SCORE
        )
        names = ["score" if each.source == SCORE else name for name, each in zip(names, trees.features, strict=True)]
        total = " + ".join(_tree(trees, names, root) for root in trees.roots())
        cell = f"toInt32(greatest(least(floor({total}), {MAX_STEPS}), -{MAX_STEPS})) + {LOSS_ZERO}"
        branches.append(f"version = {{loss_version_{i}:String}}, if({known}, {cell}, {NO_CELL}), ")
    return f"toInt32(multiIf({''.join(branches)}{NO_CELL}))" if branches else f"toInt32({NO_CELL})"


def parameters(rules: Rules) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for i, (version, trees) in enumerate(rules.losses):
        values[f"loss_version_{i}"] = version
        for j, feature in enumerate(trees.features):
            if feature.source != SCORE:
                values[f"loss_{i}_{j}"] = feature.source.partition(".")[2]
            if feature.categories:
                values[f"loss_{i}_{j}_texts"] = feature.categories
    return values


def _value(name: str, feature: LossFeature) -> str:
    key = f"{{{name}:String}}"
    if not feature.categories:
        # A missing value and an infinite one count as one that is not a number.
        return f"(ifNull(numbers[{key}], nan) + 0 * ifNull(numbers[{key}], nan))"
    text = (
        f"context[{key}]"
        if feature.source.startswith("context.")
        else f"ifNull(toString(numbers[{key}]), strings[{key}])"
    )
    return f"(if((indexOf({{{name}_texts:Array(String)}}, {text}) AS {name}_at) = 0, nan, {name}_at - 1.))"


def _tree(trees: LossTrees, names: list[str], node: int) -> str:
    split, value = trees.split[node], trees.value[node]
    if split < 0:
        return f"({value!r})"
    left, right = (_tree(trees, names, child) for child in (node + 1, trees.right[node]))
    if trees.missing_left[node]:
        return f"if({names[split]} > {value!r}, {right}, {left})"
    return f"if({names[split]} <= {value!r}, {left}, {right})"
