"""Facts about the pairs, computed directly from the replayed tables without the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from barograph_server.examples.demo.flights import LATE


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """Counts of all requests and pairs."""

    requests: int
    pairs: int
    missing: Mapping[str, int]
    """Requests without a pair, by the reason that `shadow_pairs` has."""
    agreed: int
    """Pairs with the same class."""
    labelled: int
    """Pairs with a label."""
    primary_right: int
    """Labelled pairs in which only the primary is right."""
    candidate_right: int
    brier: float
    """Sum of the primary's Brier scores minus those of the candidate, over labelled pairs."""


def count_source_pairs(
    predictions: pa.Table, shadows: pa.Table, labels: pa.Table, reasons: Mapping[str, str]
) -> SourcePairs:
    """Join the tables by id and count.

    Args:
        predictions: `id`, `score` and `class` of the primary.
        shadows: `id`, `score`, `class` and `error` of the candidate.
        labels: `id` and `label`, a class.
        reasons: `error` of a shadow → reason.
    """
    columns = ["id", "score", "class"]
    both = (
        predictions.select(columns)
        .join(shadows.select([*columns, "error"]), "id", right_suffix="_candidate")
        .join(labels.select(["id", "label"]), "id")
    )
    errors = {pair["values"]: pair["counts"] for pair in shadows["error"].drop_null().value_counts().to_pylist()}
    missing = {reasons[error]: n for error, n in errors.items()}
    if without := predictions.num_rows - shadows.num_rows:
        missing["no-event"] = without
    pairs = both.filter(both["score_candidate"].is_valid())
    labelled = pairs.filter(pairs["label"].is_valid())
    late = pc.equal(labelled["label"], LATE).to_numpy()
    right = [pc.equal(labelled[name], labelled["label"]).to_numpy() for name in ("class", "class_candidate")]
    brier = [(labelled[name].to_numpy() - late) ** 2 for name in ("score", "score_candidate")]
    return SourcePairs(
        requests=predictions.num_rows,
        pairs=pairs.num_rows,
        missing=missing,
        agreed=int(pc.sum(pc.equal(pairs["class"], pairs["class_candidate"])).as_py()),
        labelled=labelled.num_rows,
        primary_right=int((right[0] & ~right[1]).sum()),
        candidate_right=int((right[1] & ~right[0]).sum()),
        brier=float(np.sum(brier[0]) - np.sum(brier[1])),
    )
